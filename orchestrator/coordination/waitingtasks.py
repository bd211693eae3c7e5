"""The valid tasks of the inbox: what each waits for, and which of them could start now."""

from __future__ import annotations

from dataclasses import field

from orchestrator.clock import Clock
from orchestrator.coordination.circles import Circles
from orchestrator.coordination.groups import Groups
from orchestrator.coordination.inboxtrust import InboxTrust
from orchestrator.coordination.intake import Signature, TaskFile
from orchestrator.coordination.moments import Moments
from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.statuses import Statuses
from orchestrator.files import origin
from orchestrator.files.approval import Arrived, Verdict, busy_gate
from orchestrator.model import ids
from orchestrator.model.admission import Ask, World, standing_gates
from orchestrator.model.choice import Candidate, Ready
from orchestrator.model.gates import Gate, GateName, need_gates
from orchestrator.model.task import Task
from orchestrator.records import dataclass


@dataclass(slots=True)
class Waiting:
    """A valid task in the inbox, as little of it as is needed to choose."""

    id: str
    name: str
    signature: Signature
    candidate: Candidate
    asks: Task  # without its prompt and the like: what its gates depend on
    own: list[Gate] = field(default_factory=list)  # closed, but for its needs
    needs: dict[str, Gate] = field(default_factory=dict)  # closed, by the id that is needed
    arrived: Arrived | None = None  # what is judged before it may leave the inbox
    rejudge: bool = False  # it counts by a branch, which may have moved on when it is to start
    look: TaskFile | None = None  # kept for the first few, so that they are not parsed again

    @property
    def gates(self) -> list[Gate]:
        """Its own closed gates."""
        return [*self.own, *self.needs.values()]

    @property
    def asks_git(self) -> bool:
        """Whether git has not said yet where its file comes from: it is at work itself, or slow."""
        return any(gate.name is GateName.APPROVAL and not gate.stuck for gate in self.own)

    @property
    def brought(self) -> bool:
        """Whether git has said that it brought its file: it goes on saying so."""
        return any(
            gate.name is GateName.APPROVAL and gate.stuck and gate.until is None
            for gate in self.own
        )

    @property
    def stuck(self) -> bool:
        """Whether only a person can set it going."""
        return any(gate.stuck for gate in self.gates)

    @property
    def due(self) -> float | None:
        """The first moment (seconds since the epoch) that it waits for."""
        moments = [gate.until for gate in self.own if gate.until is not None]
        return min(moments, default=None)


def waiting_of(name: str, look: TaskFile, arrived: Arrived | None, keep: bool) -> Waiting:
    """A valid file as a waiting task; ``keep`` its parsed form."""
    task = look.task
    asks = Task(
        task.id,
        hold=task.hold,
        not_before=task.not_before,
        needs=task.needs,
        ends=task.ends,
        run=task.run,
    )
    candidate = Candidate(task.rank, look.signature[1], task.id, look.route.lane(task))
    return Waiting(
        task.id,
        name,
        look.signature,
        candidate,
        asks,
        arrived=arrived,
        look=look if keep else None,
    )


