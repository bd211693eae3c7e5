"""What a file is known by, whatever its name and folder."""

from __future__ import annotations

import os
import stat
import struct
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.libraries import later

if TYPE_CHECKING:
    import ctypes
else:
    ctypes = later("ctypes")

_AT_FDCWD, _NOFOLLOW, _STATX_BTIME = -100, 0x100, 0x800
Identity = tuple[int, int]


@cache
def _statx() -> Any:
    try:
        function = ctypes.CDLL(None, use_errno=True).statx
    except (OSError, AttributeError):
        return None
    function.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_char_p,
    )
    return function


def born(path: str) -> int | None:
    """When this inode came into being, in ns; None if the file system does not say.

    An inode's number is given to another file once it is free (git does that within milliseconds);
    together with its birth it names one file for ever, through every rename and edit in place.
    """
    function = _statx()
    if function is None:
        return None
    found = ctypes.create_string_buffer(256)
    if function(_AT_FDCWD, os.fsencode(path), _NOFOLLOW, _STATX_BTIME, found) != 0:
        return None
    (mask,) = struct.unpack_from("I", found, 0)
    seconds, nanoseconds = struct.unpack_from("qI", found, 80)
    return seconds * 10**9 + nanoseconds if mask & _STATX_BTIME else None


def identity_of(path: str) -> Identity:
    """Inode and birth of a file (never of what a link leads to). Where no births are kept, only an
    untouched file is known again: then it is the inode and the time of the last write, negative."""
    info = os.lstat(path)
    birth = born(path)
    return info.st_ino, -info.st_mtime_ns if birth is None else birth


def is_file(path: str, inode: int, birth: int | None) -> bool:
    """Whether it is this very file, and none that was given the number of its inode since. Without
    a birth that is not known."""
    try:
        info = os.lstat(path)
    except OSError:
        return False
    same = info.st_ino == inode and stat.S_ISREG(info.st_mode)
    return same and (birth is None or born(path) in (birth, None))


def number_of(inode: int, birth: int | None) -> int:
    """Both as one number, to be compared and nothing else."""
    return inode ^ ((birth or 0) << 64)
