"""Printing without ever waiting for the terminal.

Ctrl-S, a slow pipe or a full one block whoever writes; here that is a thread of its own, and what it cannot print is
kept, up to `KEPT` lines, while the work goes on.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TextIO

KEPT = 10_000  # lines; of more than that, the oldest are left out


class Printer:
    """Writes lines to a stream, in order, from a thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fd = stream.fileno()
        self._lines: deque[str] = deque()
        self._left_out = 0
        self._closing = False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="printer", daemon=True)
        self._thread.start()

    def line(self, text: str) -> None:
        """Print a line soon."""
        with self._condition:
            if len(self._lines) >= KEPT:
                self._lines.popleft()
                self._left_out += 1
            self._lines.append(text)
            self._condition.notify()

    def close(self, patience: float = 2.0) -> None:
        """Print what is left; a terminal that stands still is waited for no longer than ``patience`` seconds."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(patience)

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._lines and not self._closing:
                    self._condition.wait()
                lines = [f"... {self._left_out} lines left out"] if self._left_out else []
                lines += self._lines
                self._lines.clear()
                self._left_out = 0
            if not lines:
                return
            try:
                self._write(("\n".join(lines) + "\n").encode(self._stream.encoding or "utf-8", "replace"))
            except OSError:  # the terminal is gone (closed pane, broken pipe): the work goes on
                pass

    def _write(self, data: bytes) -> None:
        # Past the stream's buffer: a lock held on it by a thread that stands still would stop the program's exit.
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view):]
