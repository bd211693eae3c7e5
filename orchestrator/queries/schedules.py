"""What is made again and again: when next, and what came of the last time."""

from __future__ import annotations

from itertools import islice
from typing import Any

from orchestrator.files import scan
from orchestrator.files.layout import Layout
from orchestrator.files.requests import Check
from orchestrator.files.schedules import load_schedules
from orchestrator.files.schedulestate import state_of
from orchestrator.model.cron import times
from orchestrator.model.schedule import Schedule
from orchestrator.model.units import timestamp
from orchestrator.records import dataclass


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """``said`` is when, as the file has it; ``next`` in seconds since the epoch (None: not known,
    or held); ``last`` the newest task, ``last_status`` its folder; ``left`` why the newest time was
    left out; ``why`` it is left out itself."""

    name: str
    said: str = ""
    next: float | None = None
    last: str = ""
    last_status: str = ""
    left: str = ""
    held: bool = False
    why: str = ""
    schedule: Schedule | None = None

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.name,
            "when": self.said,
            "next": timestamp(self.next) if self.next is not None else None,
            "last": self.last or None,
            "last_status": self.last_status or None,
            "left_out": self.left or None,
            "held": self.held,
            "problem": self.why or None,
        }


def all_schedules(layout: Layout, now: float, check: Check | None = None) -> list[ScheduleView]:
    """Every schedule, those that are held or wrong included."""
    found = []
    for folder in ("", "held"):
        for item in load_schedules(layout, check, folder):
            if item.schedule is None:
                first = item.problems[0]
                why = f"{layout.shown(item.path)}:{first.line}:{first.column}: {first.message}"
                found.append(ScheduleView(item.name, held=bool(folder), why=why))
            else:
                found.append(_view(layout, item.schedule, now, bool(folder)))
    return found


def _view(layout: Layout, schedule: Schedule, now: float, held: bool) -> ScheduleView:
    state = state_of(layout, schedule.name)
    first = state.first if state is not None else now
    known = schedule.cron is not None or state is not None
    place = scan.locate(layout, state.made) if state is not None and state.made else None
    status = "" if place is None else place[0].word
    return ScheduleView(
        schedule.name,
        schedule.said,
        schedule.next(now, first) if known and not held else None,
        state.made if state is not None else "",
        status,
        state.left if state is not None else "",
        held,
        "",
        schedule,
    )


def next_times(schedule: Schedule, now: float, first: float, count: int) -> list[float]:
    """The next moments."""
    if schedule.cron is not None:
        return [moment for moment, _ in islice(times(schedule.cron, now, schedule.zone), count)]
    begin = schedule.next(now, first) or now
    return [begin + schedule.every * place for place in range(count)]
