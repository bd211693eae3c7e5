"""Printing without ever waiting for the terminal: lines that scroll into its history, and a footer
that stays below them.

Ctrl-S, a slow pipe or a full one block whoever writes; here that is a thread of its own, and what
it cannot print is kept, up to `KEPT` lines, while the work goes on.

The cursor rests on the footer's first cell. So whatever is below it can be erased in one step, and
a terminal that becomes smaller takes away lines of the footer, not of the history. While the footer
is written nothing wraps: tmux changes its own size up to a quarter of a second before it tells us.
"""

from __future__ import annotations

import os
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

from orchestrator.cli.screen.console import shown
from orchestrator.files.text import one_line
from orchestrator.records import dataclass

KEPT = 10_000  # lines; of more than that, the oldest are left out
REPAINT = 0.5  # seconds between looks at what the footer has to say
BELL = "\a"
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"
PASTE_ON, PASTE_OFF = b"\x1b[?2004h", b"\x1b[?2004l"  # pasted text comes between marks of its own


@dataclass(frozen=True, slots=True)
class Footer:
    """Rows, none wider than the terminal, and the title of its window."""

    rows: tuple[str, ...] = ()
    title: str = ""


class Printer:
    """Writes lines to a stream, in order, from a thread. ``footer(columns, rows)`` is asked from
    that thread what stays below."""

    def __init__(
        self,
        stream: TextIO,
        footer: Callable[[int, int], Footer] | None = None,
        keys: bool = False,
    ) -> None:
        self._stream, self._footer, self._keys = stream, footer, keys
        self._fd = stream.fileno()
        self._lines: deque[str] = deque()
        self._left_out = 0
        self._bell = False
        self._closing = False
        self._whole = True  # whether the whole footer has to be drawn
        self._shown = Footer()
        self._size = (0, 0)
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="printer", daemon=True)
        self._lent = False  # somebody else writes to the terminal
        self._gone = False  # and the footer is off the screen
        self._poked = False
        self._drawn = 0  # footers that were looked at
        self._modes: list[Any] | None = None
        if footer is not None:
            self._take()
        self._thread.start()

    def line(self, text: str, bell: bool = False) -> None:
        """Print a line soon."""
        with self._condition:
            if len(self._lines) >= KEPT:
                self._lines.popleft()
                self._left_out += 1
            self._lines.append(text)
            self._bell = self._bell or bell
            self._condition.notify()

    def redraw(self) -> None:
        """Others have written to the terminal: draw the footer where the cursor is now."""
        with self._condition:
            if self._lent:
                return
            if self._footer is not None:
                self._take()
            self._whole = True
            self._condition.notify_all()

    def poke(self) -> None:
        """Look at once at what the footer has to say."""
        with self._condition:
            self._poked = True
            self._condition.notify_all()

    def shown(self, patience: float = 1.0) -> None:
        """Wait until what was known when this is called is on the screen."""
        with self._condition:
            wanted = self._drawn + 2  # one may be on its way that has not seen it
            self._poked = True
            self._condition.notify_all()
            end = time.monotonic() + patience
            while self._drawn < wanted and not self._closing and time.monotonic() < end:
                self._poked = True
                self._condition.notify_all()
                self._condition.wait(0.02)

    def lend(self) -> None:
        """Take the footer away and give the terminal to another program until `redraw_after_loan`;
        lines are kept."""
        with self._condition:
            self._lent = True
            self._poked = True
            self._condition.notify_all()
            end = time.monotonic() + 1.0
            while not self._gone and not self._closing and time.monotonic() < end:
                self._condition.wait(0.05)
        self.give_back()

    def redraw_after_loan(self) -> None:
        """The other program has ended: what happened meanwhile follows, and the footer."""
        with self._condition:
            self._lent, self._gone, self._shown = False, False, Footer()
        self.redraw()

    def give_back(self) -> None:
        """Let the terminal show typed keys again, because the shell has it now."""
        if self._modes is not None:
            try:
                termios.tcsetattr(self._fd, termios.TCSANOW, self._modes)
                if self._keys:
                    self._write(PASTE_OFF)
            except (OSError, termios.error):
                pass

    def _take(self) -> None:
        """Have the terminal show no typed keys, and give each at once where they are read."""
        modes = _without_echo(self._fd, self._keys)
        self._modes = self._modes or modes
        if modes is not None and self._keys:
            try:
                self._write(PASTE_ON)
            except OSError:
                pass

    def close(self, patience: float = 2.0) -> None:
        """Print what is left, without the footer; a terminal that stands still is waited for no
        longer than ``patience`` seconds."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(patience)
        self.give_back()

    def _run(self) -> None:
        while True:
            with self._condition:
                while self._lent and not self._closing and self._gone:
                    self._condition.wait(REPAINT)
                if not (self._lines or self._closing or self._whole or self._poked):
                    self._condition.wait(REPAINT if self._footer is not None else None)
                self._poked = False
                if self._lent and not self._closing:
                    away = self._painted([], True, True)
                    self._put(away, False)
                    self._gone = True
                    self._condition.notify_all()
                    continue
                lines = [f"... {self._left_out} lines left out"] if self._left_out else []
                lines += map(shown, self._lines)
                closing, whole, bell = self._closing, self._whole, self._bell
                self._lines.clear()
                self._left_out, self._whole, self._bell = 0, False, False
            if self._footer is None:
                data = "".join(f"{line}\n" for line in lines)
            else:
                data = self._painted(lines, closing, whole)
            self._put(data, bell)
            with self._condition:
                self._drawn += 1
                self._condition.notify_all()
            if closing:
                return

    def _put(self, data: str, bell: bool) -> None:
        if not data:
            return
        text = data + (BELL if bell else "")
        try:
            self._write(text.encode(self._stream.encoding or "utf-8", "replace"))
        except OSError:  # the terminal is gone (closed pane, broken pipe): the work goes on
            pass

    def _painted(self, lines: list[str], closing: bool, whole: bool) -> str:
        """What has to be written so that these lines stand above the footer as it is now."""
        assert self._footer is not None
        size = _size(self._fd)
        try:
            footer = Footer(title=self._shown.title) if closing else self._safe(*size)
        except (
            Exception
        ):  # a file that vanished, a bug: the footer stays as it was, and lines go on being printed
            footer = self._shown
        before, self._shown = self._shown, footer
        moved, self._size = size != self._size, size
        data = ""
        if footer.title != before.title:
            data += ("" if before.title else "\x1b[22;2t") + f"\x1b]2;{footer.title}\x1b\\"
        if closing and footer.title:
            data += "\x1b]2;\x1b\\\x1b[23;2t"
        if lines or moved or whole or len(footer.rows) != len(before.rows):
            up = f"\x1b[{len(footer.rows) - 1}A" if len(footer.rows) > 1 else ""
            return (
                data
                + "\r\x1b[J"
                + "".join(f"{line}\r\n" for line in lines)
                + NO_WRAP
                + "\r\n".join(footer.rows)
                + up
                + "\r"
                + WRAP
            )
        for place, (old, new) in enumerate(zip(before.rows, footer.rows, strict=True)):
            if old != new:
                down, up = (f"\x1b[{place}B", f"\x1b[{place}A") if place else ("", "")
                data += f"{NO_WRAP}{down}\r{new}\x1b[K{up}\r{WRAP}"
        return data

    def _safe(self, columns: int, rows: int) -> Footer:
        """The footer as it may go to a terminal."""
        assert self._footer is not None
        footer = self._footer(columns, rows)
        return Footer(tuple(map(shown, footer.rows)), one_line(footer.title))

    def _write(self, data: bytes) -> None:
        # Past the stream's buffer: a lock held on it by a thread that stands still would stop the
        # program's exit.
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def _size(fd: int) -> tuple[int, int]:
    """Columns and rows."""
    try:
        size = os.get_terminal_size(fd)
        return size.columns or 80, size.lines or 24
    except OSError:
        return 80, 24


def _without_echo(fd: int, keys: bool = False) -> list[Any] | None:
    """Have the terminal show no typed keys, which would move the cursor; its modes before, None if
    they cannot be set.

    Only from the foreground: a process in the background that tries is stopped.
    """
    try:
        if os.tcgetpgrp(fd) != os.getpgrp():
            return None
        modes = termios.tcgetattr(fd)
        quiet = list(modes)
        quiet[3] &= ~termios.ECHO
        if keys:  # Ctrl-C and Ctrl-Z stay signals
            quiet[3] &= ~termios.ICANON
            quiet[6] = [*quiet[6]]
            quiet[6][termios.VMIN], quiet[6][termios.VTIME] = 1, 0
        termios.tcsetattr(fd, termios.TCSANOW, quiet)
        return modes
    except (OSError, termios.error):
        return None
