"""A contest: one task for several agents, of whose work a person takes one. ``compete: [claude,
codex]`` in its file.

Everything here is pure. A contest is a run: each agent has a task ``<id>.<agent>`` with a tree of
its own, and all of them end in review. Taking one puts the others away; their branches stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.model import ids
from orchestrator.model import run as run_model
from orchestrator.model.status import OPEN, WAITING, Status
from orchestrator.records import asdict, dataclass, replace

KEY = "compete"
# What a contest says for itself, and why.
OWN = {
    "agent": "compete: names the agents",
    "tool": "compete: names the agents",
    "run": "a contest is a run of its own",
    "mode": "nobody can talk to several agents at once",
}
Path = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Contest:
    """What is kept of an accepted contest: ids of its tasks in the order of its file, and which of
    them was taken."""

    run: str
    members: tuple[str, ...] = ()
    winner: str = ""

    def record(self) -> dict[str, Any]:
        """As it is kept in a file."""
        return asdict(self)

    def won_by(self, task_id: str) -> Contest:
        """The same once a person has taken one."""
        return replace(self, winner=task_id)


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done next: the one that is ``taken``, tasks to withdraw, to stop, to put away;
    where the contest's file goes."""

    taken: str = ""
    withdraw: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    put_away: tuple[str, ...] = ()
    folder: Status | None = None  # None: it stays where it is


def is_contest(data: object) -> bool:
    """A task file that has ``compete`` is a contest's."""
    return isinstance(data, Mapping) and KEY in data and "tasks" not in data


def contest_from(record: Mapping[str, Any]) -> Contest:
    """The inverse of `Contest.record`.  Raises TypeError or KeyError for anything else."""
    return Contest(str(record["run"]), tuple(map(str, record["members"])), str(record["winner"]))


def run_of(run_id: str, data: Mapping[str, Any]) -> run_model.Run:
    """The run that a contest is, of a mapping that fits ``task.schema.json``."""
    body = {key: value for key, value in data.items() if key != KEY}
    tasks, keys = {}, {}
    for agent in data[KEY]:
        task_id = ids.of_run_task(run_id, part_of(agent))
        own = {"agent": agent, "run": run_id, "isolation": "worktree", "review": "always"}
        tasks[task_id] = {**body, **own}
        keys[task_id] = agent
    title = str(data.get("title") or run_id)
    return run_model.Run(run_id, title, tasks, tuple(tasks), keys=keys, contest=True)


def part_of(agent: str) -> str:
    """An agent's name as the last part of an id."""
    return agent if not ids.problem(agent) and "." not in agent else ids.slug(agent, 30)


def problems(data: Mapping[str, Any]) -> list[tuple[Path, str, str]]:
    """What is wrong with a contest that fits the schema of tasks: path, message, hint."""
    found: list[tuple[Path, str, str]] = []
    for key, why in OWN.items():
        if key in data:
            found.append(((key,), f"a task with compete: has no {key}: {why}", "remove it"))
    parts: dict[str, str] = {}
    for place, agent in enumerate(data[KEY]):
        twin = parts.setdefault(ids.key(part_of(agent)), agent)
        if twin != agent:
            what = f"'{agent[:60]}' and '{twin[:60]}' would have the same id"
            found.append(((KEY, place), what, "leave one of them out"))
    return found


def step(contest: Contest, where: Callable[[str], Status | None]) -> Step:
    """What follows from where its tasks are now. ``where`` tells the folder; None for a task that
    is nowhere."""
    found = {task_id: where(task_id) for task_id in contest.members}
    taken = contest.winner or next(
        (task_id for task_id, status in found.items() if status is Status.DONE), ""
    )
    if not taken:
        if any(status in OPEN for status in found.values()):
            return Step()
        some = any(status is Status.REVIEW for status in found.values())
        return Step(folder=Status.REVIEW if some else Status.FAILED)
    if found.get(taken) not in (Status.DONE, Status.ARCHIVE):
        return Step()  # it is being merged, or runs again
    others = {task_id: status for task_id, status in found.items() if task_id != taken}

    def those(*statuses: Status) -> tuple[str, ...]:
        return tuple(task_id for task_id, status in others.items() if status in statuses)

    stop = those(Status.RUNNING)
    folder = None if stop else Status.DONE
    return Step(taken, those(*WAITING), stop, those(Status.REVIEW), folder)
