"""The client's side of an interactive attempt: this terminal becomes the tool's."""

from __future__ import annotations

import os
import select
import socket
import stat
import struct
import sys
import termios
import tty

from orchestrator.execution.terminal import NAME

LEAVE = b"\x1c"  # Ctrl-\
LOOK = 0.2  # seconds between looks at the size of this terminal
# A tool that was killed leaves the terminal as it used it: the cursor shown, no mouse, no bracketed
# paste, plain colours.
CALM = b"\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?1l\x1b[<u\x1b[0m"
ALTERNATE = b"\x1b[?1049"


def has_terminal() -> bool:
    return os.isatty(sys.stdin.fileno()) and os.isatty(sys.stdout.fileno())


def is_open(folder: str) -> bool:
    """Whether an attempt with this log folder runs on a terminal."""
    try:
        return stat.S_ISSOCK(os.lstat(f"{folder}/{NAME}").st_mode)
    except OSError:
        return False


def connect(folder: str) -> socket.socket:
    """The socket of an attempt; OSError if nobody answers. Through a descriptor: its path may be
    longer than an address."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{fd}/{NAME}")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(fd)
    return connection


def attach(folder: str, may_leave: bool = True) -> bool:
    """Be the terminal of an attempt until it ends (True) or until Ctrl-\\ leaves it (False)."""
    connection = connect(folder)
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    before = termios.tcgetattr(keyboard)
    full_screen = False
    try:
        tty.setraw(keyboard, termios.TCSADRAIN)  # what was typed ahead is meant for the tool
        size = None
        while True:
            now = os.get_terminal_size(screen)
            if now != size:
                size = now
                connection.sendall(
                    b"s" + (4).to_bytes(2, "big") + struct.pack(">HH", size.lines, size.columns)
                )
            ready, _, _ = select.select([connection, keyboard], [], [], LOOK)
            if connection in ready:
                data = connection.recv(1 << 16)
                if not data:
                    return True
                at = data.rfind(ALTERNATE)
                full_screen = data[at + len(ALTERNATE) :][:1] == b"h" if at >= 0 else full_screen
                _write(screen, data)
            if keyboard in ready:
                typed = os.read(keyboard, 1 << 12)
                if not typed or (may_leave and LEAVE in typed):
                    return False
                connection.sendall(b"i" + len(typed).to_bytes(2, "big") + typed)
    except (ConnectionError, BrokenPipeError):
        return True
    finally:
        connection.close()
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        _write(screen, CALM + (ALTERNATE + b"l" if full_screen else b"") + b"\r\n")


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