class WaitingTasks:
    """``waiting`` are they by file name, ``names`` their file names by id.

    ``keys`` has the file name of every id that is taken, by case-folded id: of claimed tasks, too.
    ``ready`` are those whose own gates are open. ``asking`` are the names of those about which git
    is asked. ``broken`` are those that could not be judged, and why, until somebody takes them.
    ``again`` are the names of those that are to be judged once more, which takes several passes if
    there are many.
    """

    def __init__(
        self,
        settings: Settings,
        inboxtrust: InboxTrust,
        groups: Groups,
        statuses: Statuses,
        names: dict[str, str],
        listener: Listener,
        clock: Clock,
    ) -> None:
        self.settings, self.inboxtrust, self.groups = settings, inboxtrust, groups
        self.statuses, self.names = statuses, names
        self.listener, self.clock = listener, clock
        self.waiting: dict[str, Waiting] = {}
        self.keys: dict[str, str] = {}
        self.ready = Ready()
        self.asking: set[str] = set()
        self.again: dict[str, None] = {}
        self.broken: list[tuple[str, Exception]] = []
        self._waiters: dict[str, set[str]] = {}  # needed id -> names that wait for it
        self._moments = Moments()
        self._circles = Circles()

    def of(self, task_id: str) -> Waiting | None:
        """The waiting task with this id."""
        return self.waiting.get(self.names.get(task_id, ""))

    def is_stuck(self, task_id: str) -> bool:
        """Whether only a person can set this waiting task going."""
        waiting = self.of(task_id)
        return waiting is not None and waiting.stuck

    def unmerged(self) -> list[str]:
        """Ids of done tasks that others wait for until somebody merges their branches."""
        needed = {
            gate.on
            for waiting in self.waiting.values()
            for gate in waiting.gates
            if gate.name is GateName.NEEDS and gate.stuck and gate.on
        }
        return sorted(task_id for task_id in needed if self.statuses.unmerged(task_id))

    def moments(self) -> list[float]:
        """The first moment (seconds since the epoch) that one of them waits for, if any does."""
        return self._moments.next()

    # -- coming and going
    # -------------------------------------------------------------------------------------------

    def enter(self, waiting: Waiting) -> None:
        """A file is a valid task."""
        self.waiting[waiting.name] = waiting
        self.names[waiting.id] = waiting.name
        self.keys[ids.key(waiting.id)] = waiting.name

    def leave(self, name: str) -> None:
        """The file is not there any more, or not what it was."""
        waiting = self.waiting.pop(name, None)
        if waiting is None:
            return
        self.names.pop(waiting.id, None)
        self.keys.pop(ids.key(waiting.id), None)
        self.ready.remove(waiting.id)
        self.asking.discard(name)
        self.again.pop(name, None)
        self._moments.put(name, None)
        for need in waiting.asks.needs:
            self._waiters.get(need, set()).discard(name)

    # -- gates
    # ----------------------------------------------------------------------------------------------

    def judge(self, waiting: Waiting, verdict: Verdict | None = None) -> None:
        """Open or close this task's own gates.  ``verdict``: what the door has just said of it."""
        self.gated(waiting, standing_gates(self.ask(waiting, verdict), self.world()))

    def gated(self, waiting: Waiting, gates: list[Gate]) -> None:
        """These are the task's own gates from now on."""
        waiting.own = [gate for gate in gates if not gate.on]
        waiting.needs = {gate.on: gate for gate in gates if gate.on}
        for need in waiting.needs:
            self._waiters.setdefault(need, set()).add(waiting.name)
        self._moments.put(waiting.name, waiting.due)
        if waiting.asks_git:
            self.asking.add(waiting.name)
        else:
            self.asking.discard(waiting.name)
        if waiting.gates:
            self.ready.remove(waiting.id)
        elif waiting.id not in self.ready:
            self.ready.add(waiting.candidate)

    def judge_on(self, seconds: float) -> None:
        """Look at those whose time has come, and at those that are to be judged once more, for so
        long at most: each may be a question to git, and the loop has others to see to."""
        self.again.update(dict.fromkeys(self._moments.due(self.clock.wall())))
        end = self.clock.monotonic() + seconds
        while self.again:
            waiting = self.waiting.get(self.again.popitem()[0])
            if waiting is not None:
                self._try(waiting)
            if self.clock.monotonic() >= end:
                break

    def judge_anew(self) -> None:
        """Look at every closed gate again: what no notification tells, such as a task that now
        exists."""
        self.statuses.forget()
        moved = self.inboxtrust.git_moved()
        for waiting in self.waiting.values():
            if waiting.gates and (moved or not waiting.brought):
                self.again[waiting.name] = None
        self.tell_circles()

    def needed(self, task_id: str) -> None:
        """Something happened to this task: look at those that wait for it."""
        for name in list(self._waiters.pop(task_id, ())):
            waiting = self.waiting.get(name)
            if waiting is not None and not self._waits_on(waiting, task_id):
                self._try(waiting)

    def _waits_on(self, waiting: Waiting, task_id: str) -> bool:
        """Judge this one need, which is enough while others are waited for: so the end of one of
        a thousand needed tasks does not ask for all of them."""
        waiting.needs.pop(task_id, None)
        if not waiting.needs:
            return False
        statuses, asks = self.statuses, waiting.asks
        for gate in need_gates((task_id,), statuses.of, asks.ends, statuses.unmerged):
            waiting.needs[task_id] = gate
            self._waiters.setdefault(task_id, set()).add(waiting.name)
        return True

    def tell_circles(self) -> None:
        """Warn of tasks of several files that wait for each other, once each."""
        needs = {
            waiting.id: tuple(waiting.asks.needs)
            for waiting in self.waiting.values()
            if any(gate.name is GateName.NEEDS for gate in waiting.gates)
        }
        for task_id, text in self._circles.news(needs):
            self.listener.hear(Remark(About.WARNED, task_id, text))

    def ask(self, waiting: Waiting, verdict: Verdict | None = None) -> Ask:
        """A waiting task, as admission sees it."""
        approval = self._approval(waiting, verdict)
        return Ask(waiting.asks, waiting.candidate.lane, approval=approval)

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

    def _approval(self, waiting: Waiting, verdict: Verdict | None) -> Gate | None:
        """The gate of a file that git may have brought; while git is at work it is looked at again
        soon."""
        if verdict is None and waiting.arrived is not None:
            verdict = self.inboxtrust.judge(waiting.arrived)
        waiting.rejudge = verdict is not None and bool(verdict.source)
        if verdict is None:
            return busy_gate(self.clock.wall() + origin.AGAIN)
        return verdict.gate

    def _try(self, waiting: Waiting) -> None:
        """Judge it; whatever goes wrong concerns this task only."""
        try:
            self.judge(waiting)
        except Exception as error:
            self.broken.append((waiting.name, error))
