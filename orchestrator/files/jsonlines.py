"""Reading append-only files of JSON lines, byte-wise: a torn tail or a spoilt line costs that line
only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from math import isfinite
from typing import Any

from orchestrator.files import opening
from orchestrator.patterns import regex

_HUGE = regex(r"[0-9]{300}")
LONGEST = 16 << 20  # bytes of one line; what is longer was not written by us
MANY = 10_000  # lines of a journal that are read: far more than a task ever has


def _integer(text: str) -> float | None:
    """A whole number, as one that can be calculated with: Python has no limit, and where a float is
    wanted that is an error."""
    return int(text) if len(text) < 300 else _float(text)


def _float(text: str) -> float | None:
    """None for what is infinite or no number: JSON knows neither, so it could not be told again."""
    number = float(text)
    return number if isfinite(number) else None


_PLAIN = json.JSONDecoder(parse_float=_float, parse_constant=_float)
_BOUNDED = json.JSONDecoder(parse_float=_float, parse_constant=_float, parse_int=_integer)


def decoder(text: str) -> json.JSONDecoder:
    """What reads JSON that somebody else wrote."""
    return _BOUNDED if _HUGE.search(text) else _PLAIN


def loads(raw: bytes) -> Any:
    """The value in JSON that somebody else wrote, or could have.  Raises ValueError."""
    text = raw.decode(json.detect_encoding(raw), "surrogatepass")
    try:
        return decoder(text).decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The object on one line; None if the line is torn, is no object, or is longer than
    `LONGEST`."""
    if len(line) > LONGEST:
        return None
    try:
        value = loads(line)
    except ValueError:
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


def read_ends(path: str) -> tuple[list[dict[str, Any]], int]:
    """`read`, of a journal: of one that is longer than any of ours what its two ends say."""
    try:
        with opening.open_file(path) as file:
            return split_ends(file.fileno())
    except FileNotFoundError:
        return [], 0
    except opening.NotAFile:
        return [], 1


def split_ends(fd: int) -> tuple[list[dict[str, Any]], int]:
    """`split`, of a journal: of one with more than `MANY` lines the first and the last ones.

    An attempt may append to its own journal as fast as the disk takes it. The claim is at the
    beginning, and how the attempt ended is at the end.
    """
    size, half = os.fstat(fd).st_size, opening.MOST // 2
    data = os.pread(fd, min(size, half), 0)
    if size > half:
        gap = b"\n" if size > 2 * half else b""  # else two torn lines could read as one
        data += gap + os.pread(fd, half, max(half, size - half))
    if data.count(b"\n") <= MANY:
        return split(data)
    lines = data.split(b"\n")
    found, bad = split(b"\n".join(lines[: MANY // 2] + lines[-MANY // 2 :]))
    return found, bad + len(lines) - MANY


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
