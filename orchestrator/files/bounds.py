"""What bounds a task that an attempt in a sandbox has dropped: ``.state/dropped/<id>.json``,
written by `store.bounding`."""

from __future__ import annotations

from orchestrator.errors import MACHINE
from orchestrator.files import jsonlines, opening
from orchestrator.files.layout import Layout
from orchestrator.model import ids
from orchestrator.model.sandbox import Bounds, bounds_from, tighter_bounds
from orchestrator.model.task import Task

FOLDER = "dropped"


def path_of(layout: Layout, task_id: str) -> str:
    return f"{layout.state}/{FOLDER}/{ids.key(task_id)}.json"


def of_id(layout: Layout, task_id: str) -> Bounds | None:
    """What was written down for this id; a record that cannot be read bounds the most. OSError if
    the machine is to blame."""
    try:
        record = jsonlines.loads(opening.read_bytes(path_of(layout, task_id)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in MACHINE:
            raise
        record = {}
    return bounds_from(record if isinstance(record, dict) else {})


def of_task(layout: Layout, task: Task) -> Bounds | None:
    """What bounds a task: its own record, and that of the run it belongs to."""
    own = of_id(layout, task.id)
    whole = of_id(layout, task.run) if task.run and not ids.problem(task.run) else None
    if own is None or whole is None:
        return own or whole
    return tighter_bounds(own, whole)
