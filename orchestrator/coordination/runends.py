"""What the end of a task means to its run: it stops, or it is over."""

from __future__ import annotations

from orchestrator.coordination.groups import Groups
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import Listener, RunFinished
from orchestrator.coordination.notes import Notes
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.model.status import RunStatus, Status, run_status


class RunEnds:
    """Asked about each task of a run that has ended here."""

    def __init__(
        self, groups: Groups, waitlist: Waitlist, notes: Notes, listener: Listener
    ) -> None:
        self.groups, self.waitlist = groups, waitlist
        self.notes, self.listener = notes, listener

    def stopped(self, life: Life) -> dict[str, str]:
        """The waiting tasks that are to be cancelled because their run stops, and why."""
        run = self.groups.get(life.task.run)
        why = self.waitlist.tasks.statuses.stopped(run) if run is not None else ""
        if run is None or not why:
            return {}
        return {member: why for member in run.members if member in self.waitlist.tasks.names}

    def tell(self, life: Life) -> None:
        """Say so if nothing of its run runs, or can still run."""
        run, statuses = self.groups.get(life.task.run), self.waitlist.tasks.statuses
        if run is None or statuses.is_open(run, self.waitlist.tasks.is_stuck):
            return
        tasks = [
            (statuses.fresh(member), self.waitlist.tasks.is_stuck(member)) for member in run.members
        ]
        status = run_status(tasks)
        if status in (RunStatus.WAITING, RunStatus.RUNNING):
            return
        done = sum(where is Status.DONE for where, _ in tasks)
        said = {"phase": "finish", "summary": f"{status}: {done} of {len(tasks)} done"}
        self.notes.write("run_finished", run.id, life.id, run_id=run.id, **said)
        self.listener.hear(RunFinished(run.id, status, done, len(tasks)))
