"""What is known of the files of the inbox: which are tasks that wait, runs that wait, wrong, or not
ready to be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.coordination.complaints import Complaints
from orchestrator.coordination.intake import Signature
from orchestrator.coordination.later import Later
from orchestrator.coordination.waitingruns import STALE, WaitingRuns
from orchestrator.coordination.waitingtasks import WaitingTasks
from orchestrator.files.layout import stem_of
from orchestrator.model.gates import Gate


class Inbox:
    """Each file is known by its name. ``doubted`` are those that were wrong by settings which have
    changed since: what each looked like."""

    def __init__(
        self, tasks: WaitingTasks, runs: WaitingRuns, complaints: Complaints, later: Later
    ) -> None:
        self.tasks, self.runs, self.complaints, self.later = tasks, runs, complaints, later
        self.doubted: dict[str, Signature] = {}

    def __iter__(self) -> Iterator[str]:
        yield from self.tasks.waiting
        yield from self.complaints.invalid
        yield from self.later
        yield from self.runs.waiting

    def signature(self, name: str) -> Signature | None:
        """What a file looked like when it was last looked at; None if it is not known."""
        if name in self.tasks.waiting:
            return self.tasks.waiting[name].signature
        return self.runs.signature(name) or self.complaints.invalid.get(name)

    def forget(self, name: str) -> None:
        """The file is not there any more, or not what it was."""
        self.doubted.pop(name, None)
        self.later.take(name)
        self.runs.leave(name)
        self.tasks.leave(name)
        self.complaints.forget(name)

    def take_out(self, name: str) -> Sequence[Gate]:
        """It is not what it was; the gates that were known of. Its note stays until it is known
        what the file is now."""
        self.complaints.invalid.pop(name, None)
        run_gate = self.runs.leave(name)
        if run_gate is not None:
            return [run_gate]
        before = self.tasks.waiting.get(name)
        if before is None:
            return ()
        self.forget(name)
        return before.gates

    def distrust(self) -> None:
        """What files mean may have changed: none looks like what it was."""
        for waiting in self.tasks.waiting.values():
            waiting.signature, waiting.look = STALE, None
        self.complaints.invalid = dict.fromkeys(self.complaints.invalid, STALE)
        for name in self.runs.waiting:
            self.runs.stale(name)

    def stuck(self) -> list[str]:
        """Ids of tasks and runs that only a person can set going."""
        tasks = [waiting.id for waiting in self.tasks.waiting.values() if waiting.stuck]
        return tasks + [stem_of(name) for name in self.runs.waiting]

    def moments(self) -> list[float]:
        """When (seconds since the epoch) something is over that a task or a run waits for."""
        return [*self.runs.moments(), *self.tasks.moments()]
