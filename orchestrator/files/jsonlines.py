"""Reading append-only files of JSON lines, byte-wise: a torn tail or a spoilt line costs that line only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The object on one line; None if the line is torn or is no object."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read(path: str) -> tuple[list[dict[str, Any]], int]:
    """All objects in a file, and how many lines were bad.  A missing file is an empty one."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return [], 0
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


def backwards(path: str, block: int = 1 << 16) -> Iterator[dict[str, Any]]:
    """The objects of a file from the last to the first, reading only as much as is asked for."""
    with open(path, "rb") as file:
        position = file.seek(0, 2)
        tail = b""
        while position > 0:
            step = min(block, position)
            position = file.seek(position - step)
            tail = file.read(step) + tail
            lines = tail.split(b"\n")
            tail = lines[0]
            for line in reversed(lines[1:]):
                value = parse_line(line) if line else None
                if value is not None:
                    yield value
        value = parse_line(tail) if tail else None
        if value is not None:
            yield value
