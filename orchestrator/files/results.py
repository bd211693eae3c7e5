"""Reading results, and what a finished task means to those that need it."""

from __future__ import annotations

from typing import Any

from orchestrator.files import opening
from orchestrator.files.documents import parse
from orchestrator.files.layout import Layout
from orchestrator.files.scan import locate
from orchestrator.model.status import Status


def read(layout: Layout, task_id: str) -> dict[str, Any]:
    """The result of a task; empty if it has none or it cannot be read."""
    try:
        return _read(layout, task_id) or {}
    except OSError:
        return {}


def _read(layout: Layout, task_id: str) -> dict[str, Any] | None:
    """None if there is a result that says nothing; raises OSError if it cannot be opened."""
    data = parse(opening.read_bytes(layout.result(task_id))).data
    return data if isinstance(data, dict) else None


def status_of(layout: Layout, task_id: str) -> Status | None:
    """Where a needed task is.  One in the archive counts as what it was: done, or failed if its result says so.

    A result that is there and cannot be read proves nothing: such a task counts as failed.
    """
    place = locate(layout, task_id)
    if place is None:
        return None
    if place[0] is Status.ARCHIVE:
        return Status.DONE if _succeeded(layout, task_id) else Status.FAILED
    return place[0]


def _succeeded(layout: Layout, task_id: str) -> bool:
    try:
        found = _read(layout, task_id)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return found is not None and found.get("outcome", "succeeded") == "succeeded"
