"""What is asked of an engine that starts workers: submit, status, cancel; and what goes wrong with
one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Protocol

from orchestrator.errors import OrchestratorError
from orchestrator.patterns import regex
from orchestrator.records import dataclass

# Words with which engines say that something is over, however it went.
OVER = frozenset(
    (
        *("completed", "complete", "succeeded", "success", "finished", "done", "ended", "warning"),
        *("failed", "failure", "error", "killed", "stopped", "aborted", "canceled", "cancelled"),
        *("timeout", "preempted", "deadline", "revoked", "boot_fail", "node_fail", "out_of_memory"),
    )
)
_JOB = regex(r"^[A-Za-z0-9][A-Za-z0-9._:/@=+-]{0,199}\Z")


class Refuses(OrchestratorError):
    """The engine could not be asked, or refuses; the message says why."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an engine says of a job: a word (empty: it does not know it), and more for people."""

    word: str
    more: str = ""

    @property
    def over(self) -> bool:
        """Whether it says that the job has ended."""
        return self.word.lower() in OVER


@dataclass(frozen=True, slots=True)
class Start:
    """A worker that is to be started for a dispatch: the words of its command, and the labels that
    its machine must have."""

    dispatch: str
    words: tuple[str, ...]
    labels: tuple[str, ...] = ()
    number: int = 1  # of the starts of this dispatch

    @property
    def name(self) -> str:
        """What the job is called, where jobs have names."""
        return f"orchestrator-{self.dispatch[:16]}-{self.number}"

    @property
    def line(self) -> str:
        """The command as one line for a POSIX shell."""
        return shlex.join(self.words)


class Launcher(Protocol):
    """An engine. Every method raises `Refuses`; each may take as long as the engine takes, but for
    a limit of its own."""

    async def submit(self, start: Start) -> str:
        """Have a worker started; what the job is called there. The same start may be submitted
        again."""

    async def status(self, job: str, start: Start) -> Seen:
        """What the engine says of the job."""

    async def cancel(self, job: str, start: Start) -> None:
        """Take it out of the engine's queue, or stop it there."""

    async def clean(self, job: str, start: Start) -> None:
        """It is over: remove what the engine keeps of it, where that is needed."""


def job_from(text: str) -> str:
    """The name of a job in what an engine has printed (``123;cluster``, ``pod/x created``); empty
    if there is none."""
    first = text.strip().partition("\n")[0].replace(";", " ").split()
    return first[0] if first and _JOB.match(first[0]) else ""


def placed(text: str, values: Mapping[str, str]) -> str:
    """A text with ``{name}`` replaced, once: what a value holds is not looked at again."""
    return _HOLE.sub(lambda found: values.get(found[1], found[0]), text)


def holes(text: str) -> list[str]:
    """The names in a text that `placed` would replace."""
    return [found[1] for found in _HOLE.finditer(text)]


_HOLE = regex(r"\{([a-z][a-z_]*)\}")
