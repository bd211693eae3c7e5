"""What people do to the file of a run with `mv` and `rm` while its tasks wait or run.

The file says which tasks belong together and how many may run at once, so it belongs in runs/ until
they have ended: from anywhere else it is put back, and told. In cancelled/ it is a request to
cancel them. What is reviewed lies where the review put it, and a person's move of that is a verdict
(`coordination.reviews`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.coordination.groups import Groups
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.errors import OrchestratorError
from orchestrator.files import runrecords, scan
from orchestrator.model.status import Status
from orchestrator.store import atomic
from orchestrator.store.transitions import Store


class RunMoves:
    """Looks for the files of the runs that waiting and running tasks are of."""

    def __init__(
        self,
        store: Store,
        groups: Groups,
        waitlist: Waitlist,
        running: Mapping[str, Life],
        listener: Listener,
    ) -> None:
        self.store, self.layout = store, store.layout
        self.groups, self.waitlist, self.running, self.listener = (
            groups,
            waitlist,
            running,
            listener,
        )
        self._missing: set[str] = set()  # runs of which it was told that their files are gone

    def look(self) -> int:
        """See to every run that goes on; how many waiting tasks that has cancelled. OSError if the
        disk refuses."""
        cancelled = 0
        members = self._members()
        self._missing &= members.keys()
        for run_id, ids in members.items():
            if runrecords.is_in_place(self.layout, run_id):
                self._missing.discard(run_id)
                continue
            place = scan.locate(self.layout, run_id)
            if place is not None and self.groups.is_file_of(run_id, place):
                cancelled += self._put_back(run_id, *place, ids)
            elif run_id not in self._missing and self.groups.get(run_id) is not None:
                self._missing.add(run_id)
                why = "its file is gone: its tasks go on, but the next watcher will not know its limits"
                self.listener.hear(Remark(About.WARNED, run_id, f"run {run_id}: {why}"))
        return cancelled

    def _members(self) -> dict[str, list[str]]:
        """The waiting and running tasks of each run."""
        found: dict[str, list[str]] = {}
        for task_id, run_id in self._pairs():
            found.setdefault(run_id, []).append(task_id)
        return found

    def _pairs(self) -> Iterator[tuple[str, str]]:
        for waiting in self.waitlist.tasks.waiting.values():
            if waiting.asks.run:
                yield waiting.id, waiting.asks.run
        for life in self.running.values():
            if life.task.run:
                yield life.id, life.task.run

    def _put_back(self, run_id: str, status: Status, name: str, ids: list[str]) -> int:
        try:
            atomic.move(self.layout.file(status, name), self.layout.file(runrecords.RUNS, name))
        except (FileExistsError, FileNotFoundError):
            return 0  # somebody else has moved it: the next look sees where to
        self.groups.forget(run_id)
        told = (
            f"run {run_id}: its file was moved to {status}/ while its tasks go on, and has been put"
            " back"
        )
        if status is Status.CANCELLED:
            told = f"run {run_id}: its file was moved to cancelled/: its tasks are cancelled"
        self.listener.hear(
            Remark(About.RESTORED, run_id, f"{told}; orchestrator hold --run {run_id}   stops it")
        )
        return self._cancel(ids) if status is Status.CANCELLED else 0

    def _cancel(self, ids: list[str]) -> int:
        """What runs is asked to stop, as by the verb; what waits is withdrawn, the last first: it
        may need the others."""
        why, withdrawn = "mv of its run's file to cancelled/", 0
        for task_id in reversed(ids):
            if task_id in self.running:
                self.store.request_cancel(task_id, why)
                continue
            try:
                self.waitlist.withdraw(task_id, why)
                withdrawn += 1
            except OrchestratorError as error:
                self.listener.hear(Remark(About.WARNED, task_id, error.message))
        return withdrawn
