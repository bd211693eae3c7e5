"""Whether somebody is still at a file: an editor that says so by a file beside it, or a program
that can write to it."""

from __future__ import annotations

import os
import signal
import threading

from orchestrator.files import opening
from orchestrator.files.requests import Unreadable, read

EDITOR, WRITTEN = "open in an editor", "being written"


def in_editor(path: str) -> str:
    """`EDITOR` if vim, nano or Emacs has the file open, by its swap or lock file; empty if not."""
    folder, name = os.path.split(path)
    beside = (f"{folder}/.{name}.swp", f"{folder}/.#{name}")
    return EDITOR if any(opening.lies(mark) for mark in beside) else ""


def held(path: str) -> str:
    """`EDITOR` or `WRITTEN` while somebody is at the file; empty if nobody is, or it cannot be
    read."""
    return in_editor(path) or (WRITTEN if being_written(path) else "")


def being_written(path: str) -> bool:
    """Whether a program has the file open for writing."""
    if not may_lease():
        return False
    try:
        return read(path, leased=True).being_written
    except (OSError, Unreadable):
        return False


def may_lease() -> bool:
    """Whether the kernel's word that a lease is broken, SIGIO, would not end this process."""
    if signal.getsignal(signal.SIGIO) == signal.SIG_IGN:
        return True
    if threading.current_thread() is not threading.main_thread():
        return False
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    return True
