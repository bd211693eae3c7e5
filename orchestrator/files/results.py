"""Reading results, and what a finished task means to those that need it."""

from __future__ import annotations

from typing import Any

from orchestrator.files.documents import parse
from orchestrator.files.layout import Layout
from orchestrator.files.scan import locate
from orchestrator.model.status import Status


def read(layout: Layout, task_id: str) -> dict[str, Any]:
    """The result of a task; empty if it has none or it cannot be read."""
    try:
        with open(layout.result(task_id), "rb") as file:
            data = parse(file.read()).data
    except OSError:
        return {}
    return data if isinstance(data, dict) else {}


def status_of(layout: Layout, task_id: str) -> Status | None:
    """Where a needed task is.  One in the archive counts as what it was: done, or failed if its result says so."""
    place = locate(layout, task_id)
    if place is None:
        return None
    if place[0] is Status.ARCHIVE:
        return (
            Status.DONE
            if read(layout, task_id).get("outcome", "succeeded") == "succeeded"
            else Status.FAILED
        )
    return place[0]
