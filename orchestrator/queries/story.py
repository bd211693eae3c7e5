"""Everything that is known of one task."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.files import eventreader, journals, replies, results
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line, tail
from orchestrator.model import journal as journal_model
from orchestrator.model.status import FINISHED, WAITING, Status
from orchestrator.model.units import timestamp, when
from orchestrator.queries import world
from orchestrator.queries.rows import Row, finished_row, invalid_row, running_row, waiting_row
from orchestrator.records import dataclass

if TYPE_CHECKING:
    from orchestrator.files.requests import Request
    from orchestrator.model.journal import Journal

SLACK = 3600.0  # seconds by which events may lie outside of what files and journal tell of a task


def _span(
    layout: Layout,
    journal: Journal | None,
    result: Mapping[str, Any],
    status: Status,
    name: str,
    now: float,
) -> tuple[str, str, str]:
    """The day before which nothing can have happened to a task, and the span in which all did, if
    it has ended here.

    Each of its moves gives its file another change time, and what else happens to it is in its
    journal.
    """
    day = _first_day(layout, journal, status, name)
    known = (
        journal is not None and journal.phase is journal_model.Phase.FINAL and "at" in journal.claim
    )
    moments = [journal.claim["at"], journal.last.get("at", 0.0)] if journal and known else []
    try:
        if not moments and journal is None:  # of another clone, or from before .state was removed
            moments = [when(str(result[key])) for key in ("started_at", "finished_at")]
        moved = os.lstat(layout.file(status, name))
    except (OSError, KeyError, ValueError):
        return day, "", ""
    moments = [moment for moment in moments if moment]
    if not moments or status not in (*FINISHED, Status.ARCHIVE):
        return day, "", ""
    began = min(*moments, moved.st_mtime) - SLACK
    ended = max(*moments, moved.st_ctime) + SLACK
    return day, timestamp(began), timestamp(ended) if ended < now else ""


def _first_day(layout: Layout, journal: Journal | None, status: Status, name: str) -> str:
    """The day before which nothing can have happened to a task: that of its file or of its first
    claim."""
    moments = [
        facts.started["at"]
        for facts in (journal.attempts if journal else ())
        if "at" in facts.started
    ]
    moments += [journal.claim["at"]] if journal and "at" in journal.claim else []
    try:
        moments.append(os.lstat(layout.file(status, name)).st_mtime)
    except OSError:
        pass
    return timestamp(min(moments) - 86400)[:10] if moments else ""


@dataclass(slots=True)
class Story:
    """Everything ``show`` tells of one task."""

    row: Row
    request: Request | None
    result: Mapping[str, Any]
    journal: Journal | None
    note: str
    history: Sequence[Mapping[str, Any]]
    text: str = ""
    prompt: str = ""
    untold: Sequence[str] = ()  # replies that its agent has not been told of yet, as files


def of(layout: Layout, task_id: str, status: Status, name: str, now: float) -> Story:
    """The whole story of one task: its file, its journal, its result, its events."""
    request = world.request_of(layout, status, name)
    journal = journals.of(layout, task_id)
    found = results.read(layout, task_id)
    if status is Status.RUNNING and journal is not None and journal.claim:
        row = running_row(layout, journal, now, world.Known(layout, now))
    elif status in WAITING:
        known = world.Known(layout, now)
        judged = known.judge.file(status, name)
        if judged.problem is not None and status is Status.INBOX:
            row = invalid_row(layout, name, judged)
        else:
            row = waiting_row(layout, status, name, now, known)
    else:
        row = finished_row(layout, task_id, status, name, found)
    task = request.task if request else None
    if task is not None:
        row.title = row.title or one_line(task.title, 200)
    span = _span(layout, journal, found, status, name, now)
    history = eventreader.about(layout, "task_id", task_id, *span)
    note = tail(layout.note(task_id), 1 << 16) if row.status == "invalid" else ""
    return Story(
        row,
        request,
        found,
        journal,
        note,
        history,
        text=request.document.text if request else "",
        prompt=task.prompt if task else "",
        untold=[
            layout.shown(layout.file(folder, name))
            for folder, name in replies.names_of(layout, task_id)
        ],
    )
