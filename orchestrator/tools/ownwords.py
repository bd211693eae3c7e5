"""What a program says of its own failure, where it has no event for it: lines of its standard
error, and plain lines among the events on its standard output. What its agent says, and what a
command gave back, are events: they are never asked."""

from __future__ import annotations

import os
import re

from orchestrator.files.text import clean, last_lines, tail
from orchestrator.patterns import regex

LINES = 40  # of each log's end
FOLLOWING = 3  # lines after one that names an error which belong to it
UNMARKED = 5  # last lines of standard error that are asked if none names an error

# A line that names an error.
_MARK = regex(
    r"^\W{0,6}(?:(?:error|fatal|failed|failure|panic|exception|critical|uncaught)\b|[\w.]*(?:Error|Exception|Failure)\b(?=\s*[:(\[]|\s*$)|API"
    r" error|litellm\.)"
    r"|^.{0,60}?(?-i:\bERROR\b|\bFATAL\b)|^[\w./-]{1,40}: (?:error|fatal)\b",
    re.IGNORECASE,
)
# Lines that explain nothing to a person: stack frames, brackets, keys without a value.
_NOISE = regex(
    r"^\s*(?:at\s.+|File \".*|[\w.-]+:\s*|[\s{}\[\](),;^~|=*-]*|Node\.js v.*|\.\.\. \d+"
    r" .*|Traceback .*|note: .*backtrace.*)$"
)
_EVENT = regex(r"^\s*[{\[]\"?")


def words(run_dir: str, events: bool) -> str:
    """What the program says of its own failure; ``events``: whether its standard output is made of
    JSON events."""
    errors = last_lines(f"{run_dir}/stderr.log", LINES)
    marked = [*_marked(errors), *_marked(plain(run_dir) if events else [])]
    return "\n".join(marked or errors[-UNMARKED:])


def plain(run_dir: str) -> list[str]:
    """The last lines of standard output that are no JSON."""
    lines = [
        clean(line.rstrip("\r").rsplit("\r", 1)[-1]).rstrip()
        for line in tail(f"{run_dir}/stdout.log").split("\n")[1:]
    ]
    whole = (
        os.path.exists(f"{run_dir}/stdout.log") and os.path.getsize(f"{run_dir}/stdout.log") <= 8192
    )
    if whole:
        lines = last_lines(f"{run_dir}/stdout.log", LINES)
    return [line for line in lines if line.strip() and not _EVENT.match(line)][-LINES:]


def headline(lines: list[str]) -> str:
    """The line that says what went wrong: the last one that names an error, else the last that is
    more than decoration."""
    named = [line for line in lines if _MARK.match(line) and not _NOISE.match(line)]
    outer = [line for line in named if not line[:1].isspace()]
    other = [line for line in lines if not _NOISE.match(line)]
    return next((found[-1] for found in (outer, named, other, lines) if found), "")


def _marked(lines: list[str]) -> list[str]:
    wanted: dict[int, str] = {}
    for place, line in enumerate(lines):
        if _MARK.match(line):
            wanted |= dict(enumerate(lines[place : place + 1 + FOLLOWING], place))
    return [wanted[place] for place in sorted(wanted)]
