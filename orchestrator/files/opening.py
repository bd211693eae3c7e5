"""The one way to open anything below ``work/`` for reading.

Whoever can write there can put a pipe, a device, a link or a file without an end where a file is
expected. Here nothing is followed, nothing blocks, and nothing but a regular file is opened;
`read_bytes` has a limit as well. A test forbids any other way (tests/test_architecture.py).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

PART = 1 << 16  # bytes of one step of reading
MOST = 64 << 20  # bytes that are read at once, unless the caller sets another limit
FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class NotAFile(OSError):
    """What lies there is no regular file; ``strerror`` says what is wrong. It is never the
    machine's fault."""


class TooLarge(NotAFile):
    """It is larger than what is read of such a file."""


class Denied(NotAFile, PermissionError):
    """Its mode, its owner or an attribute keeps us out: that concerns this file, as if it were
    none."""


def lies(path: str) -> bool:
    """Whether anything has this name, whatever it is: as `os.path.lexists`, at half the cost where
    nothing has."""
    return os.access(path, os.F_OK, follow_symlinks=False)


def descriptor(path: str, flags: int = os.O_RDONLY, mode: int = 0o644) -> int:
    """A descriptor of a regular file; ``mode`` counts if the flags create it. Raises `NotAFile`, or
    OSError if it cannot be opened."""
    try:
        fd = os.open(path, flags | FLAGS, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotAFile(errno.ELOOP, "it is a symbolic link", path) from None
        if error.errno in (errno.ENXIO, errno.EISDIR, errno.ENODEV):
            raise NotAFile(error.errno, "it is not a regular file", path) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise Denied(error.errno, error.strerror, path) from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotAFile(errno.EINVAL, "it is not a regular file", path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_file(path: str) -> BinaryIO:
    """A regular file, open for reading bytes; raises as `descriptor`."""
    return os.fdopen(descriptor(path), "rb")


def open_log(path: str) -> BinaryIO:
    """`open_file`, of a file that is only ever appended to and is read as a whole: one that is
    mostly a hole is none of ours."""
    file = open_file(path)
    size = os.fstat(file.fileno()).st_size
    if size > MOST and _written(file.fileno(), size // 2) < size // 2:
        file.close()
        raise NotAFile(errno.EFBIG, "most of it is a hole", path)
    file.seek(0)
    return file


def _written(fd: int, enough: int) -> int:
    """How many bytes of a file are no holes; no more than ``enough`` are counted."""
    total = place = 0
    while total < enough:
        try:
            begin = os.lseek(fd, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing comes after this
                return total
            raise
        place = os.lseek(fd, begin, os.SEEK_HOLE)
        total += place - begin
    return total


def read_bytes(path: str, most: int = MOST) -> bytes:
    """The whole content of a regular file; `TooLarge` if it is more than ``most`` bytes; else
    raises as `descriptor`."""
    data = bytearray()
    with open_file(path) as file:  # `read` takes memory for all that it may read
        while part := file.read(min(most + 1 - len(data), PART)):
            data += part
    if len(data) > most:
        raise TooLarge(errno.EFBIG, f"it is larger than {most >> 10} KiB", path)
    return bytes(data)


def read_text(path: str, most: int = MOST) -> str:
    """`read_bytes` as text; what is no UTF-8 shows as U+FFFD."""
    return read_bytes(path, most).decode("utf-8", "replace")


@contextmanager
def folder_below(base: str, *names: str) -> Iterator[str]:
    """A path that leads to ``base/name/...`` and nowhere else while this lasts, whatever is put
    into its place meanwhile.

    No name may be a link: `NotAFile`.  FileNotFoundError if there is no such folder.
    """
    # By their paths alone, for which a folder that cannot be listed is good enough.
    fd = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            try:
                inner = os.open(name, os.O_PATH | os.O_DIRECTORY | FLAGS, dir_fd=fd)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise NotAFile(error.errno, "it is not a real folder", name) from None
                raise
            os.close(fd)
            fd = inner
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def is_folder(path: str) -> bool:
    """Whether a folder of its own lies there, and no link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
