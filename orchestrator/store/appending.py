"""Appending to a file that is known by its name: durable, never onto a torn line, never to a file
that is gone.

git and people replace files by a rename or an unlink, and a power cut leaves half a line, or NULs.
So whoever appends compares what it has opened with what the name leads to, before and after it
writes, and begins on a new line.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from orchestrator.files import opening
from orchestrator.store.atomic import sync_folder, write_all

TRIES = 20  # how often the file may be taken away while we write to it
LONGEST, PAUSE = 10.0, 0.002  # seconds: nobody appends for so long; and between two trials


def lock(fd: int, path: str) -> None:
    """Be the only one of ours that appends. OSError if somebody keeps the lock: it may be an agent,
    for as long as that runs."""
    end = time.monotonic() + LONGEST
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > end:
                why = "another process keeps it locked"
                raise OSError(error.errno, why, path) from None
        time.sleep(PAUSE)


def append(path: str, data: bytes, mode: int = 0o600) -> None:
    """Add whole lines to a file (made if it is missing); content and name survive a power cut when
    this returns.

    ``data`` ends with a line end. Several processes may do so at once. OSError if the disk refused,
    and then what was written of it is a torn line, which readers skip and the next call ends.
    """
    for _ in range(TRIES):
        fd = opening.descriptor(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode)
        try:
            lock(fd, path)
            if not is_named(fd, path):
                continue
            append_to(fd, path, data)
            if is_named(fd, path):
                return
        finally:
            os.close(fd)
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)


def append_to(fd: int, path: str, data: bytes) -> None:
    """The same by an open descriptor that nobody else appends to meanwhile; its name is made
    durable once."""
    fresh = os.fstat(fd).st_size == 0
    write_all(fd, line_end(fd) + data)
    os.fdatasync(fd)
    if fresh:
        sync_folder(os.path.dirname(path))


def line_end(fd: int) -> bytes:
    """What to write first: a line end if the last writer was cut off in the middle of a line."""
    size = os.fstat(fd).st_size
    return b"\n" if size and os.pread(fd, 1, size - 1) != b"\n" else b""


def is_named(fd: int, path: str) -> bool:
    """Whether the name still leads to this open file."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
