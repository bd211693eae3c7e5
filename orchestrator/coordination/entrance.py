"""How a file that was judged comes in: as a task that waits, as a run that is expanded, or with a
complaint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.coordination.expansion import LARGE, Expansions
from orchestrator.coordination.groups import Groups
from orchestrator.coordination.inbox import Inbox
from orchestrator.coordination.inboxtrust import InboxTrust
from orchestrator.coordination.intake import Invalid, Judged, RunFile, TaskFile
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import Listener, RunBegun, Stuck
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.waitingtasks import waiting_of
from orchestrator.errors import Taken
from orchestrator.files import origin
from orchestrator.files.approval import Arrived
from orchestrator.files.layout import stem_of
from orchestrator.model import ids
from orchestrator.model.gates import Gate, GateName
from orchestrator.store.claiming import Vanished, refuse_rerun
from orchestrator.store.transitions import Store

KEPT = 1_000  # waiting tasks whose parsed form is kept in memory


class Entrance:
    """``running`` are the claimed tasks by id, the watcher's own."""

    def __init__(
        self,
        inbox: Inbox,
        inboxtrust: InboxTrust,
        settings: Settings,
        store: Store,
        groups: Groups,
        running: Mapping[str, Life],
        listener: Listener,
    ) -> None:
        self.inbox, self.inboxtrust, self.settings, self.store = inbox, inboxtrust, settings, store
        self.running, self.listener = running, listener
        self.expansions = Expansions(groups, store)

    def enter(self, name: str, look: Judged, told: Sequence[Gate]) -> Sequence[str]:
        """What was judged counts from now on; the names of the files to look at next. ``told``: the
        gates that people know of.

        Raises what accepting a run raises.
        """
        complaints = self.inbox.complaints
        task_id = stem_of(name)
        twin = self.inbox.tasks.keys.get(ids.key(task_id), name)
        if twin != name:
            why, hint = f"the id '{task_id}' belongs to {twin}", "rename one of the two"
            complaints.refuse(name, look.signature, why, hint)
        elif task_id in self.running:
            hint = "wait for its end, or rename this file"
            complaints.refuse(name, look.signature, f"{task_id} is running", hint)
        elif isinstance(look, RunFile):
            return self._accept(name, look, told)
        elif isinstance(look, TaskFile):
            self._admit(name, look, told)
        elif not self._doubts(name, look):
            complaints.not_valid(name, look)
        return ()

    def _doubts(self, name: str, look: Invalid) -> bool:
        """Whether settings that have changed, and are not read yet, may make a file right that came
        after them: once it is looked at again before it is told."""
        doubted = self.inbox.doubted
        if doubted.get(name) == look.signature or not self.settings.differ():
            doubted.pop(name, None)
            return False
        doubted[name] = look.signature
        self.inbox.later.put(name, origin.AGAIN)
        return True

    def _admit(self, name: str, look: TaskFile, told: Sequence[Gate]) -> None:
        tasks, complaints = self.inbox.tasks, self.inbox.complaints
        arrived = self._arrived(name, look)
        waiting = waiting_of(name, look, arrived, keep=len(tasks.waiting) < KEPT)
        verdict = self.inboxtrust.judge(arrived) if arrived is not None else None
        if verdict is None:
            self._look_again_soon(name)
            return
        if verdict.gate is not None and arrived is not None:
            try:
                refuse_rerun(self.store.layout, waiting.id, arrived.identity)
            except Taken as error:
                complaints.refuse(name, look.signature, error.message, error.hint)
                return
        complaints.is_right(name)
        complaints.warn(name, look)
        tasks.enter(waiting)
        tasks.judge(waiting, verdict)
        tasks.needed(waiting.id)
        if waiting.gates[:1] and waiting.gates[0].name is GateName.ONLY:
            return
        self._tell_stuck(waiting.id, waiting.gates, told)

    def _tell_stuck(self, task_id: str, gates: Sequence[Gate], told: Sequence[Gate]) -> None:
        if gates and [gate.why for gate in gates] != [gate.why for gate in told]:
            self.listener.hear(Stuck(task_id, gates))

    def _look_again_soon(self, name: str) -> None:
        """Git has not said yet where the file comes from, or it is gone meanwhile."""
        self.inbox.later.put(name, origin.AGAIN)

    def _arrived(self, name: str, look: TaskFile | RunFile) -> Arrived | None:
        """What has to be known to judge a file; None if it is gone meanwhile."""
        tasks = [look.task] if isinstance(look, TaskFile) else look.run.all_tasks()
        return self.inboxtrust.arrived(name, look.content, tasks)

    def _accept(self, name: str, look: RunFile, told: Sequence[Gate]) -> Sequence[str]:
        arrived = self._arrived(name, look)
        verdict = self.inboxtrust.judge(arrived) if arrived is not None else None
        if verdict is None:
            self._look_again_soon(name)
            return ()
        if verdict.gate is not None:
            self.inbox.runs.enter(name, look.signature, verdict.gate)
            self.inbox.complaints.drop_note(name)
            self._tell_stuck(look.run.id, [verdict.gate], told)
            return ()
        if len(look.run.tasks) > LARGE:
            self.expansions.begin(name, look)
            return ()
        return self.expanded(*self.expansions.now(name, look))

    def expanded(self, name: str, look: RunFile, error: Exception | None) -> Sequence[str]:
        """A run was accepted, or could not be; the names of the files to look at next. Raises
        ``error`` if it is not about the run."""
        if isinstance(error, Taken):
            self.inbox.complaints.refuse(name, look.signature, error.message, error.hint)
            return ()
        if isinstance(error, Vanished):
            self.inbox.later.put(name, 0.0)
            return ()
        if error is not None:
            raise error
        self.inbox.complaints.drop_note(name)
        self.listener.hear(RunBegun(look.run))
        return [f"{task_id}.yaml" for task_id in look.run.tasks]
