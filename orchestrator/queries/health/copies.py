"""Tasks whose file is in several folders: which of them the log speaks of."""

from __future__ import annotations

import os

from orchestrator.files import eventreader, opening, scan
from orchestrator.files.layout import Layout, stem_of
from orchestrator.model import ids
from orchestrator.model.status import FOLDERS, Status

MOST = 1 << 21  # bytes of a task file that are compared


def places(layout: Layout, names: scan.Names = scan.names) -> dict[str, list[str]]:
    """By id: where its files are, below work/."""
    found: dict[str, list[str]] = {}
    for status in FOLDERS:
        for task_id, name in scan.task_names(layout.folder(status), names):
            found.setdefault(ids.key(task_id), []).append(f"{status}/{name}")
    return found


def copies(layout: Layout, names: scan.Names = scan.names) -> list[tuple[str, list[str]]]:
    """Ids whose files in several folders are the same to the byte (git merged "done here" with
    "failed there"): which of them the latest event speaks of, and the others. Paths are below
    work/."""
    found = []
    for where in places(layout, names).values():
        if len(where) > 1 and _same_bytes(layout, where):
            kept = _latest(layout, where)
            if kept:
                found.append((kept, [path for path in where if path != kept]))
    return found


def _same_bytes(layout: Layout, where: list[str]) -> bool:
    """Whether several files, none of which runs, have the same bytes."""
    if any(path.startswith(f"{Status.RUNNING}/") for path in where):
        return False
    texts, inodes = set(), set()
    try:
        for path in where:
            with opening.open_file(f"{layout.work}/{path}") as file:
                texts.add(file.read(MOST))
                inodes.add(os.fstat(file.fileno()).st_ino)
    except OSError:
        return False
    return len(texts) == 1 and len(inodes) == len(where)


def _latest(layout: Layout, where: list[str]) -> str:
    """The path whose folder the latest event about this task names; empty if none does."""
    task_id = stem_of(os.path.basename(where[0]))
    events = eventreader.about(layout, "task_id", task_id)
    for event in sorted(events, key=lambda event: str(event.get("ts")), reverse=True):
        for path in where:
            if path.split("/")[0] == event.get("status"):
                return path
    return ""
