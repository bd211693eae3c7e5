"""Finding the part of a log file that was written in some span of time, without reading the
rest."""

from __future__ import annotations

import os
from typing import IO

from orchestrator.files import jsonlines, opening

SMALL = 1 << 20  # bytes up to which a file is read as a whole
STEP = 1 << 16  # bytes within which a search ends
PIECE = 1 << 12  # bytes in which the end of a line mostly is


def between(path: str, since: str, until: str) -> bytes:
    """The lines of a file of events from one timestamp to another, and a few more; empty ones mean:
    from the beginning, to the end.

    A missing file is an empty one.
    """
    try:
        with opening.open_log(path) as file:
            size = os.fstat(file.fileno()).st_size
            small = size <= SMALL
            begin = 0 if small or not since else _place(file, size, since, unknown=True)
            end = size
            if until and not small:
                end = _place(file, size, until, unknown=False) + 2 * STEP
            file.seek(begin)
            return file.read(max(0, end - begin))
    except (FileNotFoundError, opening.NotAFile):
        return b""


def _place(file: IO[bytes], size: int, moment: str, unknown: bool) -> int:
    """The beginning of a line before which nothing is as late as the moment, found by halving; or,
    if a place after which no event is found is not to count as late (``unknown``), of one that is
    as late. So in doubt more is read and never less."""
    low, high = 0, size
    while high - low > STEP:
        middle = (low + high) // 2
        found = _moment_after(file, middle)
        if found < moment if found else not unknown:
            low = middle
        else:
            high = middle
    if unknown:
        return low if not low else _line_after(file, low) or low
    return _line_after(file, high) or size


def _moment_after(file: IO[bytes], place: int) -> str:
    """The timestamp of the first event that begins after this place; later than all if the file
    ends there, empty if none is found."""
    begin = _line_after(file, place)
    if begin is None:
        return ""
    file.seek(begin)
    for _ in range(20):
        line = file.readline(STEP)
        event = jsonlines.parse_line(line) if line else {"ts": "~"}
        if event is not None and event.get("ts"):
            return str(event["ts"])
    return ""


def _line_after(file: IO[bytes], place: int) -> int | None:
    """Where the next line begins; the end of the file if there is none, None if this one is longer
    than any of ours."""
    file.seek(place)
    skipped = 0
    while skipped <= jsonlines.LONGEST:
        data = file.read(STEP if skipped else PIECE)
        end = data.find(b"\n")
        if end >= 0 or not data:
            return place + skipped + end + 1
        skipped += len(data)
    return None
