"""Whose temporary file it is, told by its name: ``<pid>-<PID namespace>.<random>``.

Containers that share a folder have equal pids, and see none of each other's processes: a pid alone
would take another process's file for a leftover, or for one's own. And a name that can be guessed
is one in whose place somebody has put a folder or a link: each is new.
"""

from __future__ import annotations

import os
import time
from functools import cache

STALE = 3600.0  # seconds after which a temporary file of another PID namespace is a leftover


_OURS = os.urandom(2).hex()  # of this process, whoever had its pid before


def fresh() -> str:
    """What the next temporary file is called by: a name that no other has, of any thread or
    process, and that nobody can foresee."""
    return f"{_own()}.{_OURS}{os.urandom(4).hex()}"


def _own() -> str:
    return f"{os.getpid()}-{namespace()}"


@cache
def namespace() -> str:
    """The PID namespace that our pids belong to; empty where the system does not say."""
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return ""


def abandoned(path: str, owner: str) -> bool:
    """Whether the process that made a temporary file is gone.

    Asked of the kernel; guessed by the file's age if the process belongs to another PID namespace.
    """
    who, _, which = owner.partition(".")
    if who == _own():
        return not which.startswith(_OURS)
    pid, _, home = who.partition("-")
    if home in ("", namespace()):
        return not (pid.isdecimal() and os.path.exists(f"/proc/{pid}"))
    try:
        return time.time() - os.lstat(path).st_mtime > STALE
    except FileNotFoundError:
        return False
