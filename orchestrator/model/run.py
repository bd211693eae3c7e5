"""A run: a named group of tasks.  Its file lists them; its status is derived from theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.model import ids, matrix, task
from orchestrator.model.status import Status
from orchestrator.records import dataclass, field

if TYPE_CHECKING:
    from orchestrator.model.task import Task

NAMED = 10  # tasks of a circle that are named


@dataclass(frozen=True, slots=True)
class Run:
    """What a run file asks for. ``tasks`` are the mappings to make task files of, by key, in file
    order."""

    id: str
    title: str
    tasks: Mapping[str, Mapping[str, Any]]
    members: tuple[str, ...]  # ids of all its tasks, those made from ``tasks`` and those only named
    max_parallel: int | None = None
    on_failure: str = "continue"
    max_cost: float | None = None
    max_tokens: int | None = None
    keys: Mapping[str, str] = field(
        default_factory=dict
    )  # under which key of the file each task stands
    listed: Mapping[tuple[Any, ...], list[str]] = field(
        default_factory=dict
    )  # the files that its patterns (``each``) are about, by the places of these in its file

    contest: bool = False  # whether its tasks are one and the same, for several agents

    def place_of(self, task_id: str) -> tuple[Any, ...]:
        """Where a task stands in its file; the whole file for one of a contest."""
        return () if self.contest else ("tasks", self.keys[task_id])

    def stopped(self, status_of: Callable[[str], Status | None]) -> str:
        """Why it takes no more tasks; empty if it does.  ``status_of`` tells where a task is."""
        failed = self.stopper(status_of) if self.on_failure == "stop" else None
        return self.stopped_by(failed) if failed else ""

    def stopper(self, status_of: Callable[[str], Status | None]) -> str | None:
        """The first of its tasks that has failed."""
        return next((name for name in self.members if status_of(name) is Status.FAILED), None)

    def stopped_by(self, failed: str) -> str:
        """Why it takes no more tasks since this one has failed."""
        return f"run {self.id} stopped: {failed} failed"

    def all_tasks(self) -> list[Task]:
        """The tasks that it makes."""
        return [task.task_from(task_id, body) for task_id, body in self.tasks.items()]


def is_run(data: object) -> bool:
    """A task file that has ``tasks`` is a run file."""
    return isinstance(data, Mapping) and "tasks" in data


def run_from(run_id: str, data: Mapping[str, Any]) -> Run:
    """The run in a mapping that fits ``run.schema.json``: defaults merged, needs turned into
    ids."""
    listed = data["tasks"]
    title = data.get("title", run_id)
    options = {
        "max_parallel": data.get("max_parallel"),
        "on_failure": data.get("on_failure", "continue"),
        "max_cost": data.get("max_cost_usd"),
        "max_tokens": data.get("max_tokens"),
    }
    if isinstance(listed, list):
        return Run(run_id, title, {}, tuple(listed), **options)
    tasks: dict[str, Mapping[str, Any]] = {}
    keys: dict[str, str] = {}
    entries = matrix.entries(listed)
    full = _ids(run_id, entries)
    for key, name, own in matrix.tasks(entries):
        merged = {**data.get("defaults", {}), **own, "run": run_id}
        if "env" in own and "env" in data.get("defaults", {}):
            merged["env"] = {**data["defaults"]["env"], **own["env"]}
        if "needs" in merged:
            merged["needs"] = _needs(merged["needs"], full)
        if isinstance(merged.get("base"), Mapping):
            named = _needs([merged["base"].get("task", "")], full)
            merged["base"] = {"task": named[0]}
        keys[ids.of_run_task(run_id, name)] = key
        tasks[ids.of_run_task(run_id, name)] = merged
    return Run(run_id, title, tasks, tuple(tasks), keys=keys, **options)


def _ids(run_id: str, entries: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """What each name that a need may use stands for: the ids of one task, or of all tasks of a
    matrix."""
    names = {name for entry in entries.values() for name in entry}
    one = {name: [ids.of_run_task(run_id, name)] for name in names}
    whole = {
        key: [ids.of_run_task(run_id, name) for name in entry] for key, entry in entries.items()
    }
    return one | whole


def _needs(needs: Any, full: Mapping[str, list[str]]) -> Any:
    """Names of the run turned into ids; other names stay as they are.  A mapping stays one."""
    if isinstance(needs, Mapping):
        return {task_id: end for need, end in needs.items() for task_id in full.get(need, [need])}
    return list(dict.fromkeys(task_id for need in needs for task_id in full.get(need, [need])))


def way_round(circle: list[str], between: str = " needs ") -> str:
    """A circle in words; of a long one the first tasks, and how many more there are."""
    if (more := len(circle) - NAMED) > 0:
        circle = [*circle[: NAMED - 1], f"{more:,} more", circle[-1]]
    return between.join(circle)


def cycle(needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """One circle of tasks that need each other, first id repeated at the end; empty if there is
    none."""
    state: dict[str, int] = {}
    for start in needs:
        path: list[str] = []
        stack = [(start, iter(needs[start]))] if start not in state else []
        if stack:
            state[start] = 1
            path.append(start)
        while stack:
            for need in stack[-1][1]:
                if state.get(need) == 1:
                    return [*path[path.index(need) :], need]
                if need in needs and need not in state:
                    state[need] = 1
                    path.append(need)
                    stack.append((need, iter(needs[need])))
                    break
            else:
                state[path.pop()] = 2
                stack.pop()
    return []
