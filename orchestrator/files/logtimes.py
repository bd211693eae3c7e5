"""Finding the part of a log file that was written in some span of time, without reading the rest."""

from __future__ import annotations

import os
from typing import IO

from orchestrator.files import jsonlines, opening

SMALL = 1 << 20  # bytes up to which a file is read as a whole
STEP = 1 << 16  # bytes within which a search ends


def between(path: str, since: str, until: str) -> bytes:
    """The lines of a file of events from one timestamp to another, and a few more; empty ones mean: from the beginning, to the end.

    A missing file is an empty one.
    """
    try:
        with opening.open_log(path) as file:
            size = os.fstat(file.fileno()).st_size
            small = size <= SMALL
            begin = 0 if small or not since else _place(file, size, since)
            end = size if small or not until else _place(file, size, until) + 2 * STEP
            file.seek(begin)
            return file.read(max(0, end - begin))
    except (FileNotFoundError, opening.NotAFile):
        return b""


def _place(file: IO[bytes], size: int, moment: str) -> int:
    """The beginning of a line before which nothing is as late as the moment, found by halving."""
    low, high = 0, size
    while high - low > STEP:
        middle = (low + high) // 2
        if _moment_after(file, middle) < moment:
            low = middle
        else:
            high = middle
    file.seek(low)
    return low if not low else low + len(file.readline())


def _moment_after(file: IO[bytes], place: int) -> str:
    """The timestamp of the first event that begins after this place; later than all if there is none."""
    file.seek(place)
    file.readline()
    for _ in range(20):
        line = file.readline(STEP)
        event = jsonlines.parse_line(line) if line else {"ts": "~"}
        if event is not None and event.get("ts"):
            return str(event["ts"])
    return "~"
