"""Files in folders that a tool can write, opened so that whatever it puts there keeps nobody: a
supervisor that waits for a pipe enforces no limit and obeys no cancel.

Code of the supervisor: standard library only. `files.opening` is the same for everybody else.
"""

from __future__ import annotations

import errno
import os
import stat

FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def descriptor(path: str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file, through no link. OSError if anything else lies there."""
    fd = os.open(path, flags | FLAGS, 0o600)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "it is not a regular file", path)


def read(path: str, most: int) -> bytes:
    """The content of a regular file, ``most`` bytes of it at most. OSError if anything else lies
    there."""
    fd = descriptor(path)
    try:
        return os.pread(fd, most, 0)
    finally:
        os.close(fd)


def touch(path: str) -> None:
    """Have an empty file there, if nothing is. OSError if it cannot be made."""
    os.close(descriptor(path, os.O_WRONLY | os.O_CREAT))
