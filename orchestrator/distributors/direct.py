"""The default distributor: every attempt is a process of this machine, under a supervisor of its
own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from orchestrator.distributors.base import ExecutionHandle, Order
from orchestrator.distributors.waking import keep_awake
from orchestrator.execution import orphans
from orchestrator.execution.pool import DEATHS, SupervisorPool
from orchestrator.execution.processes import pin, send, sweep
from orchestrator.files import journals
from orchestrator.model.attempt import AttemptEnd, end_from
from orchestrator.model.journal import AttemptFacts

TRIAL = 30.0  # seconds between trials whether supervisors start tools again


class DirectDistributor:
    """Runs attempts under supervisors that outlive the watcher; ``warm``: forked ones, where that
    can be done."""

    portable = False

    def __init__(self, warm: bool = True) -> None:
        self._pool = SupervisorPool(trial() if warm else None)
        self._next_trial = 0.0

    def prepare(self, slots: int) -> None:
        self._pool.prewarm(slots)

    def dispatch(self, order: Order, on_started: Callable[[int], None]) -> ExecutionHandle:
        return DirectHandle(self._pool, order, on_started)

    def adopt(self, facts: AttemptFacts, journal: str) -> ExecutionHandle:
        return AdoptedHandle(facts, journal)

    def reattach(
        self, order: Order, facts: AttemptFacts, on_started: Callable[[int], None]
    ) -> ExecutionHandle:
        raise AssertionError("an attempt of this machine is adopted")

    def fault(self) -> str:
        if self._pool.refused:
            why = next(iter(self._pool.refused.values()))
            return f"the end of an attempt cannot be recorded: {why}"
        if len(self._pool.dead) < DEATHS:
            self._next_trial = 0.0
            return ""
        now = time.monotonic()
        if not self._next_trial:
            self._next_trial = now + TRIAL
        elif now >= self._next_trial:
            self._next_trial = now + TRIAL
            self._try()
        ids = ", ".join(list(self._pool.dead)[-DEATHS:])
        return (
            f"supervisors die before they start a tool ({ids}): restart the watcher after an"
            " upgrade"
        )

    def _try(self) -> None:
        """Whether a supervisor starts a tool: one that does nothing, of no task."""
        journal = os.memfd_create("trial", os.MFD_CLOEXEC)
        self._pool.start(trial(), journal, lambda _: None, lambda _: None)

    def close(self) -> None:
        self._pool.close()


def trial() -> dict[str, Any]:
    """A job of no task, whose tool does nothing."""
    job = {item.name: item.default for item in fields(Order)} | {
        **dict.fromkeys(("task_id", "tag", "cancel", "run_dir"), ""),
        **dict.fromkeys(("timeout", "interrupt_grace", "terminate_grace", "silence"), 5.0),
        "attempt": 0,
        "program": "/bin/true",
        "argv": ["true"],
        "env": {},
        "cwd": "/",
        "stdin": None,
        "log_limit": 1 << 20,
        "on_log_limit": "end",
        "facts": {},
        "portable": {},
        "words": {},
        # Never os.devnull: what lies where a log is to be is moved aside, and root could move that.
        "stdout": "",
        "stderr": "",
        "secrets": [],
        "terminal": False,
        "sandboxed": False,
        "pins": [],
    }
    del job["journal"], job["portable"]
    return job


class DirectHandle:
    """An attempt that this process started."""

    where = ""

    def __init__(
        self, pool: SupervisorPool, order: Order, on_started: Callable[[int], None]
    ) -> None:
        self._pool = pool
        self._tag, self._began = order.tag, orphans.now()
        self._end: asyncio.Future[AttemptEnd] = asyncio.get_running_loop().create_future()
        job = {item.name: getattr(order, item.name) for item in fields(order)}
        del job["portable"]
        job["stdout"], job["stderr"] = f"{order.run_dir}/stdout.log", f"{order.run_dir}/stderr.log"
        self._assignment = pool.start(job, job.pop("journal"), on_started, self._ended)
        keep_awake(lambda: self._assignment.pid, self._assignment.send_signal, self.is_running)

    def _ended(self, end: AttemptEnd | OSError) -> None:
        if self._end.done():
            return
        if isinstance(end, OSError):
            self._end.set_exception(end)
        else:
            self._end.set_result(end)

    def cancel(self) -> None:
        if self.is_running():
            self._pool.poke(self._assignment)

    settle = cancel  # the supervisor looks which of the two is wanted

    def is_running(self) -> bool:
        return not self._end.done()

    async def wait(self) -> AttemptEnd:
        end = await asyncio.shield(self._end)
        if end.cause == "lost":
            return await lost(self._tag, self._began)
        return end


class AdoptedHandle:
    """An attempt that a former watcher started: its supervisor goes on, and its journal tells how
    it ended."""

    where = ""

    def __init__(self, facts: AttemptFacts, journal: str) -> None:
        started = facts.started
        self._journal, self._number, self._tag = journal, facts.number, started.get("tag", "")
        self._identity = (
            started.get("supervisor", 0),
            started.get("supervisor_start", 0),
            started.get("boot", ""),
        )
        self._ended = False
        pid = self._identity[0]
        keep_awake(lambda: pid, lambda number: send(*self._identity, number), self.is_running)

    def cancel(self) -> None:
        send(*self._identity, signal.SIGTERM)

    settle = cancel

    def is_running(self) -> bool:
        return not self._ended

    async def wait(self) -> AttemptEnd:
        fd = pin(*self._identity)
        if fd is not None:
            loop = asyncio.get_running_loop()
            gone = asyncio.Event()
            loop.add_reader(fd, gone.set)
            try:
                # The supervisor leaves when its attempt is over, because its watcher is gone.
                await gone.wait()
            finally:
                loop.remove_reader(fd)
                os.close(fd)
        self._ended = True
        journal = journals.read(self._journal)
        for facts in (
            journal.attempt,
            *journal.checks[-1:],
        ):  # its tag tells an attempt from a check of it
            if facts is None or facts.ended is None or facts.number != self._number:
                continue
            if facts.started.get("tag", "") == self._tag:
                return end_from(facts.ended)
        return await lost(self._tag)


async def lost(tag: str, began: float | None = None) -> AttemptEnd:
    """The supervisor was killed: end what it left running, so that no two attempts are ever alive
    together.

    Such processes are known by their tag, and as orphans of ours if the attempt ``began`` under
    this watcher.
    """
    count = await asyncio.to_thread(sweep, tag)
    if began is not None:  # after the sweep: whom it killed may have left us children
        count += await asyncio.to_thread(orphans.end, began - orphans.TICK)
    return AttemptEnd("lost", leftovers=count)
