"""What the large folders of ended tasks hold, as a watcher has looked through them.

A folder of 100,000 tasks takes tens of milliseconds to list, and nothing in it changes for days. A
watcher looks through the large ones when they rest (`store.foldercounts`) and writes down in which
state it found the folder: inode and change time. Whoever reads believes it as long as the folder
is in that state, and lists it otherwise.
"""

from __future__ import annotations

import os
from typing import Any

from orchestrator.files import jsonlines, opening
from orchestrator.files.layout import Layout
from orchestrator.model.status import Status
from orchestrator.records import dataclass

TASK = ".yaml"  # how the names of nearly all task files end
MOST_OTHERS = 100  # other names that are kept; of a folder with more nothing is written down
MOST = 1 << 20  # bytes of the file


@dataclass(frozen=True, slots=True)
class Kept:
    """How many ``tasks`` a folder holds, and the names in it that do not end in `TASK`."""

    tasks: int
    others: tuple[str, ...]


def path(layout: Layout) -> str:
    """JSON: of each folder that was looked through, ``inode``, ``changed`` (nanoseconds), ``tasks``
    and ``others``."""
    return f"{layout.state}/counts.json"


def state_of(folder: str) -> dict[str, int] | None:
    """What every change of the names in a folder changes, and nobody can set; None if there is no
    such folder."""
    try:
        found = os.lstat(folder)
    except OSError:
        return None
    return {"inode": found.st_ino, "changed": found.st_ctime_ns}


def written(layout: Layout) -> dict[str, Any]:
    """What was written down last, of whatever state; empty if that cannot be understood."""
    try:
        found = jsonlines.loads(opening.read_bytes(path(layout), MOST))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def of(layout: Layout, status: Status, known: dict[str, Any]) -> Kept | None:
    """What this folder holds now; None if that was not written down (``known`` is what was)."""
    found = known.get(status)
    state = state_of(layout.folder(status)) if found else None
    if not isinstance(found, dict) or state is None:
        return None
    if any(found.get(name) != value for name, value in state.items()):
        return None
    tasks, others = found.get("tasks"), found.get("others")
    if type(tasks) is not int or tasks < 0 or not isinstance(others, list):
        return None
    return Kept(tasks, tuple(map(str, others)))
