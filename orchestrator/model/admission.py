"""May this task start?  The one place that answers.

The watcher, ``run``, ``why``, ``list`` and ``status`` fill a `World` from what each of them knows
and ask here, so that they cannot disagree. Pure: nothing is read, no clock is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.model import isolation
from orchestrator.model.budget import Budget, Budgets
from orchestrator.model.gates import (
    Gate,
    GateName,
    InUse,
    Lane,
    Limits,
    limit_gates,
    only_gates,
    own_gates,
)
from orchestrator.model.place import Places, places_from, places_of
from orchestrator.model.status import Status
from orchestrator.records import asdict, dataclass, field

if TYPE_CHECKING:
    from orchestrator.model.config import Config
    from orchestrator.model.isolation import Change
    from orchestrator.model.run import Run
    from orchestrator.model.task import Task

# Only other attempts stand in the way: these open as they end.
SLOTS = frozenset(
    (GateName.RUNNING, GateName.AGENT, GateName.TOOL, GateName.RUN, GateName.LOCK, GateName.PLACE)
)
# What stands in the way of everything, whatever is asked.
PROCESS = frozenset((GateName.WATCHER, GateName.STORE, GateName.DRAINING, GateName.SETTINGS))


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt of a claimed task: its number, and when it is due (seconds since the
    epoch)."""

    attempt: int
    due: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Who asks to start. Of ``task`` only what its gates depend on is looked at: hold, not_before,
    needs, run."""

    task: Task
    lane: Lane
    approval: Gate | None = None  # of a file that git may have brought
    editing: str = ""  # who is still at its file: an editor, or a program that writes it
    retry: Retry | None = None


@dataclass(frozen=True, slots=True)
class Watching:
    """What is known of the watcher."""

    alive: bool = True
    fault: str = ""
    draining: bool = False
    silent: str = ""  # for how long it has given no sign of life, if that is too long
    settings: str = ""  # why nothing starts before a person has said yes

    @property
    def answers(self) -> bool:
        """Whether it can be relied on to see what changes."""
        return self.alive and not self.silent and not self.fault


@dataclass(frozen=True, slots=True)
class InForce:
    """The settings that admission depends on, as the watcher goes by them; its card carries them.

    ``tools`` says which tool acts first for an agent that has another name than its tool.
    """

    limits: Limits = Limits()
    budgets: Budgets = Budgets()
    from_git: str = "hold"
    default_agent: str = "demo"
    tools: Mapping[str, str] = field(default_factory=dict)
    locks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of agents that have some
    trusted: str = ""  # the remote branch of from_git: {trusted: ...}
    places: Places = field(default_factory=Places)

    def lane(self, task: Task) -> Lane:
        """What the limits count a task as."""
        agent = task.agent or self.default_agent
        own = set(self.locks.get(agent, ()))
        if task.isolation:
            own.discard(isolation.CHECKOUT)
        locks = tuple(sorted({*task.locks, *own}))
        tool = task.tool or self.tools.get(agent, agent)
        on = self.places.of(task.on, agent, tool).lane
        return Lane(agent, tool, task.run or "", locks, task.low, on)

    def as_json(self) -> dict[str, Any]:
        """For the card."""
        limits = self.limits
        return {
            "limits": {
                "running": limits.running,
                "asking": limits.asking,
                "per_agent": dict(limits.per_agent),
                "per_tool": dict(limits.per_tool),
                "reserve": dict(limits.reserve),
                "in_flight": dict(limits.in_flight),
                "only": list(limits.only),
            },
            "places": self.places.as_json(),
            "budgets": _without_none(asdict(self.budgets)),
            "from_git": self.from_git,
            "trusted": self.trusted,
            "default_agent": self.default_agent,
            "tools": dict(self.tools),
            "locks": {name: list(words) for name, words in self.locks.items()},
        }


def in_force(config: Config, turns: Collection[str] = ()) -> InForce:
    """What a configuration means to admission; ``turns`` are the agents that edit the checkout one
    after the other."""
    locks = {
        name: tuple(sorted({*role.role.locks, *({isolation.CHECKOUT} if name in turns else ())}))
        for name, role in config.agents.items()
    }
    locks |= {name: (isolation.CHECKOUT,) for name in turns if name not in config.agents}
    locks = {name: words for name, words in locks.items() if words}
    tools = {name: agent.tool for name, agent in config.agents.items() if agent.tool != name}
    return InForce(
        config.limits,
        config.budgets,
        config.from_git,
        config.default_agent,
        tools,
        locks,
        config.trusted,
        places_of(config),
    )


def in_force_from(data: Mapping[str, Any]) -> InForce:
    """The inverse of `InForce.as_json`. Raises KeyError, TypeError, ValueError or AttributeError
    for anything else."""
    limits = data["limits"]
    return InForce(
        Limits(
            int(limits["running"]),
            dict(limits["per_agent"]),
            dict(limits["per_tool"]),
            asking=int(limits.get("asking", Limits().asking)),
            reserve=dict(limits.get("reserve", {})),
            in_flight=dict(limits.get("in_flight", {})),
            only=tuple(map(str, limits.get("only", ()))),
        ),
        _budgets(data["budgets"]),
        str(data["from_git"]),
        str(data["default_agent"]),
        dict(data["tools"]),
        {name: tuple(words) for name, words in dict(data["locks"]).items()},
        str(data.get("trusted", "")),
        places_from(data.get("places", {})),
    )


@dataclass(frozen=True, slots=True)
class World:
    """Everything else that the answer depends on.

    ``status_of`` says where a task is (None: nowhere), ``run_of`` what an accepted run allows.
    ``limits`` are those in force, with what is held and what is closed: spent budgets, runs whose
    end is being judged. ``stopped`` says why a run takes no more tasks, for who knows that without
    asking for each of them. ``unmerged`` is the change of a done task that nobody has merged.
    """

    now: float
    status_of: Callable[[str], Status | None]
    run_of: Callable[[str], Run | None]
    limits: Limits = Limits()
    use: InUse = field(default_factory=InUse)
    watching: Watching = Watching()
    stopped: Callable[[Run], str] | None = None
    unmerged: Callable[[str], Change | None] = lambda _: None


def admit(ask: Ask, world: World) -> list[Gate]:
    """Every closed gate between a task and its start, the most telling first; none: it may start
    now."""
    return [
        *standing_gates(ask, world),
        *process_gates(world.watching),
        *limit_gates(ask.lane, world.limits, world.use),
    ]


def standing_gates(ask: Ask, world: World) -> list[Gate]:
    """Those that concern this task alone, whatever else runs. They change only when something
    happens to it or its needs."""
    others = only_gates(ask.task.id, ask.task.run, world.limits.only)
    if ask.retry is not None:
        return others + retry_gates(ask.retry, world.now)
    run = world.run_of(ask.task.run) if ask.task.run else None
    stopped = ""
    if run is not None:
        stopped = world.stopped(run) if world.stopped else run.stopped(world.status_of)
    gates = own_gates(
        ask.task,
        world.status_of,
        world.now,
        approval=ask.approval,
        run_stopped=stopped,
        unmerged=world.unmerged,
    )
    if ask.editing:
        gates.insert(0, editing_gate(ask.editing))
    return gates + others


def editing_gate(held: str) -> Gate:
    """The gate of a file that somebody is still at, ``open in an editor`` or ``being written``."""
    return Gate(GateName.EDITING, f"it is {held}", "save and close it")


def retry_gates(retry: Retry, now: float) -> list[Gate]:
    """The gate of a retry whose moment has not come."""
    left = retry.due - now
    if left <= 0:
        return []
    return [
        Gate(GateName.RETRY, f"attempt {retry.attempt} follows in {left:.0f} s", until=retry.due)
    ]


def process_gates(watching: Watching) -> list[Gate]:
    """What keeps the watcher from starting anything."""
    hint = "orchestrator approve --settings"
    settings = [Gate(GateName.SETTINGS, watching.settings, hint, stuck=True)]
    if not watching.alive:
        gate = Gate(GateName.WATCHER, "no watcher is running", "orchestrator watch", stuck=True)
        return [*(settings if watching.settings else []), gate]
    if watching.silent:
        why = f"the watcher does not answer: no sign of life for {watching.silent}"
        return [
            Gate(GateName.WATCHER, why, "is it stopped (fg), or is its disk hanging?", stuck=True)
        ]
    if watching.settings:
        return settings
    if watching.fault:
        return [Gate(GateName.STORE, f"the watcher claims nothing: {watching.fault}")]
    if watching.draining:
        why = "the watcher is draining: it starts no more tasks"
        return [Gate(GateName.DRAINING, why, "orchestrator watch")]
    return []


def ending_gate(task_id: str) -> Gate:
    """The gate of a run that stops at a failure while the end of one of its tasks is being
    judged."""
    return Gate(GateName.ENDING, f"{task_id} has ended, and its result is being recorded")


def hopeless(gates: list[Gate]) -> bool:
    """Whether nothing that runs, and no moment within this day's work, opens these gates: only a
    person, or midnight, does."""
    return any(gate.stuck or gate.name in (GateName.BUDGET, GateName.QUOTA) for gate in gates)


def _without_none(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in data.items()
        if value is not None
    }


def _budgets(data: Mapping[str, Any]) -> Budgets:
    agents = {name: Budget(**body) for name, body in data["agents"].items()}
    return Budgets(
        Budget(**data["day"]),
        agents,
        Budget(**data["run"]),
        Budget(**data["task"]),
        bool(data["cancel"]),
        data.get("unknown"),
    )
