"""The waiting tasks: what lies in the inbox, what each waits for, and which of them could start now.

A cache of the folder.  `Waitlist.look` is told of one file, `Waitlist.list` compares with the listing, which is the
truth; neither costs anything for files that have not changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import field

from orchestrator.clock import Clock
from orchestrator.coordination import guard
from orchestrator.coordination.circles import Circles
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
    Look,
    NotYet,
    RunFile,
    Signature,
    TaskFile,
    signature_of,
)
from orchestrator.coordination.judges import Judges, Verdict
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import About, Listener, Remark, RunBegun, Stuck
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.statuses import Statuses
from orchestrator.coordination.strangers import Strangers
from orchestrator.errors import Taken
from orchestrator.files import diagnostics, opening, origin
from orchestrator.files.approval import Arrived, busy_gate
from orchestrator.files.documents import Document, Problem
from orchestrator.files.layout import Layout, is_draft, stem_of
from orchestrator.files.scan import names
from orchestrator.model import ids
from orchestrator.model.admission import Ask, World, standing_gates
from orchestrator.model.choice import Candidate, Ready
from orchestrator.model.gates import Gate, GateName
from orchestrator.model.status import Status
from orchestrator.model.task import Task
from orchestrator.records import dataclass
from orchestrator.store.claiming import Vanished
from orchestrator.store.transitions import Store

FIRST_SLICE, SLICE = (
    0.25,
    0.02,
)  # seconds: at a start, so that the most urgent of a few hundred comes first; and later
STALE: Signature = (0, 0, 0)  # of a file that has to be looked at again, whatever it looks like
MOST_HEAVY = 16  # large files that are kept as they were judged
KEPT = 256  # waiting tasks whose parsed form is kept in memory


@dataclass(slots=True)
class Waiting:
    """A valid task in the inbox, as little of it as is needed to choose."""

    id: str
    name: str
    signature: Signature
    candidate: Candidate
    asks: Task  # without its prompt and the like: what its gates depend on
    gates: list[Gate] = field(default_factory=list)
    arrived: Arrived | None = None  # what is judged before it may leave the inbox
    rejudge: bool = False  # it counts by a branch, which may have moved on when it is to start
    look: TaskFile | None = None  # kept for the first few, so that they are not parsed again


def _asks_git(waiting: Waiting) -> bool:
    """Whether git has not said yet where a file comes from: it is at work itself, or slow."""
    return any(gate.name is GateName.APPROVAL and not gate.stuck for gate in waiting.gates)


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
        self.layout, self.settings, self.store, self.intake, self.health = (
            layout,
            settings,
            store,
            intake,
            health,
        )
        self.groups, self.running = groups, running
        self.listener, self.hints, self.clock = listener, hints, clock
        self.waiting: dict[str, Waiting] = {}  # by file name
        self.names: dict[str, str] = {}  # id -> file name
        self.keys: dict[
            str, str
        ] = {}  # case-folded id -> the file name that has it, claimed tasks included
        self.invalid: dict[str, Signature] = {}
        self._complaints: dict[
            str, tuple[str, str]
        ] = {}  # what was told of the invalid ones: content, reason
        self.not_yet: dict[
            str, tuple[float, str]
        ] = {}  # name -> when to look again (monotonic), why
        self.ready = Ready()
        self.todo: dict[str, None] = {}  # listed and not looked at yet
        self.gone: list[str] = []  # names that the last listings did not find any more
        self.stamp = 0  # the inbox folder's time at the last listing
        self._strangers = Strangers(layout)
        self._warned: dict[str, str] = {}  # file name -> the warnings that were told of
        self.door = Door(layout, store, settings, clock)
        self.runs: dict[str, tuple[Signature, Gate]] = {}  # runs that may not be accepted yet
        self._waiters: dict[str, set[str]] = {}  # needed id -> names that wait for it
        self.statuses = Statuses(layout, running, self.names)
        self.expansions = Expansions(groups, store)
        self.judges = Judges(layout, settings)
        self._heavy: dict[str, TaskFile | RunFile] = {}  # judged there, and still waiting
        self._doubted: dict[str, Signature] = {}  # invalid by settings that have changed since
        self._told: dict[str, Sequence[Gate]] = {}  # gates of what is being judged once more
        self._circles = Circles()

    @property
    def timed(self) -> list[Waiting]:
        """Those that wait for a moment."""
        return [
            self.waiting[name] for name in self._waiters.get("@time", ()) if name in self.waiting
        ]

    @property
    def resting(self) -> bool:
        """Whether there are files of which it is not known yet what they are."""
        rests = any(not why for _, why in self.not_yet.values())
        rests = rests or any(map(_asks_git, self.waiting.values()))
        return rests or bool(self.todo) or bool(self.expansions) or bool(self.judges)

    def stuck(self) -> list[str]:
        """Ids of tasks that only a person can set going."""
        return [
            waiting.id
            for waiting in self.waiting.values()
            if any(gate.stuck for gate in waiting.gates)
        ] + [stem_of(name) for name in self.runs]

    def is_stuck(self, task_id: str) -> bool:
        """Whether only a person can set this waiting task going."""
        waiting = self.of(task_id)
        return waiting is not None and any(gate.stuck for gate in waiting.gates)

    @property
    def open(self) -> dict[str, str]:
        """Files that somebody is still at, by name, and in what way."""
        return {name: why for name, (_, why) in list(self.not_yet.items()) if why}

    def unmerged(self) -> list[str]:
        """Ids of done tasks that others wait for until somebody merges their branches."""
        needed = {
            gate.on
            for waiting in self.waiting.values()
            for gate in waiting.gates
            if gate.name is GateName.NEEDS and gate.stuck and gate.on
        }
        return sorted(task_id for task_id in needed if self.statuses.unmerged(task_id))

    def of(self, task_id: str) -> Waiting | None:
        """The waiting task with this id."""
        return self.waiting.get(self.names.get(task_id, ""))

    def inode(self, name: str) -> int:
        """Of the file that was looked at under this name; 0 if there was none."""
        known = self._signature(name)
        return known[0] if known is not None else 0

    def next_look(self, wall: float) -> list[float]:
        """Monotonic moments at which something has to be looked at again."""
        now = self.clock.monotonic()
        return [
            *([now + LOOK] if self.expansions or self.judges else ()),
            *(due for due, _ in self.not_yet.values()),
            *(now + gate.until - wall for _, gate in self.runs.values() if gate.until),
            *(
                now + gate.until - wall
                for waiting in self.timed
                for gate in waiting.gates
                if gate.until
            ),
        ]

    # -- looking ----------------------------------------------------------------------------------------------------

    def list(self, everything: bool = False) -> None:
        """The authoritative listing: what is new, what has changed, what is gone."""
        try:
            self.stamp = os.stat(self.layout.folder(Status.INBOX)).st_mtime_ns
        except FileNotFoundError:
            self.store.prepare()
        listed = names(self.layout.folder(Status.INBOX))
        present = {name for name in listed if stem_of(name) and not is_draft(name)}
        self._strangers.keep(listed)
        for name, why in self._strangers.news(name for name in listed if name not in present):
            self.listener.hear(Remark(About.IGNORED, name, why))
        for name in [
            name
            for name in (*self.waiting, *self.invalid, *self.not_yet, *self.runs)
            if name not in present
        ]:
            self.gone += [name] if name not in self.not_yet else []
            self.forget(name)
        self._warned = {name: text for name, text in self._warned.items() if name in present}
        self._heavy = {name: look for name, look in self._heavy.items() if name in present}
        for name in present:
            known = self._signature(name)
            if known is None or (everything and not self._unchanged(name, known)):
                self.todo[name] = None
        self.look_on(FIRST_SLICE if everything else SLICE)

    def outdated(self) -> bool:
        """Whether names have come or gone since the last listing."""
        try:
            return os.stat(self.layout.folder(Status.INBOX)).st_mtime_ns != self.stamp
        except FileNotFoundError:
            return True

    def look_on(self, seconds: float) -> None:
        """Look at what was listed, for so long at most: 100,000 files must not keep anything waiting."""
        end = self.clock.monotonic() + seconds
        while self.todo and self.clock.monotonic() < end:
            self.look(self.todo.popitem()[0], listed=True)

    def anew(self) -> None:
        """What files mean may have changed: every one is looked at again.  What is still so is not told twice."""
        for waiting in self.waiting.values():
            waiting.signature, waiting.look = STALE, None
        self.invalid = dict.fromkeys(self.invalid, STALE)
        self.runs = {name: (STALE, gate) for name, (_, gate) in self.runs.items()}
        self._heavy.clear()
        self.list(everything=True)

    def _signature(self, name: str) -> Signature | None:
        """What a file looked like when it was last looked at; None if it is not known."""
        if name in self.waiting:
            return self.waiting[name].signature
        if name in self.runs:
            return self.runs[name][0]
        return self.invalid.get(name)

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
        now = self.clock.monotonic()
        for name in [name for name, (due, _) in self.not_yet.items() if due <= now]:
            self.look(name)
        wall = self.clock.wall()
        for name, (_, gate) in list(self.runs.items()):
            if gate.until is not None and gate.until <= wall:
                self.runs[name] = (STALE, gate)
                self.look(name, renamed=True)
        for waiting in self.timed:
            if any(gate.until is not None and gate.until <= wall for gate in waiting.gates):
                self._judge_guarded(waiting)

    def _judge_guarded(self, waiting: Waiting) -> None:
        try:
            self.judge(waiting)
        except Exception as error:
            self.failed(waiting.name, error)

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
        """A file was judged beside the loop, or could not be.  It counts if it is still the same, and so are the rules."""
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
        """Looking at this file raised something: it waits for the machine to work, or is set aside with a note."""
        if guard.machine(error):
            self.health.failed(error)
            self.not_yet[name] = (self.clock.monotonic() + 1.0, "")
            return
        self.forget(name)
        try:
            signature = signature_of(os.lstat(self.layout.file(Status.INBOX, name)))
        except OSError:
            return
        why, hint = guard.sentence(error)
        if isinstance(
            error, OSError
        ):  # what refused it may give way: every full listing looks again
            signature = (signature[0], -1, signature[2])
        self.invalid[name] = signature
        try:
            self.refuse(name, signature, why, hint)
        except Exception as second:  # no note, no event: it is still told, and set aside
            if guard.machine(second):
                self.health.failed(second)
            self._complain(name, ("", why), f"{why} - {hint}")

    def _doubts(self, name: str, look: Invalid) -> bool:
        """Whether settings that have changed, and are not read yet, may make a file right that came after them: once it is looked
        at again before it is told."""
        if self._doubted.get(name) == look.signature or not self.settings.differ():
            self._doubted.pop(name, None)
            return False
        self._doubted[name] = look.signature
        self.not_yet[name] = (self.clock.monotonic() + origin.AGAIN, "")
        return True

    def _take(self, name: str, look: Look) -> None:
        was_editing = self.not_yet.pop(name, (0.0, ""))[1]
        if isinstance(look, Ignored):
            self.gone += [name] if self._signature(name) is not None else []
            self.forget(name)
            for _, why in self._strangers.news([name]):
                self.listener.hear(Remark(About.IGNORED, name, why))
            return
        if name in self.waiting and self.waiting[name].signature == look.signature:
            return
        if self.invalid.get(name) == look.signature:
            return
        if name in self.runs and self.runs[name][0] == look.signature:
            return
        self.invalid.pop(name, None)  # its note stays until it is known what the file is now
        before = self.waiting.get(name)
        if before is not None:
            self.forget(name)
        if isinstance(look, Heavy):
            self._told[name] = before.gates if before is not None else []
            self.judges.begin(name, look.content)
            return
        told = self._told.pop(name, before.gates if before is not None else [])
        if isinstance(look, NotYet):
            self.not_yet[name] = (self.clock.monotonic() + look.after, look.why)
            if look.why and look.why != was_editing:
                if look.right:
                    self._complaints.pop(name, None)
                    self._drop_note(stem_of(name))
                self.listener.hear(Remark(About.EDITING, stem_of(name), look.why))
            return
        key = ids.key(stem_of(name))
        twin = self.keys.get(key, name)
        if twin != name:
            self.refuse(
                name,
                look.signature,
                f"the id '{stem_of(name)}' belongs to {twin}",
                "rename one of the two",
            )
        elif stem_of(name) in self.running:
            self.refuse(
                name,
                look.signature,
                f"{stem_of(name)} is running",
                "wait for its end, or rename this file",
            )
        elif isinstance(look, Invalid):
            if not self._doubts(name, look):
                self._invalid(name, look)
        elif isinstance(look, RunFile):
            self._accept(name, look)
        else:
            self._admit(name, look, told)

    def _invalid(self, name: str, look: Invalid) -> None:
        self.invalid[name] = look.signature
        task_id = stem_of(name)
        first = look.problems[0]
        text = f"{first.line}:{first.column} {first.message}" + (
            f" - {first.hint}" if first.hint else ""
        )
        known = look.digest in _read_text(self.layout.note(task_id))
        self._note(task_id, diagnostics.note(name, look.document, look.problems, look.digest))
        if not known:  # once per content, also over restarts
            self.store.log.commit(
                [
                    self.store.log.event(
                        "task_invalid",
                        task_id,
                        look.digest[:12],
                        task_id=task_id,
                        phase="submit",
                        status="inbox",
                        summary=text[:300],
                    )
                ]
            )
        self._complain(name, (look.digest, first.message), text)

    def refuse(
        self, name: str, signature: Signature, why: str, hint: str, kind: str = "task_refused"
    ) -> None:
        """The file stays where it is and is not run; a note says why."""
        task_id = stem_of(name)
        self.invalid[name] = signature
        digest = f"refused {signature[0]}.{signature[1]}"
        known = digest in _read_text(self.layout.note(task_id))
        self._note(
            task_id, diagnostics.note(name, Document(""), [Problem(1, 1, why, hint)], digest)
        )
        if not known:
            self.store.log.commit(
                [
                    self.store.log.event(
                        kind,
                        task_id,
                        digest[8:],
                        task_id=task_id,
                        phase="submit",
                        status="inbox",
                        summary=why[:300],
                    )
                ]
            )
        self._complain(name, (digest, why), f"{why} - {hint}")

    def _complain(self, name: str, what: tuple[str, str], text: str) -> None:
        """Tell that a file is invalid: once for every content and reason."""
        if self._complaints.get(name) != what:
            self._complaints[name] = what
            self.listener.hear(Remark(About.INVALID, stem_of(name), text))

    def _warn(self, name: str, look: TaskFile) -> None:
        """Tell what is read otherwise than meant, or is not there: once for every content."""
        text = "; ".join(f"{item.line}:{item.column} {item.message}" for item in look.warnings)
        if text and self._warned.get(name) != text:
            self.listener.hear(Remark(About.WARNED, stem_of(name), text))
        self._warned[name] = text

    def _drop_note(self, task_id: str) -> None:
        try:
            self.store.remove_note(task_id)
        except OSError as error:  # it goes with the next full listing
            self._unwritten(error)

    def _note(self, task_id: str, text: str) -> None:
        try:
            self.store.write_note(task_id, text)
        except OSError as error:
            self._unwritten(error)

    def _unwritten(self, error: OSError) -> None:
        """A note could not be written or removed: its name is too long, or a folder lies there; the event tells of it."""
        if guard.machine(error):
            self.health.failed(error)

    def _admit(self, name: str, look: TaskFile, told: Sequence[Gate]) -> None:
        """``told``: the gates that are known of."""
        task, chosen = look.task, look.route
        lane = chosen.lane(task)
        candidate = Candidate(task.rank, look.signature[1], task.id, lane)
        asks = Task(
            task.id,
            hold=task.hold,
            not_before=task.not_before,
            needs=task.needs,
            ends=task.ends,
            run=task.run,
        )
        waiting = Waiting(
            task.id,
            name,
            look.signature,
            candidate,
            asks,
            arrived=self._arrived(name, look),
            look=look if len(self.waiting) < KEPT else None,
        )
        verdict = self.door.judge(waiting.arrived) if waiting.arrived is not None else None
        if verdict is None:
            self.not_yet[name] = (self.clock.monotonic() + origin.AGAIN, "")
            return
        if verdict.gate is not None and waiting.arrived is not None:
            try:
                self.store.refuse_rerun(task.id, waiting.arrived.identity)
            except Taken as error:
                self.refuse(name, look.signature, error.message, error.hint)
                return
        self._complaints.pop(name, None)
        self._warn(name, look)
        self.waiting[name] = waiting
        self.names[task.id] = name
        self.keys[ids.key(task.id)] = name
        self._drop_note(task.id)
        self.judge(waiting)
        self.needed(task.id)
        if waiting.gates[:1] and waiting.gates[0].name is GateName.ONLY:
            return
        if waiting.gates and [gate.why for gate in waiting.gates] != [gate.why for gate in told]:
            self.listener.hear(Stuck(task.id, waiting.gates))

    def _arrived(self, name: str, look: TaskFile | RunFile) -> Arrived | None:
        """What has to be known to judge a file; None if it is gone meanwhile."""
        tasks = [look.task] if isinstance(look, TaskFile) else look.run.all_tasks()
        return self.door.arrived(name, look.content, tasks)

    def _accept(self, name: str, look: RunFile) -> None:
        arrived, before = self._arrived(name, look), self.runs.pop(name, None)
        verdict = self.door.judge(arrived) if arrived is not None else None
        if verdict is None:
            self.not_yet[name] = (self.clock.monotonic() + origin.AGAIN, "")
            return
        if verdict.gate is not None:
            self.runs[name] = (look.signature, verdict.gate)
            self._drop_note(look.run.id)
            if before is None or before[1].why != verdict.gate.why:
                self.listener.hear(Stuck(look.run.id, [verdict.gate]))
            return
        if len(look.run.tasks) > LARGE:
            self.expansions.begin(name, look)
            return
        self._expanded(*self.expansions.now(name, look))

    def _expanded(self, name: str, look: RunFile, error: Exception | None) -> None:
        """A run was accepted, or could not be."""
        if isinstance(error, Taken):
            self.refuse(name, look.signature, error.message, error.hint)
        elif isinstance(error, Vanished):
            self.hints.add(self.layout.file(Status.INBOX, name), renamed=True)
        elif error is not None:
            self.failed(name, error)
        else:
            self._drop_note(look.run.id)
            self.listener.hear(RunBegun(look.run))
            self._members([f"{task_id}.yaml" for task_id in look.run.tasks])

    def _members(self, names: Sequence[str]) -> None:
        """Look at the tasks of a new run: at once, or in slices, in the order of its file."""
        for name in reversed(names[LARGE:]):  # the last one is taken first
            self.todo[name] = None
        for name in names[:LARGE]:
            self.look(name, renamed=True)

    def withdraw(self, task_id: str, why: str) -> None:
        """Cancel a task that waits.  OSError, or `OrchestratorError` if it does not wait any more."""
        name = self.names.get(task_id, "")
        self.store.cancel_waiting(task_id, why)
        self.forget(name)
        self.statuses.moved(task_id, Status.CANCELLED)
        self.listener.hear(Remark(About.CANCELLED, task_id, why))
        self.needed(task_id)

    def forget(self, name: str) -> None:
        """A file that is not there any more, or not what it was."""
        self._doubted.pop(name, None)
        waiting = self.waiting.pop(name, None)
        if waiting is not None:
            self.names.pop(waiting.id, None)
            self.keys.pop(ids.key(waiting.id), None)
            self.ready.remove(waiting.id)
            for need in (*waiting.asks.needs, "@time"):
                self._waiters.get(need, set()).discard(name)
        self.not_yet.pop(name, None)
        self.runs.pop(name, None)
        self._complaints.pop(name, None)
        if self.invalid.pop(name, None) is not None:
            self._drop_note(stem_of(name))

    # -- gates ------------------------------------------------------------------------------------------------------

    def judge_gated(self) -> None:
        """Look at every closed gate again: what no notification tells, such as a task that now exists."""
        self.statuses.forget()
        for waiting in [waiting for waiting in self.waiting.values() if waiting.gates]:
            self._judge_guarded(waiting)
        self.tell_circles()

    def tell_circles(self) -> None:
        """Warn of tasks of several files that wait for each other, once each."""
        needs = {
            waiting.id: tuple(waiting.asks.needs)
            for waiting in self.waiting.values()
            if any(gate.name is GateName.NEEDS for gate in waiting.gates)
        }
        for task_id, text in self._circles.news(needs):
            self.listener.hear(Remark(About.WARNED, task_id, text))

    def judge(self, waiting: Waiting) -> None:
        """Open or close this task's own gates."""
        waiting.gates = standing_gates(self.ask(waiting), self.world())
        for gate in waiting.gates:
            if gate.on:
                self._waiters.setdefault(gate.on, set()).add(waiting.name)
            elif gate.until is not None:
                self._waiters.setdefault("@time", set()).add(waiting.name)
        if waiting.gates:
            self.ready.remove(waiting.id)
        elif waiting.id not in self.ready:
            self.ready.add(waiting.candidate)

    def ask(self, waiting: Waiting) -> Ask:
        """A waiting task, as admission sees it."""
        lane = waiting.candidate.lane
        return Ask(waiting.asks, lane, approval=self._approval(waiting))

    def world(self) -> World:
        """What the gates of one task depend on; what else runs is added by who knows it."""
        statuses = self.statuses
        return World(
            self.clock.wall(),
            statuses.of,
            self.groups.get,
            self.settings.config.limits,
            stopped=statuses.stopped,
            unmerged=statuses.unmerged,
        )

    def reread(self, waiting: Waiting) -> TaskFile | None:
        """The parsed file again; None if it has changed, and then it is looked at anew."""
        before = waiting.look or self._heavy.get(waiting.name)
        known = waiting.arrived.sha256 if waiting.arrived is not None else ""
        look = self.intake.look(waiting.name, True, before, light=True, known=known)
        if isinstance(look, TaskFile) and look.signature == waiting.signature:
            if waiting.rejudge:
                self.judge(waiting)
                return None if waiting.gates else look
            return look
        self._take(waiting.name, look)
        return None

    def needed(self, task_id: str) -> None:
        """Something happened to this task: look at those that wait for it."""
        for name in list(self._waiters.pop(task_id, ())):
            if name in self.waiting:
                self._judge_guarded(self.waiting[name])

    def _approval(self, waiting: Waiting) -> Gate | None:
        """The gate of a file that git may have brought; while git is at work it is looked at again soon."""
        verdict = self.door.judge(waiting.arrived) if waiting.arrived is not None else None
        waiting.rejudge = verdict is not None and bool(verdict.source)
        if verdict is None:
            return busy_gate(self.clock.wall() + origin.AGAIN)
        return verdict.gate

    def flush_vouch(self) -> None:
        """Remember files that were here before git tracked them, unless they have started meanwhile."""
        self.door.flush(self.names.__contains__)

    def approvals(self) -> None:
        """Look at what was held once more if somebody has approved anything since."""
        if not self.door.news():
            return
        for waiting in [item for item in self.waiting.values() if item.gates]:
            self.judge(waiting)
        for name, (_, gate) in list(self.runs.items()):
            self.runs[name] = (STALE, gate)
            self.look(name, renamed=True)


def _read_text(path: str) -> str:
    try:
        return opening.read_text(path, 1 << 16)
    except OSError:
        return ""
