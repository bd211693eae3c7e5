"""``review/<id>.conflict``, as a reader sees it: in which files a task's branch and its target
collide."""

from __future__ import annotations

from orchestrator.files import opening
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model.status import Status

CONFLICT = ".conflict"
MOST = 1 << 16  # bytes of such a note


def path_of(layout: Layout, task_id: str) -> str:
    """Where the note on a task is."""
    return layout.file(Status.REVIEW, task_id + CONFLICT)


def told(layout: Layout, task_id: str) -> str:
    """``task/x and main conflict in a.txt``; empty if nobody has met a conflict."""
    try:
        data = opening.read_bytes(path_of(layout, task_id), MOST)
    except OSError:
        return ""
    return one_line(data.decode("utf-8", "replace").partition("\n")[0], 200)
