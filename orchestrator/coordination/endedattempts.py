"""An attempt that has ended: its journal opened again, its end as a record, and what an earlier one
came to. Its logs are read by `coordination.readings`; what follows is decided by
`coordination.nextsteps`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.clock import Clock
from orchestrator.files import opening
from orchestrator.model.attempt import AttemptEnd, end_from
from orchestrator.model.journal import AttemptFacts
from orchestrator.model.result import Reading, reading_from
from orchestrator.model.status import Outcome
from orchestrator.store import places
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store
from orchestrator.store.waiting import when_free


async def reopened(store: Store, task_id: str, records: Sequence[Mapping[str, Any]]) -> Entry:
    """The journal of a task whose attempt has ended, with its lock; made again from ``records`` if
    git clean has removed it, or something else lies in its place, which gives way.

    Raises `NotUnderstood` if nothing is remembered of it.
    """
    path = store.layout.journal(task_id)
    try:
        entry = store.ledger.unread(task_id)
    except opening.NotAFile:
        places.displace(store.layout, path)
        entry = None
    if entry is None:
        store.prepare()
        entry = written_again(store, task_id, records)
    if not entry.lock():  # which reads it: the supervisor has appended
        entry.refresh()
        entry.close()  # it has not let go yet: nothing is appended without the lock
        freed: Entry | None = await asyncio.wrap_future(when_free(entry.path))
        entry = freed or entry
    if entry.claimed:  # a later version may have added to it, and then it says more than we know
        return entry
    entry.close()  # a file, and no journal
    places.displace(store.layout, entry.path)
    return written_again(store, task_id, records)


def written_again(store: Store, task_id: str, records: Sequence[Mapping[str, Any]]) -> Entry:
    """A journal that somebody has removed, from what is remembered of it. `NotUnderstood` if that is
    nothing."""
    if not records:
        raise NotUnderstood(task_id)
    entry = store.ledger.create(task_id, records[0])
    for record in records[1:]:
        entry.append(record)
    return entry


def end_record(number: int, end: AttemptEnd, now: float) -> dict[str, Any]:
    """An end that no supervisor could record: it was killed, or never began."""
    record: dict[str, Any] = {
        "record": "lost" if end.cause == "lost" else "exit",
        "attempt": number,
        "at": now,
        "cause": end.cause,
        "code": end.code,
        "signal": end.signal,
        "duration_ms": end.duration_ms,
    }
    if end.message:
        record["message"] = end.message
    if end.leftovers:
        record["leftovers"] = end.leftovers
    return record


def disk_refused(facts: AttemptFacts) -> bool:
    """Whether an attempt came to nothing because the disk, or the system's limits, refused to begin
    it."""
    return facts.ended is not None and bool(facts.ended.get("errno"))


def cancelled(reading: Reading, by: str) -> Reading:
    """The reading of an attempt that somebody asked to stop."""
    return replace(
        reading, outcome=Outcome.CANCELLED, error_class="cancelled", reason=f"cancelled by {by}"
    )


def brief(facts: AttemptFacts) -> Reading:
    """An earlier attempt, from its journal alone."""
    end = end_from(facts.ended or {"record": "lost"})
    if facts.read:
        return reading_from(facts.read, end.duration_ms, end.exit_code)
    outcome = {
        "cancelled": Outcome.CANCELLED,
        "timeout": Outcome.TIMED_OUT,
        "lost": Outcome.LOST,
    }.get(end.cause, Outcome.SUCCEEDED if end.code == 0 else Outcome.FAILED)
    return Reading(
        outcome,
        end.exit_code,
        error_class=end.cause or ("exit" if end.exit_code else ""),
        duration_ms=end.duration_ms,
    )


class NotUnderstood(Exception):
    """The journal of a task has become one that this version does not know: nobody touches the task
    until it is mended."""


def retry_due(last: Mapping[str, Any], clock: Clock) -> float:
    """When (monotonic) the attempt of a ``retry`` record is due.

    Only the wall clock bridges two watchers; should it have jumped, the wait is never longer than
    it was to be.
    """
    due, said = float(last.get("not_before", 0.0)), float(last.get("at", 0.0))
    return clock.monotonic() + min(max(due - clock.wall(), 0.0), max(due - said, 0.0))
