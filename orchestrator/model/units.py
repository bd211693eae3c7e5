"""Durations, times and counts as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?\Z")


def duration(text: str) -> float:
    """Seconds of a duration such as ``90s``, ``15m``, ``1h30m``, ``2d`` or ``300ms``; ValueError if it is none."""
    match = _DURATION.match(text)
    if not match or not text:
        raise ValueError(f"{text!r} is not a duration")
    days, hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds + millis / 1000


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


def when(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time or a date; without an offset it is local time.

    ValueError if it is neither.
    """
    return datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00")).timestamp()


def timestamp(seconds: float) -> str:
    """A moment as the files have it: ``2026-11-22T09:48:55.120Z``."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def plural(count: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
