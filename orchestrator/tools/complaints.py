"""What a program complains of while it tries again by itself: ``the provider is overloaded, try 2
of 3``.

Such a program says nothing else for minutes. Whoever looks on sees the complaint, and an attempt
that ran out of time with a complaint as its last word failed for that reason.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.files.text import last_lines, one_line, tail
from orchestrator.patterns import regex
from orchestrator.tools import activity
from orchestrator.tools.activity import Show
from orchestrator.tools.queries import events_of, search

RECENT = 15  # events, or lines, from the end in which a complaint may stand
# seconds by which events may be later than a complaint on standard error and still say nothing new
TRAILING = 2.0

_TRIES = regex(
    r"\b(?:re-?try(?:ing)?|re-?connecting|attempt \d+|will try again|backing off|backoff)\b",
    re.IGNORECASE,
)


def of_event(show: Show | None, event: Mapping[str, Any]) -> str:
    """The complaint that an event is; empty if it is none."""
    found = search(show.retries, event) if show is not None and show.retries else None
    return one_line(found, 200) if isinstance(found, str) else ""


def of_line(line: str) -> str:
    """The complaint that a plain line is; empty if it is none."""
    return line if _TRIES.search(line) else ""


def last(run_dir: str, show: Show | None) -> str:
    """The complaint that a program printed last, if nothing of another kind came after it; empty if
    there is none."""
    events = [event for raw in _ends(f"{run_dir}/stdout.log") for event in events_of(raw)]
    if newest := _newest(show, events):
        return newest
    errors = last_lines(f"{run_dir}/stderr.log", RECENT)
    spoken = [*errors, *_plain(f"{run_dir}/stdout.log")]
    if not any(of_line(line) for line in spoken):
        return ""
    if events and _written(f"{run_dir}/stdout.log") > _written(f"{run_dir}/stderr.log") + TRAILING:
        return ""  # it went on with its work afterwards
    return "\n".join(spoken)


def _newest(show: Show | None, events: list[dict[str, Any]]) -> str:
    """The complaint that no word and no deed came after.  A program that is told to stop may say
    so, and what it used."""
    for event in reversed(events):
        if complaint := of_event(show, event):
            return complaint
        if show is None or activity.speaks(show, event):
            return ""
    return ""


def _ends(path: str) -> list[bytes]:
    return [line.encode() for line in tail(path, 1 << 16).split("\n") if line.strip()][-RECENT:]


def _plain(path: str) -> list[str]:
    return [line.decode() for line in _ends(path) if not events_of(line)]


def _written(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
