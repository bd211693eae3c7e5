"""``review/<id>.conflict``: beside a task whose branch collides with its target, in which files,
and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.files import scan
from orchestrator.files.conflicts import CONFLICT, path_of
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model.status import Status
from orchestrator.store import atomic, smallfiles


def write(layout: Layout, task_id: str, message: str, files: Sequence[str]) -> None:
    """Say in which files it collides; a note that is there is replaced."""
    listed = "".join(f"  {one_line(path, 1000)}\n" for path in files)
    hint = (
        f"orchestrator reply {task_id} --conflict   gives it back to its own session, in its own"
        " tree"
    )
    text = f"{one_line(message, 1000)}\n\n{listed}\n{hint}\n"
    place = path_of(layout, task_id)
    smallfiles.put(layout, place, text.encode("utf-8", "replace"), "conflict", sync=False)


def remove(layout: Layout, task_id: str) -> None:
    """It collides no more, or somebody is at it."""
    atomic.remove(path_of(layout, task_id))


def sweep(layout: Layout) -> None:
    """Notes on tasks that are not in review go."""
    for name in scan.names(layout.folder(Status.REVIEW)):
        task_id = name.removesuffix(CONFLICT)
        if name.endswith(CONFLICT) and scan.locate(layout, task_id, (Status.REVIEW,)) is None:
            remove(layout, task_id)
