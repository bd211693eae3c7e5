"""Where a task is. The folder says so, except of a task that runs: that is in the ledger, wherever
somebody has put its file."""

from __future__ import annotations

import os
from collections.abc import Iterable

from orchestrator.errors import NotFound
from orchestrator.files import journals, scan
from orchestrator.files.layout import SUFFIXES, Layout
from orchestrator.model.journal import Journal, Phase
from orchestrator.model.status import FOLDERS, Status

RUNS = (Phase.CLAIMED, Phase.DISPATCHED, Phase.STARTED, Phase.ENDED, Phase.RETRYING)


def running(active: Iterable[Journal]) -> dict[str, Journal]:
    """Of these journals those of tasks that are claimed and not finished, by id."""
    return {journal.task_id: journal for journal in active if journal.phase in RUNS}


def find(layout: Layout, word: str) -> tuple[str, Status, str]:
    """``(id, status, file name)`` of the one task that ``word`` names: its id, or any unique part
    of it."""
    active = running(journals.active(layout))
    try:
        task_id, status, name = scan.find(layout, word)
    except NotFound:
        task_id = _only(word, active)
        if not task_id:
            raise
        status, name = Status.RUNNING, ""
    if word in active:
        task_id = word
    if task_id in active:
        return task_id, Status.RUNNING, str(active[task_id].claim.get("file") or f"{task_id}.yaml")
    return task_id, status, name


def several(layout: Layout, task_id: str) -> str:
    """What to know of a task that has more than one file; empty if it has not."""
    names = [f"{folder}/{task_id}{suffix}" for folder in FOLDERS for suffix in SUFFIXES]
    found = [name for name in names if os.path.lexists(f"{layout.work}/{name}")]
    # Again: one that is moved meanwhile is met twice.
    found = [name for name in found if os.path.lexists(f"{layout.work}/{name}")]
    if len(found) < 2:
        return ""
    return f"{task_id} has several files: {', '.join(found)}; orchestrator doctor says what to do"


def locate(layout: Layout, task_id: str) -> Status | None:
    """Where the task with exactly this id is; None if it is nowhere."""
    journal = journals.of(layout, task_id)
    if journal is not None and journal.phase in RUNS:
        return Status.RUNNING
    place = scan.locate(layout, task_id)
    return place[0] if place is not None else None


def _only(word: str, active: dict[str, Journal]) -> str:
    found = [task_id for task_id in active if word and word in task_id]
    return found[0] if len(found) == 1 else ""
