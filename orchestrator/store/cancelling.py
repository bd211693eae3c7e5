"""The request that an attempt stops: a file that its supervisor looks for, whoever leaves it."""

from __future__ import annotations

import json
import os
from typing import Any

from orchestrator.files import jsonlines
from orchestrator.files.layout import CANCEL, Layout
from orchestrator.model.status import Status
from orchestrator.store import atomic


def request(layout: Layout, task_id: str, by: str, now: float, requeue: bool) -> bool:
    """Leave it; False if there was one already. ``requeue``: the task is to start again
    afterwards."""
    data = json.dumps({"by": by, "at": now, "requeue": requeue}).encode()
    try:
        atomic.write_temporary(layout.cancel_request(task_id), data, sync=False)
    except FileExistsError:
        return False
    return True


def requested(layout: Layout, task_id: str) -> dict[str, Any] | None:
    """Who asked to stop it; None if nobody did."""
    path = layout.cancel_request(task_id)
    records, bad = jsonlines.read_ends(path)
    if records:
        return records[0]
    return {} if bad or os.path.exists(path) else None


def clear(layout: Layout, task_id: str) -> None:
    """The request was obeyed, or came too late."""
    if not atomic.remove(layout.cancel_request(task_id)):
        return
    for name in (task_id, *(task_id + suffix for suffix in (".yaml", ".yml", ".md"))):
        atomic.remove(layout.file(Status.RUNNING, name + CANCEL))
