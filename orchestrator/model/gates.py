"""Everything that can stand between a waiting task and its start.

The watcher decides with these functions and ``why`` explains with them, so that the two cannot disagree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.model.status import Status
from orchestrator.model.task import Task
from orchestrator.model.units import timestamp


@dataclass(frozen=True, slots=True)
class Gate:
    """One closed gate.

    ``name`` is stable (``hold, approval, not_before, needs, run, running, agent, tool, parked, budget``), ``why`` a phrase that
    follows "waits: "; ``until`` is the moment it opens by itself; ``stuck`` means that only a person can open it.
    """

    name: str
    why: str
    hint: str = ""
    until: float | None = None
    stuck: bool = False
    on: str = ""  # the id it waits for


@dataclass(frozen=True, slots=True)
class Lane:
    """What the limits count: tasks with the same lane are interchangeable to them."""

    agent: str
    tool: str
    run: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many attempts may run at once; agents, tools and runs that are not listed are not limited."""

    running: int = 4
    per_agent: Mapping[str, int] = field(default_factory=dict)
    per_tool: Mapping[str, int] = field(default_factory=dict)
    per_run: Mapping[str, int] = field(default_factory=dict)
    # ("tool", name), ("agent", name), ("run", id) or ("", "") for all: gates of parked tools and spent budgets
    closed: Mapping[tuple[str, str], Gate] = field(default_factory=dict)


def own_gates(
    task: Task,
    status_of: Callable[[str], Status | None],
    now: float,
    *,
    approved: bool = True,
    run_stopped: str = "",
) -> list[Gate]:
    """The closed gates that concern this task alone, whatever else runs.

    ``status_of`` tells where a needed task is (None: nowhere); ``run_stopped`` says why its run takes no more.
    """
    gates = []
    if task.hold:
        gates.append(
            Gate(
                "hold",
                "held: its file says hold: true",
                "remove that line when it is ready",
                stuck=True,
            )
        )
    if not approved:
        gates.append(
            Gate(
                "approval",
                "needs approval: it came through git",
                f"orchestrator approve {task.id}",
                stuck=True,
            )
        )
    if task.not_before is not None and task.not_before > now:
        gates.append(
            Gate("not_before", f"not before {timestamp(task.not_before)}", until=task.not_before)
        )
    gates.extend(need_gates(task.needs, status_of))
    if run_stopped:
        gates.append(Gate("run", run_stopped, stuck=True))
    return gates


def need_gates(needs: Iterable[str], status_of: Callable[[str], Status | None]) -> list[Gate]:
    """A closed gate for each needed task that is not done."""
    gates = []
    for need in needs:
        status = status_of(need)
        if status is Status.DONE:
            continue
        if status is None:
            gates.append(
                Gate(
                    "needs",
                    f"needs {need}, which does not exist",
                    "create it, or correct needs: in the task's file",
                    stuck=True,
                    on=need,
                )
            )
        elif status in (Status.FAILED, Status.CANCELLED):
            gates.append(
                Gate(
                    "needs",
                    f"needs {need}, which is {status}",
                    f"orchestrator retry {need}",
                    stuck=True,
                    on=need,
                )
            )
        elif status is Status.REVIEW:
            gates.append(
                Gate(
                    "needs",
                    f"needs {need}, which is in review",
                    f"orchestrator approve {need}",
                    on=need,
                )
            )
        elif status is Status.HELD:
            gates.append(
                Gate(
                    "needs", f"needs {need}, which is held", f"orchestrator release {need}", on=need
                )
            )
        else:
            gates.append(
                Gate(
                    "needs",
                    f"after {need} ({'waiting' if status is Status.INBOX else status})",
                    on=need,
                )
            )
    return gates


@dataclass(slots=True)
class InUse:
    """How many attempts run now: in all, and by agent, tool and run."""

    running: int = 0
    agents: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)

    def count(self, lane: Lane, step: int = 1) -> None:
        """One more attempt of this lane (or one less, with step -1)."""
        self.running += step
        self.agents[lane.agent] += step
        self.tools[lane.tool] += step
        self.runs[lane.run] += step

    def copy(self) -> InUse:
        """An independent count that starts from this one."""
        return InUse(self.running, self.agents.copy(), self.tools.copy(), self.runs.copy())


def limit_gates(lane: Lane, limits: Limits, use: InUse) -> list[Gate]:
    """The limits that are reached for this lane."""
    scopes = (
        (("", ""), ("tool", lane.tool), ("agent", lane.agent), ("run", lane.run))
        if limits.closed
        else ()
    )
    gates = [limits.closed[scope] for scope in scopes if scope in limits.closed]
    if not limits.running:
        gates.append(
            Gate(
                "running",
                "it is paused: nothing new starts",
                "limits.running in orchestrator.yaml is 0",
            )
        )
    elif use.running >= limits.running:
        gates.append(
            Gate(
                "running",
                f"all {limits.running} slots are taken",
                "limits.running in orchestrator.yaml",
            )
        )
    for name, key, limit, used in (
        ("agent", lane.agent, limits.per_agent.get(lane.agent), use.agents[lane.agent]),
        ("tool", lane.tool, limits.per_tool.get(lane.tool), use.tools[lane.tool]),
        ("run", lane.run, limits.per_run.get(lane.run) if lane.run else None, use.runs[lane.run]),
    ):
        if limit is not None and used >= limit:
            where = (
                "max_parallel in the run file"
                if name == "run"
                else f"limits.per_{name} in orchestrator.yaml"
            )
            gates.append(
                Gate(
                    name,
                    f"{used} of {limit} for {name} {key} run already"
                    if limit
                    else f"{name} {key} is paused",
                    where if limit else f"{where}: 0",
                )
            )
    return gates
