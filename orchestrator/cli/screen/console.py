"""How things look on a terminal, and how they look in a pipe."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import click

from orchestrator.files.text import clean, fit, fit_middle, hang, width
from orchestrator.model.units import show_duration, timestamp, when
from orchestrator.patterns import regex

SCHEMA_VERSION = 2
NARROWEST = 4  # cells of a column that gives way
LEAST_BESIDE = 44  # cells for the other columns of a table with commands
MOMENT = regex(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_COLOURS = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
    "dim": "2",
    "bold": "1",
}
# Sign, sign without Unicode, colour.  The word always stands beside it: never colour or sign alone.
SIGNS = {
    "running": ("▶", ">", "cyan"),
    "asks": ("?", "?", "yellow"),
    "retrying": ("↻", "~", "yellow"),
    "held": ("‖", "=", "dim"),
    "waiting": ("·", ".", ""),
    "done": ("✓", "+", "green"),
    "failed": ("✗", "x", "red"),
    "cancelled": ("⊘", "-", "yellow"),
    "review": ("?", "?", "yellow"),
    "invalid": ("!", "!", "red"),
    "archive": ("✓", "+", "dim"),
    "editing": ("✎", "e", ""),
    "missing": ("?", "?", "red"),
    "note": (" ", " ", "dim"),
    "problem": ("✗", "x", "red"),
    "ok": ("✓", "+", "green"),
    "warning": ("!", "!", "yellow"),
}
_WITHOUT_UNICODE = str.maketrans(
    {**{sign: plain for sign, plain, _ in SIGNS.values()}, "·": "-", "…": "...", "→": "->"}
)


class Console:
    """Decides once per process how to write: colours, signs, width."""

    def __init__(
        self, color: str = "auto", plain: bool = False, stream: TextIO | None = None
    ) -> None:
        self.stream = stream or sys.stdout
        self._terminal = self.stream  # what `width` is of, also while something is collected for it
        self.tty = self.stream.isatty() and not plain
        self.steers = self.tty and os.environ.get("TERM") not in (
            "dumb",
            None,
        )  # whether it understands sequences beside colours
        self.color = _wants_color(color, self.tty)
        encoding = (getattr(self.stream, "encoding", "") or "").lower().replace("-", "")
        self.unicode = encoding.startswith("utf")

    @property
    def width(self) -> int:
        """Columns of the terminal as it is now; 0 in a pipe, where nothing is cut."""
        return _columns(self._terminal) if self.tty else 0

    def paint(self, text: str, colour: str) -> str:
        if not (self.color and colour):
            return text
        return f"\x1b[{_COLOURS[colour]};{_SEAL}m{text}\x1b[0;{_SEAL}m"

    def link(self, path: str, text: str) -> str:
        """A path that a terminal can open (OSC 8); terminals that do not know it show the text
        alone."""
        if not self.steers:
            return text
        import socket  # only who shows a link pays for these
        from urllib.parse import quote

        target = f"file://{socket.gethostname()}{quote(path)}"
        return f"\x1b]8;id={_SEAL};{target}\x1b\\{text}\x1b]8;id={_SEAL};\x1b\\"

    def sign(self, status: str) -> str:
        """The sign of a status, coloured."""
        sign, plain, colour = SIGNS.get(status, ("·", ".", ""))
        return self.paint(sign if self.unicode else plain, colour)

    def word(self, status: str) -> str:
        return self.paint(status, SIGNS.get(status, ("", "", ""))[2])

    def out(self, text: str = "") -> None:
        """A line of data; what a value in it has of line ends begins no line of its own."""
        self.block(text.replace("\n", " "))

    def block(self, text: str) -> None:
        """Text that may have several lines, each of which may be as it is."""
        text = shown(text) if self.color or self.steers else clean(text).translate(_LINE_ENDS)
        line = text if self.unicode else text.translate(_WITHOUT_UNICODE)
        try:
            print(line, file=self.stream)
        except UnicodeEncodeError:
            print(line.encode("ascii", "replace").decode(), file=self.stream)

    def hang(self, head: str, text: str) -> None:
        """A line of prose; one that is too long for the terminal goes on below its text."""
        for line in hang(head, text, self.width):
            self.out(line)

    def json(self, kind: str, body: Mapping[str, Any]) -> None:
        """One document, for programs."""
        text = json.dumps(
            {"schema_version": SCHEMA_VERSION, "kind": kind, **body}, ensure_ascii=False, indent=2
        )
        for sign in "\x85\u2028\u2029":
            text = text.replace(sign, f"\\u{ord(sign):04x}")
        self.block(text)

    def documents(self, found: Sequence[tuple[str, Mapping[str, Any]]], several: bool) -> None:
        """What was asked for about one thing, as a document of its kind; about ``several``, in one
        document of them all."""
        for kind, body in found if not several else ():
            self.json(kind, body)
        if several:
            self.json("several", {"found": [{"kind": kind, **body} for kind, body in found]})

    def jsonl(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self.out(json.dumps(row, ensure_ascii=False))

    def cut(self, line: str) -> str:
        """A line cut to the terminal; whole in a pipe."""
        return fit(line, self.width).rstrip() if self.width and width(line) > self.width else line

    def clock(self, seconds: float) -> str:
        """A moment: the local time of day for people, RFC 3339 in a pipe."""
        if not self.tty:
            return timestamp(seconds)
        here = time.localtime(seconds)
        same_day = time.strftime("%F", here) == time.strftime("%F")
        return time.strftime("%H:%M:%S" if same_day else "%F %H:%M", here)

    def local(self, text: str) -> str:
        """A sentence with its moments as people read them: local time on a terminal, RFC 3339 in a
        pipe."""
        return MOMENT.sub(lambda found: self.clock(when(found[0])), text) if self.tty else text

    def ago(self, seconds: float, now: float) -> str:
        if not self.tty:
            return timestamp(seconds)
        return "just now" if now - seconds < 1 else f"{show_duration(now - seconds)} ago"

    def table(
        self, rows: Sequence[Sequence[str]], indent: str = "", commands: bool = False
    ) -> None:
        """Aligned columns on a terminal, tabs in a pipe. No row is wider than the terminal: the
        widest columns give way, an id in its middle. ``commands``: the last column is to be copied,
        so it stays whole, below its row if there is no room beside it."""
        if not rows:
            return
        if not self.tty:
            for row in rows:
                self.out("\t".join(cell.strip().replace("\t", " ") for cell in row))
            return
        last = len(rows[0]) - 1
        widths = [max(_visible(row[place]) for row in rows) for place in range(last + 1)]
        widths[:last] = [min(size, 44) for size in widths[:last]]
        room = self.width - len(indent) - 2 * last
        below = commands and room - widths[last] < LEAST_BESIDE
        if below:
            widths[last], room = 0, room + 2
        sizes = _giving_way(widths, room, last if commands else -1)
        for row in rows:
            cells = [_pad(cell, size) for cell, size in zip(row[:last], sizes[:last], strict=True)]
            if not below:
                fits = _visible(row[last]) <= sizes[last]
                cells.append(row[last] if fits or commands else fit(clean(row[last]), sizes[last]))
            self.out((indent + "  ".join(cells)).rstrip())
            if below and row[last]:
                self.out(f"{indent}    {row[last]}")


# What the program itself writes to steer a terminal, colours and links to files, bears a number that
# nobody outside this process can know. All else in a text came from outside.
_SEAL = str(int.from_bytes(os.urandom(8), "big"))
_OURS = regex(rf"\x1b\[([0-9]+);{_SEAL}m|\x1b\]8;id={_SEAL};((?:file://[!-~]*)?)\x1b\\")
_KIND = regex(r"(?:warning|note|error|hint): +")
_LINE_ENDS = str.maketrans(dict.fromkeys("\x85\u2028\u2029", " "))


def shown(text: str) -> str:
    """A text as it may go to a terminal, whoever made it: only our own colours and links steer it.

    Called where something is printed, here and in the pane's printer, so that no verb can forget
    it.
    """
    if text.isascii() and text.isprintable():
        return text
    parts, position = [], 0
    for match in _OURS.finditer(text):
        colour, target = match.groups()
        ours = f"\x1b]8;;{target}\x1b\\" if colour is None else f"\x1b[{colour}m"
        parts += [clean(text[position : match.start()]), ours]
        position = match.end()
    parts.append(clean(text[position:]))
    return "".join(parts).translate(_LINE_ENDS)


def _visible(text: str) -> int:
    return width(clean(text))


def _pad(text: str, size: int) -> str:
    visible = _visible(text)
    if visible > size:
        plain = clean(text)
        return (fit if " " in plain[2:].strip() else fit_middle)(plain, size)
    return text + " " * (size - visible)


def _giving_way(widths: Sequence[int], room: int, whole: int) -> list[int]:
    """Sizes of columns that fit into ``room`` cells together: the widest give way first, the one
    numbered ``whole`` never."""
    sizes = list(widths)
    while sum(sizes) > room:
        widest = max(
            (place for place in range(len(sizes)) if place != whole), key=sizes.__getitem__
        )
        if sizes[widest] <= NARROWEST:
            break
        sizes[widest] -= 1
    return sizes


def _columns(stream: TextIO) -> int:
    try:
        return int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        pass
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _wants_color(choice: str, tty: bool) -> bool:
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR") or os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return tty and os.environ.get("TERM") not in ("dumb", None)


def say(text: str) -> None:
    """Words for the person at the terminal: standard error, so that standard output stays data.
    With ``-q`` only errors and warnings."""
    columns = _columns(sys.stderr) if sys.stderr.isatty() else 0
    kind = _KIND.match(text)
    head = kind[0] if kind else ""
    ctx = click.get_current_context(silent=True)
    if ctx is not None and getattr(ctx.find_root().obj, "quiet", False):
        if not head or head.startswith("note"):
            return
    lines = hang(head, text[len(head) :].replace("\n", " "), columns)
    click.echo("\n".join(shown(line) for line in lines), err=True)


def cost(usd: float | None) -> str:
    """Dollars and cents; less than half a cent is not nothing."""
    if usd is None:
        return ""
    return "<$0.01" if 0 < usd < 0.005 else f"${usd:.2f}"


def day_cost(usd: float, budget: float | None) -> str:
    """What a day has cost: ``$5.81 of $20``, or ``$5.81 today`` without a budget."""
    if budget is None:
        return f"{cost(usd)} today"
    whole = f"${budget:.0f}" if budget == int(budget) else cost(budget)
    return f"{cost(usd)} of {whole}"


def cost_each(usd: float | None, count: int) -> str:
    """Dollars for one of so many, with as many places as it takes to see that it is not nothing."""
    if not usd or not count:
        return ""
    each = usd / count
    if each < 0.0001:
        return "<$0.0001"
    return f"${each:.2f}" if each >= 0.05 else f"${each:.2g}"


def tokens(count: int) -> str:
    """``48.1k``."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)
