"""A line of what ``watch`` prints, fitted: columns on a terminal, ``key=value`` pairs in a pipe."""

from __future__ import annotations

import time
from collections.abc import Mapping

from orchestrator.cli.screen.console import SIGNS, Console
from orchestrator.files.text import fit, fit_middle, one_line, width
from orchestrator.model.units import timestamp
from orchestrator.records import dataclass

WHOLE = ("failed", "invalid", "problem", "review", "warning")  # told whole: a person has to act
MOST = 4  # rows that what is told whole takes
INSET = 21  # columns before an id: the time, the sign, the word


@dataclass(frozen=True, slots=True)
class Line:
    """One line about a task, a run, or another name. ``status`` gives its colour, its sign and,
    without a ``word``, its word; a pipe gets the ``facts`` instead of the text. ``below`` comes in
    a row of its own, ``spare`` at the end if there is room."""

    status: str
    id: str
    text: str
    facts: Mapping[str, str]
    more: str = ""
    word: str = ""
    below: str = ""
    spare: str = ""

    @property
    def name(self) -> str:
        """What it says it is about, in one word."""
        return self.word or self.status


def rows(line: Line, console: Console, now: float) -> list[str]:
    """The rows of a line told at ``now`` (seconds since the epoch)."""
    word, task_id = line.name, one_line(line.id)
    if not console.tty:
        pairs = " ".join(f"{key}={_quoted(value)}" for key, value in line.facts.items() if value)
        return [f"{timestamp(now)[:19]}Z {word:<9} {task_id or '-':<24} {pairs}".rstrip()]
    painted = console.paint(f"{word:<9}", SIGNS.get(line.status, ("", "", ""))[2])
    moment = time.strftime("%H:%M:%S", time.localtime(now))
    room, dots = max(20, console.width - INSET), "…" if console.unicode else "~"
    rest = " ".join(part for part in (line.text, line.more) if part)
    name = fit_middle(task_id, name_room(task_id, rest, room), dots)
    beside = max(10, room - width(name) - 1)
    rest += line.spare if width(rest + line.spare) <= beside else ""
    whole = line.status in WHOLE
    first, *further = told(rest, beside, room, dots) if whole else [cut(rest, beside, dots)]
    if line.below:
        further.append(cut(one_line(line.below), room, dots))
    head = f"{moment} {console.sign(line.status)} {painted} {name} {first}"
    return [head, *(" " * INSET + row for row in further)]


def name_room(name: str, rest: str, room: int) -> int:
    """Columns for an id before a text: a third of the room so that the lines stand below each
    other, and what is free."""
    column = min(34, max(16, room // 3))
    return max(column, min(width(name), room - width(rest) - 1))


def told(text: str, first: int, room: int, dots: str) -> list[str]:
    """A text in at most `MOST` rows, broken between words: the first has ``first`` cells, the
    further ones have ``room``."""
    lines, rest = [""], text.split(" ")
    for place, word in enumerate(rest):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and width(longer) > (first if len(lines) == 1 else room):
            if len(lines) == MOST:
                lines[-1] = " ".join([lines[-1], *rest[place:]])
                break
            longer = word
            lines.append("")
        lines[-1] = longer
    return [cut(line, room if place else first, dots) for place, line in enumerate(lines)]


def cut(text: str, cells: int, dots: str) -> str:
    return fit(text, cells, dots).rstrip()


def _quoted(value: str) -> str:
    if value and not any(char in value for char in ' "='):
        return value
    return '"' + value.replace('"', "'") + '"'
