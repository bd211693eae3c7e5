"""The event log as a reader sees it: several files (one per day and writer), one stream in order of
time."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from orchestrator.files import jsonlines, logtimes, opening
from orchestrator.files.eventshape import Event, fitted
from orchestrator.files.layout import Layout
from orchestrator.files.scan import names


def files(layout: Layout, first_day: str = "") -> list[str]:
    """Paths of the event files, from ``first_day`` (``2026-11-22``) on, oldest first."""
    listed = sorted(
        name for name in names(layout.events) if name.endswith(".jsonl") and name[:10] >= first_day
    )
    return [f"{layout.events}/{name}" for name in listed]


def events(layout: Layout, since: str = "") -> tuple[list[Event], int]:
    """All events from the moment ``since`` (a timestamp) on, sorted, repetitions dropped; and the
    bad lines."""
    found: list[Event] = []
    bad = 0
    for path in files(layout, since[:10]):
        more, spoilt = jsonlines.read(path)
        fitting = _fitting(more)
        found += fitting
        bad += spoilt + len(more) - len(fitting)
    return [event for event in _in_order(found) if str(event.get("ts", "")) >= since], bad


def about(
    layout: Layout,
    key: str,
    value: str | None,
    first_day: str = "",
    since: str = "",
    until: str = "",
) -> list[Event]:
    """The events in which ``key`` (``task_id``, ``run_id``) is ``value``, or any text (None), from
    ``first_day`` on.

    Only their lines are parsed: finding them is a search for bytes.  Of large files only what was
    written from ``since`` to ``until`` (timestamps) is read: a file is in order of time.
    """
    wanted = '"' if value is None else json.dumps(value, ensure_ascii=False)
    needle = f'"{key}":{wanted}'.encode("utf-8", "surrogatepass")
    found = []
    for path in files(layout, max(first_day, since[:10])):
        if until and os.path.basename(path)[:10] > until[:10]:
            break
        data = logtimes.between(path, since, until)
        place = data.find(needle)
        while place >= 0:
            end = data.find(b"\n", place)
            end = len(data) if end < 0 else end
            begin = data.rfind(b"\n", 0, place) + 1
            line = data[begin:end] if end - begin <= jsonlines.LONGEST else b""
            event = fitted(jsonlines.parse_line(line))
            said = event.get(key) if event is not None else None
            if event is not None and (said == value or (value is None and said)):
                found.append(event)
            place = data.find(needle, end)
    return _in_order(found)


def _fitting(found: list[Event]) -> list[Event]:
    return [event for event in map(fitted, found) if event is not None]


def _backwards(path: str) -> Iterator[Event]:
    return (event for event in map(fitted, jsonlines.backwards(path)) if event is not None)


def _in_order(found: list[Event]) -> list[Event]:
    """Sorted by time, repetitions dropped."""
    seen: set[str] = set()
    result = []
    for event in sorted(found, key=lambda event: str(event.get("ts", ""))):
        event_id = event.get("event_id")
        if event_id not in seen:
            result.append(event)
            seen.update((event_id,) if event_id else ())
    return result


def newest_first(layout: Layout, first_day: str = "") -> Iterator[Event]:
    """Events from the newest back to ``first_day``, reading no more of the files than is taken."""
    for paths in _by_day(layout, first_day):
        yield from _merged(_backwards(path) for path in paths)


def _by_day(layout: Layout, first_day: str) -> list[list[str]]:
    """The files of each day, the newest day first."""
    by_day: dict[str, list[str]] = {}
    for path in files(layout, first_day):
        by_day.setdefault(os.path.basename(path)[:10], []).append(path)
    return [by_day[day] for day in sorted(by_day, reverse=True)]


def _merged(parts: Iterable[Iterator[Event]]) -> Iterator[Event]:
    """Events that come newest first, of several files, as one."""
    return heapq.merge(*parts, key=lambda event: str(event.get("ts", "")), reverse=True)


ENDS = (b"task_finished", b"task_rejected")


def ends(layout: Layout, most: int) -> Iterator[Event]:
    """How tasks ended, and which of the failed ones a person has seen, the newest first, among the
    last ``most`` lines of the log.

    Only lines that hold such an event are parsed.
    """
    left = most
    for paths in _by_day(layout, ""):
        tails = [list(islice(jsonlines.lines_backwards(path), left)) for path in paths]
        yield from _merged(_ends(lines) for lines in tails)
        left -= sum(map(len, tails))
        if left <= 0:
            return


def _ends(lines: list[bytes]) -> Iterator[Event]:
    for line in lines:
        if any(word in line for word in ENDS):
            event = fitted(jsonlines.parse_line(line))
            if event is not None and event.get("event") in ("task_finished", "task_rejected"):
                yield event


def last(
    layout: Layout, most: int, wanted: Callable[[Event], bool], since: str = ""
) -> list[Event]:
    """The last ``most`` events that are ``wanted``, none before the moment ``since``, oldest first.

    The log is read from its end, so what it costs does not grow with what happened before.  A day's
    file counts as being in order of time; events of a clock that was set back are found where they
    were written.
    """
    found: list[Event] = []
    seen: set[str] = set()
    if not most:
        return found
    for event in newest_first(layout, since[:10]):
        if str(event.get("ts", "")) < since:
            break
        event_id = event.get("event_id")
        if not wanted(event) or event_id in seen:
            continue
        seen.update((event_id,) if event_id else ())
        found.append(event)
        if len(found) == most:
            break
    found.reverse()  # lines of one moment stay as they were written
    return sorted(found, key=lambda event: str(event.get("ts", "")))


class Follower:
    """Reads what was appended since the last call, over new files and midnights.  Holds only whole
    lines."""

    def __init__(self, layout: Layout, from_start: bool = False) -> None:
        self.layout = layout
        self.positions: dict[str, int] = {}
        if not from_start:
            self.positions = {path: os.path.getsize(path) for path in files(layout)}

    def read(self) -> list[Event]:
        found: list[Event] = []
        for path in files(self.layout):
            start = self.positions.get(path, 0)
            try:
                if os.path.getsize(path) <= start:
                    continue
                with opening.open_log(path) as file:
                    file.seek(start)
                    data = file.read()
            except (FileNotFoundError, opening.NotAFile):
                continue
            whole = data[: data.rfind(b"\n") + 1]
            self.positions[path] = start + len(whole)
            found += _fitting(jsonlines.split(whole)[0])
        return sorted(found, key=lambda event: str(event.get("ts", "")))
