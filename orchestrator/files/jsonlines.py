"""Reading append-only files of JSON lines, byte-wise: a torn tail or a spoilt line costs that line only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from orchestrator.files import opening

LONGEST = 16 << 20  # bytes of one line; what is longer was not written by us


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The object on one line; None if the line is torn, is no object, or is longer than `LONGEST`."""
    if len(line) > LONGEST:
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read(path: str) -> tuple[list[dict[str, Any]], int]:
    """All objects in a file, and how many lines were bad.  A missing file is an empty one."""
    try:
        with opening.open_log(path) as file:
            data = file.read()
    except FileNotFoundError:
        return [], 0
    except opening.NotAFile:
        return [], 1
    return split(data)


def split(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """The objects in a piece of such a file, and how many of its lines were bad."""
    found, bad = [], 0
    for line in data.split(b"\n"):
        if not line.strip(b" \t\r\0"):
            continue
        value = parse_line(line)
        if value is None:
            bad += 1
        else:
            found.append(value)
    return found, bad


def backwards(path: str) -> Iterator[dict[str, Any]]:
    """The objects of a file from the last to the first, reading only as much as is asked for."""
    for line in lines_backwards(path):
        value = parse_line(line)
        if value is not None:
            yield value


def lines_backwards(path: str, block: int = 1 << 16) -> Iterator[bytes]:
    """The lines of a file from the last to the first, empty ones left out.

    A line longer than `LONGEST` is none of ours and is passed over.
    """
    try:
        opened = opening.open_log(path)
    except (FileNotFoundError, opening.NotAFile):
        return
    with opened as file:
        position = file.seek(0, 2)
        pieces: list[bytes] = []  # of the line whose beginning is still to come, the last one first
        held = 0
        while position > 0:
            step = min(block, position)
            position = file.seek(position - step)
            first, *rest = file.read(step).split(b"\n")
            if rest:
                yield from _whole(pieces, rest.pop(), held)
                pieces, held = [], 0
                yield from (line for line in reversed(rest) if line)
            held += len(first)
            if held <= LONGEST:
                pieces.append(first)
        yield from _whole(pieces, b"", held)


def _whole(pieces: list[bytes], begin: bytes, held: int) -> Iterator[bytes]:
    if held + len(begin) > LONGEST:
        return
    line = begin + b"".join(reversed(pieces))
    if line:
        yield line
