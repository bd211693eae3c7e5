"""Which tasks there are: what runs, what waits, what has ended."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, assert_never

from orchestrator.files import eventreader, results, scan
from orchestrator.files.layout import Layout
from orchestrator.model import journal as journal_model
from orchestrator.model.status import ENDED, FINISHED, FOLDERS, WAITING, Status
from orchestrator.queries import world
from orchestrator.queries.rows import Row, finished_row, invalid_row, running_row, waiting_row

if TYPE_CHECKING:
    pass


def waiting_names(known: world.Known) -> list[str]:
    """The files in the inbox but those that cannot run as written, in their order."""
    return sorted(name for _, name in known.tasks_in(Status.INBOX) if name not in known.invalid)


def running(layout: Layout, now: float, known: world.Known | None = None) -> list[Row]:
    """The tasks that are claimed and not finished, with the last line each has printed."""
    known = known or world.Known(layout, now)
    rows = []
    for journal in known.journals:
        if journal.phase not in (journal_model.Phase.FINAL, journal_model.Phase.REQUEUED):
            rows.append(running_row(layout, journal, now, known))
    return sorted(rows, key=lambda row: row.started or now)


def recent(
    layout: Layout,
    most: int,
    only: tuple[Status, ...] = FINISHED,
    ends: Iterable[Mapping[str, Any]] | None = None,
) -> list[Row]:
    """The tasks that ended last and still lie in one of these folders, from the end of the event
    log (``ends``, if it was read)."""
    events = eventreader.ends(layout, world.ENDS) if ends is None else ends
    found = islice(ended_last(layout, events, only), most)
    return [finished_row(layout, str(event["task_id"]), *place, event) for event, place in found]


def ended_last(
    layout: Layout, ends: Iterable[Mapping[str, Any]], only: tuple[Status, ...] = FINISHED
) -> Iterator[tuple[Mapping[str, Any], tuple[Status, str]]]:
    """The last end of each task that lies in one of these folders now, the newest first, and where
    its file is: a person may have moved it since."""
    seen: set[str] = set()
    for event in ends:
        task_id = event.get("task_id")
        if event.get("event") != "task_finished" or not isinstance(task_id, str) or task_id in seen:
            continue
        seen.add(task_id)
        place = scan.locate(layout, task_id, only)
        if place is not None:
            yield event, place


def listed(
    layout: Layout,
    now: float,
    statuses: tuple[Status, ...] | None,
    most: int | None,
    known: world.Known | None = None,
) -> tuple[list[Row], int]:
    """Rows for ``list`` and how many were left out: everything unfinished, then the newest finished
    tasks.

    ``known`` is a look at the work directory that others share.
    """
    known = known or world.Known(layout, now)
    wanted = statuses or FOLDERS
    rows: list[Row] = []
    for status in (Status.RUNNING, *WAITING):
        rows += _open_rows(known, status) if status in wanted else []
    ended = [
        status
        for status in ENDED
        if status in wanted and (statuses or status is not Status.ARCHIVE)
    ]
    found, left_out = _ended(known, tuple(ended), most)
    return rows + found, left_out


def _open_rows(known: world.Known, status: Status) -> list[Row]:
    """The tasks in this folder, if tasks there have not ended."""
    layout, now = known.layout, known.now
    match status:
        case Status.RUNNING:
            return _running_rows(known)
        case Status.INBOX:
            names = waiting_names(known)
            invalid = [invalid_row(layout, name, found) for name, found in known.invalid.items()]
            return invalid + [waiting_row(layout, status, name, now, known) for name in names]
        case Status.HELD:
            held = known.tasks_in(status)
            return [waiting_row(layout, status, name, now, known) for _, name in held]
        case Status.REVIEW | Status.DONE | Status.FAILED | Status.CANCELLED | Status.ARCHIVE:
            return []
        case _:
            assert_never(status)


def _running_rows(known: world.Known) -> list[Row]:
    """What was claimed here, and what only lies in running/."""
    layout = known.layout
    rows = running(layout, known.now, known)
    claimed = {row.id for row in rows}
    for task_id, name in known.tasks_in(Status.RUNNING):
        if task_id not in claimed:
            path = layout.shown(layout.file(Status.RUNNING, name))
            rows.append(Row(task_id, "running", path, detail="not claimed here"))
    return rows


def _ended(
    known: world.Known, ended: tuple[Status, ...], most: int | None
) -> tuple[list[Row], int]:
    """The newest tasks that have ended, and how many were left out.

    What ended last is at the end of the log; only if that does not know enough are the names of all
    looked through.
    """
    layout = known.layout
    count = sum(scan.counts(layout, ended, known.names).values())
    newest = recent(layout, count if most is None else min(most, count), ended)
    if most is not None and len(newest) >= min(most, count):
        return newest, count - len(newest)
    names = {
        task_id: (status, name) for status in ended for task_id, name in known.tasks_in(status)
    }
    rest = set(names) - {row.id for row in newest}
    room = len(rest) if most is None else max(0, most - len(newest))
    older = [
        finished_row(layout, task_id, *names[task_id], results.read(layout, task_id))
        for task_id in heapq.nlargest(room, rest)
    ]
    return newest + older, len(rest) - len(older)


def labels_of(layout: Layout, task_id: str) -> set[str]:
    """The labels in a task's file; none if it has gone or cannot be read."""
    place = scan.locate(layout, task_id)
    request = world.request_of(layout, *place) if place is not None else None
    return set(request.task.labels) if request is not None and request.task is not None else set()


def agent_of(layout: Layout, row: Row) -> str:
    """The agent of a task: who acted, or else whom its file names; empty if neither is known."""
    if row.agent:
        return row.agent
    place = scan.locate(layout, row.id)
    request = world.request_of(layout, *place) if place is not None else None
    return (request.task.agent or "") if request is not None and request.task is not None else ""
