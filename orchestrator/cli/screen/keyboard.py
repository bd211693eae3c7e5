"""Keys typed into the pane: read in a thread of their own, so that neither the loop nor the screen
ever waits for them.

Only from the foreground: a process in the background that reads its terminal is stopped.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable

from orchestrator.cli.screen.hand import Key

TICK = 0.25  # seconds between looks at whether a question has been open for too long
ALONE = 0.05  # seconds after which an escape is the key, and not the beginning of another one
PASTE, PASTED = b"\x1b[200~", b"\x1b[201~"
PASTE_MOST = 1 << 16  # bytes of one paste
NAMES = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\t": "tab",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "backspace",
    b"\b": "backspace",
    b"\x05": "ctrl-e",
    b"\x15": "ctrl-u",
}


def decode(data: bytes, whole: bool = False) -> tuple[list[Key], bytes]:
    """The keys in what was read, and what may still be the beginning of one. ``whole``: nothing
    follows."""
    keys: list[Key] = []
    while data:
        if data.startswith(PASTE):
            end = data.find(PASTED)
            if end < 0 and not whole and len(data) < PASTE_MOST:
                return keys, data
            text = data[len(PASTE) : end if end >= 0 else None].decode("utf-8", "replace")
            keys.append(Key("paste", text.replace("\r\n", "\n").replace("\r", "\n")))
            data = data[end + len(PASTED) :] if end >= 0 else b""
        elif data.startswith(b"\x1b"):
            size = _escape(data)
            if not size and not whole:
                return keys, data
            name = NAMES.get(data[:size], "") if size > 1 else "esc"
            keys += [Key(name)] if name else []
            data = data[size or 1 :]
        else:
            size = _character(data[0])
            if len(data) < size and not whole:
                return keys, data
            raw, data = data[:size], data[size:]
            text = raw.decode("utf-8", "replace")
            if raw in NAMES:
                keys.append(Key(NAMES[raw]))
            elif text.isprintable():
                keys.append(Key(text, text))
    return keys, b""


def _escape(data: bytes) -> int:
    """How many bytes an escape sequence has; 0 if its end is not there yet."""
    if len(data) < 2:
        return 0
    if data[1:2] == b"O":
        return 3 if len(data) > 2 else 0
    if data[1:2] != b"[":
        return 1  # the key, and another one after it
    for place in range(2, min(len(data), 32)):
        if 0x40 <= data[place] <= 0x7E:
            return place + 1
    return 32 if len(data) >= 32 else 0


def _character(first: int) -> int:
    return 1 + sum(first >= least for least in (0xC0, 0xE0, 0xF0))


class Keyboard:
    """Reads a terminal until `close`. ``typed(keys)`` and ``tick()`` are called from its thread."""

    def __init__(
        self, fd: int, typed: Callable[[list[Key]], None], tick: Callable[[], None]
    ) -> None:
        self._fd, self._typed, self._tick = fd, typed, tick
        self._out, self._in = os.pipe2(os.O_CLOEXEC)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="keyboard", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        os.write(self._in, b".")
        self._thread.join(1.0)

    def _run(self) -> None:
        # Blocked, both give an error instead of a stopped process.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTTIN, signal.SIGTTOU))
        left = b""
        while not self._closing:
            try:
                ready, _, _ = select.select([self._fd, self._out], [], [], ALONE if left else TICK)
                if self._out in ready:
                    return
                data = b""
                if ready:
                    if os.tcgetpgrp(self._fd) != os.getpgrp():
                        select.select([self._out], [], [], TICK)
                        continue
                    data = os.read(self._fd, 1 << 14)
                    if not data:
                        return  # the terminal is gone
            except ValueError:
                return
            except OSError:  # in the background just now, or gone
                select.select([self._out], [], [], TICK)
                continue
            keys, left = decode(left + data, whole=not data)
            if keys:
                self._typed(keys)
            self._tick()


def of_terminal(screen: int) -> int | None:
    """The keyboard of the terminal that is written to; None if keys come from elsewhere."""
    try:
        fd = sys.stdin.fileno()
        if os.isatty(fd) and os.fstat(fd).st_rdev == os.fstat(screen).st_rdev:
            return fd
    except (OSError, ValueError, AttributeError):
        pass
    return None
