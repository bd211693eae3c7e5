"""What a task followed from, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.files import scan
from orchestrator.files.layout import Layout
from orchestrator.records import dataclass

if TYPE_CHECKING:
    from orchestrator.model.task import Task


@dataclass(frozen=True, slots=True)
class Link:
    """A task of a chain; ``status`` is its folder, empty if it is not made (yet), ``on`` what it is
    made for."""

    id: str
    status: str = ""
    on: str = ""

    def as_json(self) -> dict[str, str]:
        """For ``--json``."""
        return {"id": self.id, "status": self.status, "on": self.on}


def before(layout: Layout, task: Task | None) -> list[Link]:
    """The tasks that led to this one, the first one first."""
    return [Link(task_id, _status(layout, task_id)) for task_id in task.chain] if task else []


def after(layout: Layout, task: Task | None, result: Mapping[str, Any]) -> list[Link]:
    """The tasks that follow from this one: those of its end, or what its file asks for while it has
    none."""
    listed = result.get("follow_ups")
    if isinstance(listed, list):
        found = [item for item in listed if isinstance(item, Mapping) and item.get("task")]
        return [
            Link(str(item["task"]), _status(layout, str(item["task"])), str(item.get("on", "")))
            for item in found
        ]
    if result or task is None:
        return []
    return [Link(f"{task.id}.{entry.name}", "", entry.on) for entry in task.then]


def _status(layout: Layout, task_id: str) -> str:
    found = scan.locate(layout, task_id)
    return "" if found is None else found[0].word


def drawn(ids: Sequence[str]) -> list[tuple[str, int]]:
    """Ids with what follows from each right below it, and how deep it stands there."""
    below: dict[str, list[str]] = {}
    roots = []
    known = set(ids)
    for task_id in ids:
        cause = task_id
        while "." in cause:
            cause = cause.rpartition(".")[0]
            if cause in known:
                below.setdefault(cause, []).append(task_id)
                break
        else:
            roots.append(task_id)
    found: list[tuple[str, int]] = []
    waiting = [(task_id, 0) for task_id in reversed(roots)]
    while waiting:
        task_id, depth = waiting.pop()
        found.append((task_id, depth))
        waiting += [(child, depth + 1) for child in reversed(below.get(task_id, ()))]
    return found
