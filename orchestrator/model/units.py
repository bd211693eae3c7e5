"""Durations, times and counts as people write and read them."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.model.closeness import closest
from orchestrator.patterns import regex

HOUR, DAY = 3600.0, 86400.0  # seconds
LONGEST = 3650 * DAY
MOST_COST = 1e12  # dollars: what is more was never paid, and sums stay finite
EARLIEST, LATEST = -2208988800.0, 7258118399.0  # the years 1900 to 2199
_DURATION = regex(
    r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+(?:\.[0-9]+)?)s)?(?:([0-9]+)ms)?\Z"
)


_IN_WORDS = regex(r"(?:every )?(\d+)? ?([a-z]+)\Z")
_NAMES = {
    "s": "second seconds sec secs",
    "m": "minute minutes min mins",
    "h": "hour hours hr hrs hourly",
    "d": "day days daily",
    "w": "week weeks weekly w",
}
_UNITS = {name: unit for unit, names in _NAMES.items() for name in names.split()}


class NoSuchValue(ValueError):
    """A text that looks right and means nothing; ``value`` is the text, as a file has it."""

    def __init__(self, value: str, why: str) -> None:
        super().__init__(f"{value[:40]!r} {why}")
        self.value = value


def duration(text: str) -> float:
    """Seconds of a duration such as ``90s``, ``15m``, ``1h30m``, ``2d`` or ``300ms``; ValueError if
    it is none."""
    match = _DURATION.match(text)
    if not match or not text:
        raise ValueError(f"{text!r} is not a duration")
    days, hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
    total = days * 86400 + hours * 3600 + minutes * 60 + seconds + millis / 1000
    if total > LONGEST:
        raise NoSuchValue(text, "is longer than ten years")
    return total


def meant(text: str) -> str:
    """The duration that words such as ``10 minutes``, ``every day`` or ``dayly`` mean, as it is
    written here; empty if nobody can tell."""
    found = _IN_WORDS.match(text.strip().lower())
    if not found:
        return ""
    count, unit = int(found[1] or 1), _UNITS.get(closest(found[2], _UNITS, 0.75), "")
    if unit == "w":
        count, unit = count * 7, "d"
    return f"{count}{unit}" if unit and count else ""


def share(text: str) -> float:
    """The part that ``20%`` is: 0.2.  ValueError if it is no share of a whole."""
    number = float(text.removesuffix("%")) / 100
    if not text.endswith("%") or not 0 <= number <= 1:
        raise ValueError(f"{text[:40]!r} is not a share such as 20%")
    return number


def show_wait(seconds: float) -> str:
    """``in 2m14s``; ``at once`` for what nobody would notice."""
    return f"in {show_duration(seconds)}" if seconds >= 0.05 else "at once"


def show_duration(seconds: float) -> str:
    """``40ms``, ``2.5s``, ``28s``, ``2m14s``, ``1h12m``, ``3d4h``: two units at the most."""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s" if whole % 60 else f"{whole // 60}m"
    if whole < 86400:
        return (
            f"{whole // 3600}h{whole % 3600 // 60:02d}m"
            if whole % 3600 >= 60
            else f"{whole // 3600}h"
        )
    return (
        f"{whole // 86400}d{whole % 86400 // 3600}h"
        if whole % 86400 >= 3600
        else f"{whole // 86400}d"
    )


def moment_of(said: object) -> float | None:
    """`when` of what a record says; None if it says nothing, or no time."""
    try:
        return when(str(said)) if said else None
    except ValueError:
        return None


def when(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time or a date; without an offset it is local time.

    ValueError if it is neither, or so early or late that no clock of ours can tell it.
    """
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
        seconds = moment.timestamp()
    except (ValueError, OverflowError, OSError):
        raise NoSuchValue(text, "is not a valid time") from None
    if not EARLIEST <= seconds <= LATEST:
        raise NoSuchValue(text, "is not between 1900 and 2200")
    return seconds


def timestamp(seconds: float) -> str:
    """A moment as the files have it: ``2026-11-22T09:48:55.120Z``. One that no calendar has is the
    nearest it has."""
    if (
        not EARLIEST <= seconds <= LATEST
    ):  # from a file that somebody spoilt; no reader may stumble over it
        seconds = LATEST if seconds > LATEST else EARLIEST
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def plural(count: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def cost_of(value: object) -> float | None:
    """A cost that somebody else wrote, in dollars; None unless it is a number of at least 0 that
    can be meant."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        dollars = float(value)
    except OverflowError:
        return None
    return dollars if 0.0 <= dollars < MOST_COST else None
