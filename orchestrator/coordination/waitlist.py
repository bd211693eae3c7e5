"""The waiting tasks: what lies in the inbox, what each waits for, and which of them could start
now.

A cache of the folder. `Waitlist.look` is told of one file, `Waitlist.list` compares with the
listing, which is the truth; neither costs anything for files that have not changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from orchestrator.clock import Clock
from orchestrator.coordination import guard
from orchestrator.coordination.complaints import Complaints
from orchestrator.coordination.door import Door
from orchestrator.coordination.expansion import LARGE, LOOK, Expansions
from orchestrator.coordination.groups import Groups
from orchestrator.coordination.health import Health
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.intake import (
    Heavy,
    Ignored,
    Intake,
    Invalid,
    Judged,
    Look,
    NotYet,
    RunFile,
    Signature,
    TaskFile,
    signature_of,
)
from orchestrator.coordination.judges import Judges, Verdict
from orchestrator.coordination.later import Later
from orchestrator.coordination.life import Life
from orchestrator.coordination.listing import Listing
from orchestrator.coordination.news import About, Listener, Remark, RunBegun, Stuck
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.statuses import Statuses
from orchestrator.coordination.waitingruns import STALE, WaitingRuns
from orchestrator.coordination.waitingtasks import Waiting, WaitingTasks, waiting_of
from orchestrator.errors import Taken
from orchestrator.files import origin
from orchestrator.files.approval import Arrived
from orchestrator.files.layout import Layout, stem_of
from orchestrator.model import ids
from orchestrator.model.gates import Gate, GateName
from orchestrator.model.status import Status
from orchestrator.store import moves
from orchestrator.store.claiming import Vanished
from orchestrator.store.transitions import Store

FIRST_SLICE = (
    0.25  # seconds for looking at a start, so that the most urgent of a few hundred comes first
)
SLICE = 0.02  # seconds for looking in any other pass
MOST_HEAVY = 16  # large files that are kept as they were judged
KEPT = 1_000  # waiting tasks whose parsed form is kept in memory


class Waitlist:
    """The inbox as the watcher knows it.

    ``running`` are the claimed tasks by id, the watcher's own.
    """

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        intake: Intake,
        health: Health,
        groups: Groups,
        running: Mapping[str, Life],
        listener: Listener,
        hints: Hints,
        clock: Clock,
    ) -> None:
        self.layout, self.settings, self.store = layout, settings, store
        self.intake, self.health, self.running = intake, health, running
        self.listener, self.hints, self.clock = listener, hints, clock
        names: dict[str, str] = {}
        self.door = Door(layout, store, settings, clock)
        self.tasks = WaitingTasks(
            settings, self.door, groups, Statuses(layout, running, names), names, listener, clock
        )
        self.complaints = Complaints(layout, store, health, listener)
        self.runs = WaitingRuns()
        self.later = Later(clock)
        self.listing = Listing(layout, store, listener)
        self.todo: dict[str, None] = {}  # listed and not looked at yet
        self.gone: list[str] = []  # names that the last listings did not find any more
        self.expansions = Expansions(groups, store)
        self.judges = Judges(layout, settings)
        self._heavy: dict[str, TaskFile | RunFile] = {}  # judged there, and still waiting
        self._doubted: dict[str, Signature] = {}  # invalid by settings that have changed since
        self._told: dict[str, Sequence[Gate]] = {}  # gates of what is being judged once more

    @property
    def resting(self) -> bool:
        """Whether there are files of which it is not known yet what they are."""
        beside = bool(self.todo) or bool(self.expansions) or bool(self.judges)
        asks_git = any(waiting.asks_git for waiting in self.tasks.waiting.values())
        return beside or asks_git or self.later.resting

    def stuck(self) -> list[str]:
        """Ids of tasks and runs that only a person can set going."""
        tasks = [waiting.id for waiting in self.tasks.waiting.values() if waiting.stuck]
        return tasks + [stem_of(name) for name in self.runs.waiting]

    def inode(self, name: str) -> int:
        """Of the file that was looked at under this name; 0 if there was none."""
        known = self._signature(name)
        return known[0] if known is not None else 0

    def next_look(self, wall: float) -> list[float]:
        """Monotonic moments at which something has to be looked at again."""
        now = self.clock.monotonic()
        return [
            *([now + LOOK] if self.expansions or self.judges else ()),
            *([now] if self.tasks.broken else ()),
            *self.later.moments(),
            *(now + moment - wall for moment in self.runs.moments()),
            *(now + moment - wall for moment in self.tasks.moments()),
        ]

    # -- looking ----------------------------------------------------------------------------------------------------

    def list(self, everything: bool = False) -> None:
        """The authoritative listing: what is new, what has changed, what is gone."""
        present = self.listing.take()
        for name in [
            name
            for name in (
                *self.tasks.waiting,
                *self.complaints.invalid,
                *self.later,
                *self.runs.waiting,
            )
            if name not in present
        ]:
            self.gone += [name] if name not in self.later else []
            self.forget(name)
        self.complaints.keep(present)
        self._heavy = {name: look for name, look in self._heavy.items() if name in present}
        for name in present:
            known = self._signature(name)
            if known is None or (everything and not self._unchanged(name, known)):
                self.todo[name] = None
        self.look_on(FIRST_SLICE if everything else SLICE)

    def look_on(self, seconds: float) -> None:
        """Look at what was listed, for so long at most: 100,000 files must not keep anything
        waiting."""
        end = self.clock.monotonic() + seconds
        while self.todo and self.clock.monotonic() < end:
            self.look(self.todo.popitem()[0], listed=True)

    def anew(self) -> None:
        """What files mean may have changed: every one is looked at again. What is still so is not
        told twice."""
        for waiting in self.tasks.waiting.values():
            waiting.signature, waiting.look = STALE, None
        self.complaints.invalid = dict.fromkeys(self.complaints.invalid, STALE)
        for name in self.runs.waiting:
            self.runs.stale(name)
        self._heavy.clear()
        self.list(everything=True)

    def _signature(self, name: str) -> Signature | None:
        """What a file looked like when it was last looked at; None if it is not known."""
        if name in self.tasks.waiting:
            return self.tasks.waiting[name].signature
        return self.runs.signature(name) or self.complaints.invalid.get(name)

    def _unchanged(self, name: str, known: Signature) -> bool:
        try:
            return signature_of(os.lstat(self.layout.file(Status.INBOX, name))) == known
        except OSError:
            return False

    def look_soon(self, name: str) -> None:
        """Look at a file once more in the next pass."""
        self.hints.add(self.layout.file(Status.INBOX, name), renamed=True)

    def look_again(self) -> None:
        """Look at what was listed or was not ready, or whose time may have come."""
        for name, look, error in self.expansions.ended():
            self._expanded(name, look, error)
        for verdict in self.judges.ended():
            self._judged(verdict)
        self.look_on(SLICE)
        for name in self.later.due():
            self.look(name)
        for name in self.runs.due(self.clock.wall()):
            self._look_at_run(name)
        self.tasks.judge_due()
        broken, self.tasks.broken = self.tasks.broken, []
        for name, error in broken:
            self.failed(name, error)

    def _look_at_run(self, name: str) -> None:
        self.runs.stale(name)
        self.look(name, renamed=True)

    def look(self, name: str, renamed: bool = False, listed: bool = False) -> None:
        """Look at one file; whatever goes wrong concerns that file only."""
        life = self.running.get(stem_of(name))
        if life is not None and life.moving and life.name == name:
            return  # it is on its way to running/
        if name in self.expansions or name in self.judges:
            return
        try:
            before = self._heavy.get(name)
            self._take(name, self.intake.look(name, renamed, before, listed, light=True))
        except Exception as error:
            self.failed(name, error)

    def _judged(self, verdict: Verdict) -> None:
        """A file was judged beside the loop, or could not be. It counts if it is still the same,
        and so are the rules."""
        name, look = verdict.case.name, verdict.look
        same = self._unchanged(name, signature_of(verdict.case.content.stat))
        if verdict.outdated or not same:
            self.look(name, renamed=True)
        elif verdict.error is not None:
            self.failed(name, verdict.error)
        elif look is not None:
            if isinstance(look, TaskFile | RunFile) and len(self._heavy) < MOST_HEAVY:
                self._heavy[name] = look
            try:
                self._take(name, self.intake.unless_open(name, look))
            except Exception as error:
                self.failed(name, error)

    def failed(self, name: str, error: Exception) -> None:
        """Looking at this file raised something: it waits for the machine to work, or is set aside
        with a note."""
        if guard.machine(error):
            self.health.failed(error)
            self.later.put(name, 1.0)
            return
        self.forget(name)
        self.complaints.set_aside(name, error)

    def _doubts(self, name: str, look: Invalid) -> bool:
        """Whether settings that have changed, and are not read yet, may make a file right that came
        after them: once it is looked at again before it is told."""
        if self._doubted.get(name) == look.signature or not self.settings.differ():
            self._doubted.pop(name, None)
            return False
        self._doubted[name] = look.signature
        self.later.put(name, origin.AGAIN)
        return True

    def _take(self, name: str, look: Look) -> None:
        """What a look has found counts from now on."""
        was_editing = self.later.take(name)
        if isinstance(look, Ignored):
            self._ignore(name)
        elif look.signature == self._signature(name):
            pass  # it is what it was
        elif isinstance(look, Heavy):
            self._told[name] = self._take_out(name)
            self.judges.begin(name, look.content)
        elif isinstance(look, NotYet):
            self._take_out(name)
            self._leave_open(name, look, was_editing)
        else:
            told = self._take_out(name)
            self._take_judged(name, look, self._told.pop(name, told))

    def _ignore(self, name: str) -> None:
        self.gone += [name] if self._signature(name) is not None else []
        self.forget(name)
        self.listing.no_tasks([name])

    def _take_out(self, name: str) -> Sequence[Gate]:
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

    def _leave_open(self, name: str, look: NotYet, was_editing: str) -> None:
        self.later.put(name, look.after, look.why)
        if look.why and look.why != was_editing:
            if look.right:
                self.complaints.is_right(name)
            self.listener.hear(Remark(About.EDITING, stem_of(name), look.why))

    def _take_judged(self, name: str, look: Judged, told: Sequence[Gate]) -> None:
        task_id = stem_of(name)
        twin = self.tasks.keys.get(ids.key(task_id), name)
        if twin != name:
            why, hint = f"the id '{task_id}' belongs to {twin}", "rename one of the two"
            self.complaints.refuse(name, look.signature, why, hint)
        elif task_id in self.running:
            hint = "wait for its end, or rename this file"
            self.complaints.refuse(name, look.signature, f"{task_id} is running", hint)
        elif isinstance(look, RunFile):
            self._accept(name, look, told)
        elif isinstance(look, TaskFile):
            self._admit(name, look, told)
        elif not self._doubts(name, look):
            self.complaints.not_valid(name, look)

    def _admit(self, name: str, look: TaskFile, told: Sequence[Gate]) -> None:
        """``told``: the gates that are known of."""
        arrived = self._arrived(name, look)
        waiting = waiting_of(name, look, arrived, keep=len(self.tasks.waiting) < KEPT)
        verdict = self.door.judge(arrived) if arrived is not None else None
        if verdict is None:
            self._look_again_soon(name)
            return
        if verdict.gate is not None and arrived is not None:
            try:
                self.store.refuse_rerun(waiting.id, arrived.identity)
            except Taken as error:
                self.complaints.refuse(name, look.signature, error.message, error.hint)
                return
        self.complaints.is_right(name)
        self.complaints.warn(name, look)
        self.tasks.enter(waiting)
        self.tasks.judge(waiting)
        self.tasks.needed(waiting.id)
        if waiting.gates[:1] and waiting.gates[0].name is GateName.ONLY:
            return
        self._tell_stuck(waiting.id, waiting.gates, told)

    def _tell_stuck(self, task_id: str, gates: Sequence[Gate], told: Sequence[Gate]) -> None:
        if gates and [gate.why for gate in gates] != [gate.why for gate in told]:
            self.listener.hear(Stuck(task_id, gates))

    def _look_again_soon(self, name: str) -> None:
        """Git has not said yet where the file comes from, or it is gone meanwhile."""
        self.later.put(name, origin.AGAIN)

    def _arrived(self, name: str, look: TaskFile | RunFile) -> Arrived | None:
        """What has to be known to judge a file; None if it is gone meanwhile."""
        tasks = [look.task] if isinstance(look, TaskFile) else look.run.all_tasks()
        return self.door.arrived(name, look.content, tasks)

    def _accept(self, name: str, look: RunFile, told: Sequence[Gate]) -> None:
        """``told``: the gates that are known of."""
        arrived = self._arrived(name, look)
        verdict = self.door.judge(arrived) if arrived is not None else None
        if verdict is None:
            self._look_again_soon(name)
            return
        if verdict.gate is not None:
            self.runs.enter(name, look.signature, verdict.gate)
            self.complaints.drop_note(name)
            self._tell_stuck(look.run.id, [verdict.gate], told)
            return
        if len(look.run.tasks) > LARGE:
            self.expansions.begin(name, look)
            return
        self._expanded(*self.expansions.now(name, look))

    def _expanded(self, name: str, look: RunFile, error: Exception | None) -> None:
        """A run was accepted, or could not be."""
        if isinstance(error, Taken):
            self.complaints.refuse(name, look.signature, error.message, error.hint)
        elif isinstance(error, Vanished):
            self.hints.add(self.layout.file(Status.INBOX, name), renamed=True)
        elif error is not None:
            self.failed(name, error)
        else:
            self.complaints.drop_note(name)
            self.listener.hear(RunBegun(look.run))
            self._members([f"{task_id}.yaml" for task_id in look.run.tasks])

    def _members(self, names: Sequence[str]) -> None:
        """Look at the tasks of a new run: at once, or in slices, in the order of its file."""
        for name in reversed(names[LARGE:]):  # the last one is taken first
            self.todo[name] = None
        for name in names[:LARGE]:
            self.look(name, renamed=True)

    def withdraw(self, task_id: str, why: str) -> None:
        """Cancel a task that waits. OSError, or `OrchestratorError` if it does not wait any
        more."""
        name = self.tasks.names.get(task_id, "")
        moves.cancel(self.store, task_id, why)
        self.forget(name)
        self.tasks.statuses.moved(task_id, Status.CANCELLED)
        self.listener.hear(Remark(About.CANCELLED, task_id, why))
        self.tasks.needed(task_id)

    def forget(self, name: str) -> None:
        """A file that is not there any more, or not what it was."""
        self._doubted.pop(name, None)
        self.later.take(name)
        self.runs.leave(name)
        self.tasks.leave(name)
        self.complaints.forget(name)

    def reread(self, waiting: Waiting) -> TaskFile | None:
        """The parsed file again; None if it has changed, and then it is looked at anew."""
        before = waiting.look or self._heavy.get(waiting.name)
        known = waiting.arrived.sha256 if waiting.arrived is not None else ""
        look = self.intake.look(waiting.name, True, before, light=True, known=known)
        if isinstance(look, TaskFile) and look.signature == waiting.signature:
            if waiting.rejudge:
                self.tasks.judge(waiting)
                return None if waiting.gates else look
            return look
        self._take(waiting.name, look)
        return None

    def flush_vouch(self) -> None:
        """Remember files that were here before git tracked them, unless they have started
        meanwhile."""
        self.door.flush(self.tasks.names.__contains__)

    def approvals(self) -> None:
        """Look at what was held once more if somebody has approved anything since."""
        if not self.door.news():
            return
        self.tasks.judge_gated()
        for name in list(self.runs.waiting):
            self._look_at_run(name)
