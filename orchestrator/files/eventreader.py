"""The event log as a reader sees it: several files (one per day and writer), one stream in order of time."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from typing import Any

from orchestrator.files import jsonlines
from orchestrator.files.layout import Layout
from orchestrator.files.scan import names

Event = dict[str, Any]


def files(layout: Layout, first_day: str = "") -> list[str]:
    """Paths of the event files, from ``first_day`` (``2026-11-22``) on, oldest first."""
    listed = sorted(name for name in names(layout.events) if name.endswith(".jsonl") and name[:10] >= first_day)
    return [f"{layout.events}/{name}" for name in listed]


def events(layout: Layout, since: str = "") -> tuple[list[Event], int]:
    """All events from the moment ``since`` (a timestamp) on, sorted, repetitions dropped; and the bad lines."""
    found: list[Event] = []
    bad = 0
    for path in files(layout, since[:10]):
        more, spoilt = jsonlines.read(path)
        found += more
        bad += spoilt
    seen: set[str] = set()
    result = []
    for event in sorted(found, key=lambda event: str(event.get("ts", ""))):
        if str(event.get("ts", "")) < since or (event.get("event_id") in seen):
            continue
        if event.get("event_id"):
            seen.add(event["event_id"])
        result.append(event)
    return result, bad


def newest_first(layout: Layout) -> Iterator[Event]:
    """Events from the newest back, reading no more of the files than is taken."""
    by_day: dict[str, list[str]] = {}
    for path in files(layout):
        by_day.setdefault(os.path.basename(path)[:10], []).append(path)
    for day in sorted(by_day, reverse=True):
        yield from heapq.merge(*(jsonlines.backwards(path) for path in by_day[day]),
                               key=lambda event: str(event.get("ts", "")), reverse=True)


class Follower:
    """Reads what was appended since the last call, over new files and midnights.  Holds only whole lines."""

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
                with open(path, "rb") as file:
                    file.seek(start)
                    data = file.read()
            except FileNotFoundError:
                continue
            whole = data[: data.rfind(b"\n") + 1]
            self.positions[path] = start + len(whole)
            found += jsonlines.split(whole)[0]
        return sorted(found, key=lambda event: str(event.get("ts", "")))
