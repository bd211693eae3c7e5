"""The seam between deciding and executing.

The coordination hands an `Order` to a `Distributor` and gets an `ExecutionHandle`; it never learns
where or how the tool runs. Distributors plug in through the entry point group
``orchestrator.distributors``.

Who writes which record of the task's journal:

``dispatched``  the coordination, fsynced, before `Distributor.dispatch` of a distributor that is ``portable``
``offered``     a distributor over a broker, fsynced, before anybody there can know of the attempt
``started``     who starts the tool, before it is executed; a portable distributor, when it hears of that
``exit``        who saw it end, fsynced, before `ExecutionHandle.wait` returns; then ``Order.journal`` is closed, which frees
                the lock
``lost``        the coordination alone, when `wait` returns an end whose cause is ``lost``

`orchestrator.testing.DistributorContract` is this as tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Protocol

from orchestrator.model.attempt import AttemptEnd
from orchestrator.model.journal import AttemptFacts
from orchestrator.records import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt to execute.

    ``journal`` is the descriptor of the task's journal with the liveness lock on it; the
    distributor closes it. ``cancel`` is the path of a file whose existence asks the attempt to
    stop, ``secrets`` are texts that its logs must not keep, ``silence`` (0: none) how long it may
    print nothing, ``terminal`` whether it runs on a terminal of its own, ``sandboxed`` whether
    ``argv`` begins with what builds its walls, ``pins`` folders that it is given open; ``words`` (empty: it reads ``stdin`` alone) how a
    tool that can be told more while it runs says that it has taken words and that its turn is over
    (`execution.feeding`); ``leash`` (empty: none) is a file with the moment of CLOCK_BOOTTIME since
    when nobody may have known of the attempt, which is ended ``leash_limit`` after it; ``facts``
    are kept in the record of its start. Times are seconds, sizes bytes.

    For a distributor that is ``portable`` there is no command: ``portable`` says what is to be done
    in words that mean the same on any machine (`coordination.portable`), and ``program``, ``argv``
    and ``env`` are empty.
    """

    task_id: str
    attempt: int
    program: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    run_dir: str
    stdin: str | None
    tag: str
    journal: int
    cancel: str
    timeout: float
    interrupt_grace: float
    terminate_grace: float
    log_limit: int
    on_log_limit: str
    secrets: tuple[str, ...] = ()
    silence: float = 0.0
    terminal: bool = False
    sandboxed: bool = False
    pins: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    leash: str = ""
    leash_limit: float = 0.0
    facts: Mapping[str, object] = field(default_factory=dict)
    portable: Mapping[str, Any] = field(default_factory=dict)


class ExecutionHandle(Protocol):
    """A running attempt."""

    @property
    def where(self) -> str:
        """Where it is, for people: ``queued at farm: pool claude``, ``on w1 (farm)``; empty for
        this machine."""

    def cancel(self) -> None:
        """Make it look at its cancel request (`Order.cancel`), which must exist by now."""

    def is_running(self) -> bool:
        """Whether it has not ended yet."""

    async def wait(self) -> AttemptEnd:
        """How it ended, once it has."""


class Distributor(Protocol):
    """A strategy for executing attempts."""

    @property
    def portable(self) -> bool:
        """Whether it executes elsewhere, from `Order.portable`, and so outlives this process and
        its locks."""

    def prepare(self, slots: int) -> None:
        """Get ready for so many attempts soon."""

    def dispatch(self, order: Order, on_started: Callable[[int], None]) -> ExecutionHandle:
        """Start an attempt; ``on_started`` is called with the tool's pid."""

    def adopt(self, facts: AttemptFacts, journal: str) -> ExecutionHandle:
        """Take over an attempt that a former watcher started; ``journal`` is the path of the task's
        journal."""

    def reattach(
        self, order: Order, facts: AttemptFacts, on_started: Callable[[int], None]
    ) -> ExecutionHandle:
        """Go on with an attempt that a former watcher has, or may have, offered; only asked of one
        that is ``portable``.

        ``order`` has the journal with its lock, and no command; ``facts.dispatched`` is what was
        recorded before.
        """

    def fault(self) -> str:
        """Why nothing should be claimed now: ends that cannot be recorded, attempts that cannot
        begin; else empty.

        It is asked again and again, and may try meanwhile whether it works again.
        """

    def close(self) -> None:
        """Let go of everything that is idle; attempts that still run go on."""
