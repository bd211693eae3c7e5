"""Where ended tasks are, remembered between two listings, so that the end of one task costs nothing
for each of the others.

A claim asks the folders anew (`fresh`): what is remembered only decides who is looked at. Every
listing forgets it all, for no notification tells of moves between the folders of ended tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.files.layout import Layout
from orchestrator.files.results import place_of, status_of, unmerged
from orchestrator.model.isolation import Change
from orchestrator.model.run import Run
from orchestrator.model.status import FINISHED, RunStatus, Status, run_status

OPEN = (RunStatus.WAITING, RunStatus.RUNNING)


class Statuses:
    """Of tasks that neither run here (``running``, by id) nor wait (``waiting``, by id)."""

    def __init__(
        self, layout: Layout, running: Mapping[str, Any], waiting: Mapping[str, Any]
    ) -> None:
        self._layout, self._running, self._waiting = layout, running, waiting
        self._ended: dict[str, Status] = {}
        self._failed: set[str] = set()
        self._landed: set[str] = set()  # done, and nothing of them is to be merged
        self._plain: set[str] = set()  # have ended here, and had no tree
        self._looked: set[str] = set()  # runs all of whose members were looked at
        self._open_runs: set[str] = set()  # that no failure has stopped, as of the last one
        self._stopper: dict[str, str] = {}  # run -> its member that has failed
        self._from: dict[str, int] = {}  # run -> the place of a member that was not at its end

    def of(self, task_id: str) -> Status | None:
        """Where a task is, as far as is known."""
        found = self._living(task_id)
        if found is None:
            found = self._ended.get(task_id)
        return self.fresh(task_id) if found is None else found

    def fresh(self, task_id: str) -> Status | None:
        """Where a task is now."""
        found, plain = self._living(task_id), task_id in self._plain
        if found is None:
            found = place_of(self._layout, task_id) if plain else status_of(self._layout, task_id)
        self.moved(task_id, found, plain and found is self._ended.get(task_id))
        return found

    def unmerged(self, task_id: str) -> Change | None:
        """The change of a done task that nobody has merged."""
        if task_id in self._landed or task_id in self._plain:
            return None
        found = unmerged(self._layout, task_id)
        if found is None:
            self._landed.add(task_id)
        return found

    def _living(self, task_id: str) -> Status | None:
        """Where a task is that runs or waits here."""
        if task_id in self._running:
            return Status.RUNNING
        return Status.INBOX if task_id in self._waiting else None

    def moved(self, task_id: str, status: Status | None, plain: bool = False) -> None:
        """A task is known to be there now; ``plain``: it has ended there, and no work of it can
        wait to be merged."""
        self._landed.discard(task_id)
        self._plain.discard(task_id)
        if plain:
            self._plain.add(task_id)
        if status in FINISHED:
            self._ended[task_id] = status
        else:
            self._ended.pop(task_id, None)
        if status is Status.FAILED:
            self._failed.add(task_id)
            self._open_runs.clear()
        else:
            self._failed.discard(task_id)

    def forget(self) -> None:
        """Ask the folders again."""
        self._ended.clear()
        self._failed.clear()
        self._landed.clear()
        self._plain.clear()
        self._looked.clear()
        self._open_runs.clear()
        self._stopper.clear()

    def stopped(self, run: Run) -> str:
        """Why a run takes no more tasks; empty if it does. Costs little where none of its tasks has
        failed."""
        if run.on_failure != "stop":
            return ""
        if run.id not in self._looked:
            self._looked.add(run.id)
            for member in run.members:
                self.of(member)
        if not self._failed or run.id in self._open_runs:
            return ""
        known = self._stopper.get(run.id)
        if known is None or self.of(known) is not Status.FAILED:
            known = run.stopper(self.of)
        if known is None:
            self._open_runs.add(run.id)
            return ""
        self._stopper[run.id] = known
        return run.stopped_by(known)

    def is_open(self, run: Run, stuck: Callable[[str], bool]) -> bool:
        """Whether a task of the run runs, or can still run. Goes on from the one that was found
        open before."""
        count = len(run.members)
        start = self._from.get(run.id, 0)
        for step in range(count):
            place = (start + step) % count
            member = run.members[place]
            if run_status([(self.of(member), stuck(member))]) in OPEN:
                self._from[run.id] = place
                return True
        return False
