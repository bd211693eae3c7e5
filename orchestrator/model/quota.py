"""Quota as data: what a tool last said of its plan's windows, and what is kept back of them.

A subscription allows so much in five hours, or in a week. What programs tell of that is kept for
each tool until the window begins anew, or for an hour where nobody says when that is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.model import gates
from orchestrator.model.units import DAY, HOUR, timestamp
from orchestrator.records import asdict, dataclass

VOID = HOUR  # seconds that a word counts where no end is known
POINTS = 200  # of the history of a window, that a curve is drawn of
PAST = 8 * DAY  # seconds that a point is kept
WINDOWS = 8  # of one tool whose history is kept
MOST_USED = 10.0  # of a window: no plan lets anybody use it ten times over
LONGEST = 62 * DAY  # from now to the end of a window: a month has begun anew by then
MILLISECONDS = 1e11  # no moment in seconds is as large


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a tool's plan: the part of it that is ``used`` (1.0: all), when it ``resets``
    and when that was ``seen``."""

    name: str
    used: float
    seen: float
    resets: float | None = None

    def counts(self, now: float) -> bool:
        """Whether this is still worth something."""
        end = self.seen + VOID if self.resets is None else self.resets
        return self.seen - HOUR < now < end

    def words(self, now: float) -> str:
        """``5 h: 87 %, until 07:54Z``."""
        until = ""
        if self.resets is not None:
            moment = timestamp(self.resets)
            until = f", until {moment[11:16] if self.resets - now < DAY else moment[:16]}Z"
        return f"{self.name}: {self.used:.0%}".replace("%", " %") + until

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def window_from(data: Mapping[str, Any], seen: float) -> Window | None:
    """A window in ``{window | minutes, used | percent, resets}``; None if it says nothing."""
    percent = _number(data.get("percent"))
    used = _number(data.get("used"))
    if used is None and percent is not None:
        used = percent / 100
    resets = _number(data.get("resets"))
    if resets is not None and resets > MILLISECONDS:
        resets /= 1000
    if resets is not None and resets > seen + LONGEST:
        resets = None
    name = data.get("window") or _span(_number(data.get("minutes")))
    if used is None or not 0 <= used <= MOST_USED or not name:
        return None
    return Window(str(name)[:20], used, seen, resets)


def merged(known: Iterable[Window], told: Iterable[Window], now: float) -> list[Window]:
    """What is known after a tool has spoken: the newest word on each window, while it counts."""
    newest = {window.name: window for window in (*known, *told)}
    return [window for window in newest.values() if window.counts(now)]


History = dict[str, list[tuple[float, float]]]  # by window: moments (seconds) and the part used


def remembered(history: History, told: Iterable[Window], now: float) -> History:
    """The history of a tool's windows after it has spoken, bounded: of a part that stays the same
    the first and the last moment; of too many points the ones that stand closest to others go."""
    found = {name: list(points) for name, points in history.items()}
    for window in told:
        points = found.pop(window.name, [])
        point = (round(window.seen, 1), round(window.used, 4))
        if len(points) > 1 and points[-1][1] == points[-2][1] == point[1]:
            points.pop()
        points = [item for item in points if now - PAST < item[0] <= now] + [point]
        while len(points) > POINTS:
            del points[_closest(points)]
        found[window.name] = points
    fresh = {name: points for name, points in found.items() if points[-1][0] > now - PAST}
    return dict(list(fresh.items())[-WINDOWS:])


def _closest(points: list[tuple[float, float]]) -> int:
    """The point, neither the first nor the last, whose neighbours are nearest to each other in
    time."""
    return min(
        range(1, len(points) - 1), key=lambda place: points[place + 1][0] - points[place - 1][0]
    )


def reserved(
    reserve: Mapping[str, float],
    tools: Mapping[str, str],
    known: Mapping[str, Iterable[Window]],
    now: float,
) -> dict[tuple[str, str], gates.Gate]:
    """The gates of what keeps something back for tasks of normal priority: ``reserve`` by tool or
    agent, ``tools`` of the agents."""
    found = {}
    for name, share in reserve.items():
        tool = tools.get(name, name)
        for window in known.get(tool, ()):
            if window.counts(now) and window.used > 1 - share:
                why = (
                    f"the last {share * 100:g} % of {tool}'s window are kept for more urgent tasks"
                    f" ({tool} {window.words(now)})"
                )
                hint = (
                    f"priority: normal in its file, or limits.reserve.{name} in orchestrator.yaml"
                )
                gate = gates.Gate(
                    gates.GateName.QUOTA, why, hint, window.resets or window.seen + VOID
                )
                found["low", name] = gate
    return found


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _span(minutes: float | None) -> str:
    """``5 h``, ``7 d``."""
    if minutes is None or minutes <= 0:
        return ""
    hours = minutes / 60
    return f"{hours / 24:g} d" if hours >= 48 else f"{hours:g} h"
