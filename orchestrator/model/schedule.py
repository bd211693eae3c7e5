"""A schedule: a task, or a run, that is made again and again. Which times are due, and under which
id each is made.

Everything here is pure. The id *is* the due time, so that a crash, a second watcher or a clock that
is set can never make two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import TYPE_CHECKING, Any

from orchestrator.libraries import later
from orchestrator.model import cron as cron_model
from orchestrator.model.units import duration
from orchestrator.records import dataclass, field

if TYPE_CHECKING:
    from orchestrator.model.cron import Cron

if TYPE_CHECKING:
    import zoneinfo
else:
    zoneinfo = later("zoneinfo")

MOST = 100  # missed times that are made up for at once, the newest ones
LATE = 60.0  # seconds after which a time that was due counts as missed
STAMP = r"\d{8}T\d{4}Z?"


@dataclass(frozen=True, slots=True)
class Schedule:
    """``body`` is the task (or run) that is made. Either ``cron`` or ``every`` (seconds) is set;
    ``zone`` None is this machine's."""

    name: str
    body: Mapping[str, Any] = field(default_factory=dict)
    cron: Cron | None = None
    every: float = 0.0
    said: str = ""  # as the file has it
    zone: tzinfo | None = None
    missed: str = "once"
    overlap: str = "skip"

    def id_at(self, moment: float) -> str:
        """The id of what is made for this moment."""
        zone = UTC if self.cron is None else self.zone
        stamp = datetime.fromtimestamp(moment, zone).strftime("%Y%m%dT%H%M")
        return f"{self.name}-{stamp}{'Z' if self.cron is None else ''}"

    def made(self, task_id: str) -> bool:
        """Whether an id is one of its tasks, or of a task of its runs."""
        return bool(re.fullmatch(re.escape(self.name) + f"-{STAMP}(?:now)?(?:\\..+)?", task_id))

    def due(self, after: float, now: float, first: float) -> list[float]:
        """The moments that have come since ``after``, the newest `MOST` of them; ``first``: when it
        was first seen."""
        if self.cron is None:
            count = max(0, int((now - first) // self.every))
            done = max(0, int((after - first) // self.every))
            return [first + self.every * n for n in range(max(done, count - MOST) + 1, count + 1)]
        found: list[float] = []
        for moment, _ in cron_model.times(self.cron, after, self.zone):
            if moment > now:
                break
            found = [*found[-MOST + 1 :], moment]
        return found

    def next(self, now: float, first: float) -> float | None:
        """The next moment; None if there is none in years."""
        if self.cron is None:
            return first + self.every * (max(0, int((now - first) // self.every)) + 1)
        return next(
            (moment for moment, _ in islice(cron_model.times(self.cron, now, self.zone), 1)), None
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done about due moments: those to make, and those to leave out with the
    reason."""

    make: tuple[float, ...] = ()
    leave: tuple[tuple[float, str], ...] = ()


def turn(schedule: Schedule, due: list[float], now: float, busy: str) -> Turn:
    """``busy`` is the task of an earlier time that has not ended; empty if all have."""
    if not due:
        return Turn()
    late = [moment for moment in due if now - moment > LATE]
    fresh = [moment for moment in due if now - moment <= LATE]
    if schedule.missed == "all":
        chosen = due
    elif schedule.missed == "skip":
        chosen = fresh[-1:]
    else:
        chosen = due[-1:]
    leave = [(moment, "it was missed") for moment in due if moment not in chosen]
    if schedule.missed == "once" and late and chosen and chosen[0] not in late:
        leave = [(moment, "it was missed, and a later one is due") for moment in late]
    if busy and schedule.overlap == "skip":
        leave += [(moment, f"{busy} has not ended") for moment in chosen]
        chosen = []
    elif schedule.overlap == "skip" and len(chosen) > 1:
        leave += [(moment, "one of its times is enough (overlap: skip)") for moment in chosen[:-1]]
        chosen = chosen[-1:]
    return Turn(tuple(chosen), tuple(leave))


def body_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The task or run that is made: ``task``, or the template and the values that the schedule
    names."""
    if "task" in data:
        return dict(data["task"])
    return {key: data[key] for key in ("use", "with") if key in data}


def schedule_from(name: str, data: Mapping[str, Any]) -> Schedule:
    """The schedule in a mapping that fits ``schedule.schema.json``. ValueError if an expression or
    a zone is none."""
    zone: tzinfo | None = None
    if data.get("tz"):
        try:
            zone = zoneinfo.ZoneInfo(str(data["tz"]))
        except (KeyError, OSError, ValueError):
            raise ValueError(f"there is no time zone '{str(data['tz'])[:60]}'") from None
    every = duration(data["every"]) if "every" in data else 0.0
    if "every" in data and every < 60:
        raise ValueError("the shortest schedule is every minute: write 1m or more")
    return Schedule(
        name,
        body_of(data),
        cron_model.cron_from(data["cron"]) if "cron" in data else None,
        every,
        str(data.get("cron") or f"every {data.get('every')}"),
        zone,
        data.get("missed", "once"),
        data.get("overlap", "skip"),
    )
