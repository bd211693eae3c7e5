"""What the watcher tells whoever shows it: one class for each kind of news.

``News`` is all of them: who hears them matches each, and the type checker finds a match that has
forgotten one.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from orchestrator.coordination.life import Life
from orchestrator.model.gates import Gate
from orchestrator.model.result import Reading
from orchestrator.model.run import Run
from orchestrator.model.status import RunStatus, Status
from orchestrator.records import dataclass
from orchestrator.store.recovery import Step


@dataclass(frozen=True, slots=True)
class Begun:
    """The watcher has the work directory and hears signals."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """Ctrl-Z: the process stops as soon as this was heard."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """It goes on after a stop."""


@dataclass(frozen=True, slots=True)
class Draining:
    """The first Ctrl-C: ``running`` attempts are waited for, and as long as there is a ``fault``
    none of them can be recorded."""

    running: int
    fault: str


@dataclass(frozen=True, slots=True)
class Interrupting:
    """The second: ``running`` attempts are being ended."""

    running: int


@dataclass(frozen=True, slots=True)
class Started:
    """The tool of its attempt runs."""

    life: Life


@dataclass(frozen=True, slots=True)
class Recovered:
    """A former watcher had it; ``step`` is how it goes on."""

    life: Life
    step: Step


@dataclass(frozen=True, slots=True)
class Retrying:
    """Another attempt begins ``after`` seconds. ``reading`` is of the last one, if this watcher saw
    it end."""

    life: Life
    after: float
    reading: Reading | None = None
    fall_back: bool = False
    renew: bool = False


@dataclass(frozen=True, slots=True)
class Requeued:
    """It is in the inbox again: it was interrupted or, before its tool began, something that it
    needs came to be ``held``."""

    life: Life
    held: str = ""


@dataclass(frozen=True, slots=True)
class Cancelling:
    """Somebody, or something, has asked that it stops; ``by`` says who, in words."""

    life: Life
    by: str


@dataclass(frozen=True, slots=True)
class Left:
    """Its attempt goes on without a watcher."""

    life: Life


@dataclass(frozen=True, slots=True)
class Finished:
    """A task has ended, and lies in the folder of its ``status``; ``reading`` is of its last
    attempt."""

    life: Life
    reading: Reading
    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """A task or run waits for something that nobody would guess."""

    id: str
    gates: Sequence[Gate]


@dataclass(frozen=True, slots=True)
class Held:
    """Tasks of a tool, an agent, a run, or all of them do not start; ``scope`` in words."""

    scope: str
    gate: Gate


@dataclass(frozen=True, slots=True)
class RunBegun:
    """A run was accepted: its tasks are in the inbox."""

    run: Run


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last task of a run has ended: ``done`` of ``total`` are done."""

    id: str
    status: RunStatus
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A file was moved or removed by hand, or made because of that; ``word`` says in one word what
    became of the task."""

    id: str
    word: str
    text: str


@dataclass(frozen=True, slots=True)
class Internal:
    """A bug of ours: it ended one pass, or what was done for one task."""

    id: str
    error: BaseException


class About(Enum):
    """What a `Remark` is about."""

    ANSWERED = "answered"
    APPROVED = "approved"
    ASKED = "asked"
    BUDGET = "budget"
    CANCELLED = "cancelled"
    CONFIGURED = "configured"
    EDITING = "editing"
    FAULT = "fault"
    FAULT_OVER = "fault over"
    FOREIGN = "foreign"
    HELD_SETTINGS = "held settings"
    HOOK = "hook"
    IGNORED = "ignored"
    INVALID = "invalid"
    MISCONFIGURED = "misconfigured"
    MORE = "more"
    RELEASED = "released"
    REPLIED = "replied"
    RESTORED = "restored"
    REVIEWED = "reviewed"
    TIDIED = "tidied"
    WARNED = "warned"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that is told in one sentence. ``id`` is of a task, a run, or another name; empty if
    it is about none of them."""

    about: About
    id: str
    text: str = ""


News = (
    Begun | Suspended | Resumed | Draining | Interrupting
    | Started | Recovered | Retrying | Requeued | Cancelling | Left | Finished
    | Stuck | Held | RunBegun | RunFinished | Moved | Internal | Remark
)  # fmt: skip


class Listener(Protocol):
    """Who is told.  Called in the loop, and by hooks in threads of theirs: it must not wait."""

    def hear(self, news: News) -> None:
        """One thing that happened."""
