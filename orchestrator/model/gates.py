"""Everything that can stand between a waiting task and its start: the gates, one by one.

`model.admission` puts them together; nobody else decides with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

from orchestrator.model import isolation
from orchestrator.model.status import FINISHED, Status
from orchestrator.model.units import timestamp
from orchestrator.records import dataclass, field, replace

if TYPE_CHECKING:
    from orchestrator.model.isolation import Change
    from orchestrator.model.task import Task


class GateName(StrEnum):
    """What a gate is called, in code and in ``--json``.  The names are stable."""

    HOLD = "hold"  # its file says so
    HELD = "held"  # it is in held/
    APPROVAL = "approval"  # it came through git
    NOT_BEFORE = "not_before"
    NEEDS = "needs"
    STOPPED = "stopped"  # a task of its run has failed, and the run says on_failure: stop
    ENDING = "ending"  # an attempt of such a run has ended and is not judged yet
    EDITING = "editing"
    ONLY = "only"  # the watcher was started for one run, and this is no task of it
    INVALID = "invalid"
    RETRY = "retry"  # another attempt follows at a moment
    RUNNING = "running"  # limits.running
    AGENT = "agent"  # limits.per_agent
    TOOL = "tool"  # limits.per_tool
    RUN = "run"  # the run's max_parallel
    PLACE = "place"  # in_flight of the distributor that is to have it
    LOCK = "lock"  # another task has a word of its locks, or edits the checkout without a tree
    TOOL_HELD = "tool_held"  # the tool's limit is used up, or a person holds it
    AGENT_HELD = "agent_held"  # a person holds the agent
    RUN_HELD = "run_held"  # a person holds the run
    ALL_HELD = "all_held"  # a person holds everything
    QUOTA = "quota"  # limits.reserve: what is left of a plan's window is for more urgent tasks
    BUDGET = "budget"
    WATCHER = "watcher"  # nobody watches
    STORE = "store"  # the disk takes no writes
    DRAINING = "draining"
    SETTINGS = "settings"  # they wait for a person's yes
    REVIEW = "review"  # a person decides
    FOREIGN = "foreign"  # it lies in running/ and was never claimed here


@dataclass(frozen=True, slots=True)
class Gate:
    """One closed gate.

    ``why`` is a phrase that follows "waits: "; ``until`` is the moment it opens by itself;
    ``stuck`` means that only a person can open it.
    """

    name: GateName
    why: str
    hint: str = ""
    until: float | None = None
    stuck: bool = False
    on: str = ""  # the id it waits for
    keys: tuple[str, ...] = ()  # where in the file that `hint` ends with its limit is set


@dataclass(frozen=True, slots=True)
class Lane:
    """What the limits count: tasks with the same lane are interchangeable to them."""

    agent: str
    tool: str
    run: str = ""
    locks: tuple[str, ...] = ()  # words of which each is with one attempt at a time
    low: bool = False  # whether its priority is below normal
    on: str = (
        ""  # the distributor of `distributors` that is to have it; empty: a slot of this machine
    )

    @property
    def unlocked(self) -> Lane:
        """The same without its locks: what an attempt that asks a person gives back, and takes
        again."""
        return replace(self, locks=())


@dataclass(frozen=True, slots=True)
class Limits:
    """How many attempts may run at once; agents, tools and runs that are not listed are not
    limited."""

    running: int = 4
    per_agent: Mapping[str, int] = field(default_factory=dict)
    per_tool: Mapping[str, int] = field(default_factory=dict)
    per_run: Mapping[str, int] = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)  # by distributor
    asking: int = 8  # attempts that have given their slot back because they ask
    # By tool or agent: the part of a plan's window that is kept for tasks of normal and high
    # priority
    reserve: Mapping[str, float] = field(default_factory=dict)
    # ("tool", name), ("agent", name), ("run", id) or ("", "") for all: what is held by a file in
    # held/
    held: Mapping[tuple[str, str], Gate] = field(default_factory=dict)
    # The same scopes: gates of spent budgets, and of runs whose end is being judged;
    # ("low", tool or agent): of what is kept back from tasks of low priority
    closed: Mapping[tuple[str, str], tuple[Gate, ...]] = field(default_factory=dict)
    only: tuple[str, ...] = ()  # a run's id and those of its tasks: nothing else starts


def together(*found: Mapping[tuple[str, str], Gate]) -> dict[tuple[str, str], tuple[Gate, ...]]:
    """The gates that several rules close, by scope and in the order of the rules: none hides
    another."""
    gates: dict[tuple[str, str], tuple[Gate, ...]] = {}
    for closed in found:
        for scope, gate in closed.items():
            gates[scope] = (*gates.get(scope, ()), gate)
    return gates


def only_gates(task_id: str, run: str | None, only: tuple[str, ...]) -> list[Gate]:
    """The gate of whatever is no task of the one run that the watcher was started for."""
    if not only or run == only[0] or task_id in only:
        return []
    why = f"the watcher was started for run {only[0]} alone"
    return [Gate(GateName.ONLY, why, "orchestrator watch   once it has ended", stuck=True)]


def own_gates(
    task: Task,
    status_of: Callable[[str], Status | None],
    now: float,
    *,
    approval: Gate | None = None,
    run_stopped: str = "",
    unmerged: Callable[[str], Change | None] = lambda _: None,
) -> list[Gate]:
    """The closed gates that concern this task alone, whatever else runs.

    ``status_of`` tells where a needed task is (None: nowhere); ``approval`` is the gate of a file
    that git may have brought; ``run_stopped`` says why its run takes no more; ``unmerged`` is as in
    `need_gates`.
    """
    gates = []
    if task.hold:
        gates.append(
            Gate(
                GateName.HOLD,
                "held: its file says hold: true",
                "remove that line when it is ready",
                stuck=True,
            )
        )
    if approval is not None:
        gates.append(approval)
    if task.not_before is not None and task.not_before > now:
        gates.append(
            Gate(
                GateName.NOT_BEFORE,
                f"not before {timestamp(task.not_before)}",
                until=task.not_before,
            )
        )
    gates.extend(need_gates(task.needs, status_of, task.ends, unmerged))
    if run_stopped:
        gates.append(Gate(GateName.STOPPED, run_stopped, stuck=True))
    return gates


_ENDS = {
    "done": frozenset((Status.DONE,)),
    "failed": frozenset((Status.FAILED,)),
    "ended": frozenset(FINISHED),
    "proven": frozenset((Status.DONE, Status.REVIEW)),  # of base: {task: ...}
}


def need_gates(
    needs: Iterable[str],
    status_of: Callable[[str], Status | None],
    ends: Mapping[str, str] = MappingProxyType({}),
    unmerged: Callable[[str], Change | None] = lambda _: None,
) -> list[Gate]:
    """A closed gate for each needed task that has not come to the end that is waited for: done, or
    what ``ends`` says.

    ``unmerged`` is the change of a done task that is not in its target: who begins from there would
    not have it.
    """
    gates = []
    for need in needs:
        status, end = status_of(need), ends.get(need, "done")
        if status not in _ENDS[end]:
            gates.append(_end_gate(need, end, status))
        elif end == "done" and (change := unmerged(need)) is not None:
            gates.append(_unmerged_gate(need, change))
    return gates


def _end_gate(task_id: str, end: str, status: Status | None) -> Gate:
    """A needed task has not come to the end that is waited for."""
    if end == "proven":
        return _base_gate(task_id, status)
    if end != "done" and status in (Status.DONE, Status.CANCELLED):
        why, hint = (
            f"waits for {task_id} to fail, and it is {status}",
            "orchestrator cancel, or edit needs:",
        )
        return Gate(GateName.NEEDS, why, hint, stuck=True, on=task_id)
    why, hint, stuck = _not_done(task_id, status)
    return Gate(GateName.NEEDS, why, hint, stuck=stuck, on=task_id)


def _not_done(task_id: str, status: Status | None) -> tuple[str, str, bool]:
    """Why, what to do about it, and whether only a person can."""
    match status:
        case None:
            hint = "create it, or correct needs: in the task's file"
            return f"needs {task_id}, which does not exist", hint, True
        case Status.FAILED | Status.CANCELLED:
            return f"needs {task_id}, which is {status}", f"orchestrator retry {task_id}", True
        case Status.REVIEW:
            return f"needs {task_id}, which is in review", f"orchestrator approve {task_id}", False
        case Status.HELD:
            return f"needs {task_id}, which is held", f"orchestrator release {task_id}", False
        case Status.INBOX | Status.RUNNING | Status.DONE | Status.ARCHIVE:
            return f"after {task_id} ({status.word})", "", False
        case _:
            assert_never(status)


def _unmerged_gate(task_id: str, change: Change) -> Gate:
    """A task is done, and nobody has merged its branch: its role says ``merge: never``, or a person
    has put it into done/."""
    return Gate(
        GateName.NEEDS,
        f"needs {task_id}, which is done and not merged: {change.branch} is not in {change.target}",
        f"merge it (git merge {change.branch}), or begin from it (base: {{task: {task_id}}})",
        stuck=True,
        on=task_id,
    )


def _base_gate(task_id: str, status: Status | None) -> Gate:
    """A task begins with what another has done, and that is not proven."""
    state, hint, stuck = _unproven(task_id, status)
    why = f"starts from the branch of {task_id}, which {state}"
    return Gate(GateName.NEEDS, why, hint, stuck=stuck, on=task_id)


def _unproven(task_id: str, status: Status | None) -> tuple[str, str, bool]:
    """Its state, what to do about it, and whether only a person can."""
    match status:
        case None:
            return "does not exist", "create it, or correct base: in the task's file", True
        case Status.FAILED | Status.CANCELLED:
            return f"is {status}", f"orchestrator retry {task_id}", True
        case Status.HELD:
            return "is held", f"orchestrator release {task_id}", False
        case Status.RUNNING:
            return "has not ended", "", False
        case Status.INBOX | Status.REVIEW | Status.DONE | Status.ARCHIVE:
            return "waits", "", False
        case _:
            assert_never(status)


@dataclass(slots=True)
class InUse:
    """How many attempts run now: in all on this machine, and by agent, tool, run and
    distributor."""

    running: int = 0
    agents: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    locks: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)  # what is elsewhere takes no slot here

    def count(self, lane: Lane, step: int = 1) -> None:
        """One more attempt of this lane (or one less, with step -1)."""
        if lane.on:
            self.places[lane.on] += step
        else:
            self.running += step
        self.agents[lane.agent] += step
        self.tools[lane.tool] += step
        self.runs[lane.run] += step
        for word in lane.locks:
            self.locks[word] += step

    def lock(self, lane: Lane, step: int = 1) -> None:
        """One more attempt that asks a person and has only its locks (or one less, with step
        -1)."""
        for word in lane.locks:
            self.locks[word] += step

    def copy(self) -> InUse:
        """An independent count that starts from this one."""
        counts = (self.agents, self.tools, self.runs, self.locks, self.places)
        return InUse(self.running, *(count.copy() for count in counts))


def lock_gate(word: str) -> Gate:
    """Another attempt has this word."""
    if word == isolation.CHECKOUT:
        return Gate(
            GateName.LOCK,
            "another agent is editing this checkout: agents without a tree take turns",
            "isolation: worktree in orchestrator.yaml gives each a tree; edits: false says that a"
            " role only reads",
        )
    return Gate(
        GateName.LOCK, f"a task with the lock '{word}' is running", "locks in the task or its role"
    )


def limit_gates(lane: Lane, limits: Limits, use: InUse) -> list[Gate]:
    """The limits that are reached for this lane, and what is closed for it."""
    gates, scopes = held_gates(lane, limits.held), _scopes(lane)
    if lane.low:
        scopes += (("low", lane.tool), ("low", lane.agent))
    gates += [gate for scope in dict.fromkeys(scopes) for gate in limits.closed.get(scope, ())]
    if not limits.running:
        gates.append(_paused("it is paused: nothing new starts", "limits.running"))
    elif lane.on:
        most = limits.in_flight.get(lane.on)
        if most is not None and use.places[lane.on] >= most:
            why = f"{lane.on} has {use.places[lane.on]} of {most} already"
            gates.append(Gate(GateName.PLACE, why, f"distributors.{lane.on}.in_flight"))
    elif use.running >= limits.running:
        taken = (
            f"all {limits.running} slots are taken"
            if limits.running > 1
            else "the only slot is taken"
        )
        gates.append(Gate(GateName.RUNNING, taken, "limits.running in orchestrator.yaml"))
    gates += [lock_gate(word) for word in lane.locks if use.locks[word] > 0]
    gates += _named_limits(GateName.AGENT, lane.agent, limits.per_agent, use.agents)
    gates += _named_limits(GateName.TOOL, lane.tool, limits.per_tool, use.tools)
    gates += _named_limits(GateName.RUN, lane.run, limits.per_run, use.runs)
    return gates


def in_held_gate(task_id: str) -> Gate:
    """Its file is in held/."""
    return Gate(GateName.HELD, "it is in held/", f"orchestrator release {task_id}", stuck=True)


def held_gates(lane: Lane, held: Mapping[tuple[str, str], Gate]) -> list[Gate]:
    """What is held of what this lane needs."""
    return [held[scope] for scope in _scopes(lane) if scope in held]


def _scopes(lane: Lane) -> tuple[tuple[str, str], ...]:
    return (("", ""), ("tool", lane.tool), ("agent", lane.agent), ("run", lane.run))


def _paused(why: str, key: str, name: GateName = GateName.RUNNING) -> Gate:
    return Gate(name, why, f"{key} in orchestrator.yaml is 0", stuck=True)


def _named_limits(
    name: GateName, key: str, limits: Mapping[str, int], used: Mapping[str, int]
) -> list[Gate]:
    """The gate of one agent, tool or run whose own limit is reached."""
    limit = limits.get(key)
    if not key or limit is None or used.get(key, 0) < limit:
        return []
    if not limit:
        return [_paused(f"{name} {key} is paused", f"limits.per_{name}", name)]
    where = (
        "max_parallel in the run file"
        if name is GateName.RUN
        else f"limits.per_{name} in orchestrator.yaml"
    )
    return [Gate(name, f"{used[key]} of {limit} for {name} {key} are already running", where)]
