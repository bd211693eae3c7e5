"""What an attempt left to the watcher: a tool that kills its supervisor becomes an orphan, and so
our child.

The watcher is a child subreaper, as every supervisor is. Its own children are supervisors and
hooks, which begin a session of their own and are named here, and short commands such as git, which
stay in the watcher's session. What else is a child of ours, in another session, is an orphan of an
attempt. Attempts that an earlier watcher started are not covered: their supervisors are no children
of ours.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from orchestrator.execution.descendants import become_subreaper, descendants

# seconds by which a process may seem older than it is: start times are told in ticks, rounded down
TICK = 0.1
PATIENCE = 5.0  # seconds for which orphans are looked for and killed
LOOKS, PAUSE = 4, 0.03  # so many looks in a row, so many seconds apart, must find nothing
_lock = threading.Lock()
_ours: set[int] = set()  # sessions that we began: pids of supervisors and hooks


def own(start: Callable[[], Any]) -> Any:
    """Start a process (``start`` returns its Popen) whose session is not an attempt's."""
    with _lock:
        process = start()
        _ours.add(process.pid)
    return process


def know(pid: int) -> None:
    """A child of ours that we did not start ourselves: a supervisor that was forked for us."""
    with _lock:
        _ours.add(pid)


def adopt_all() -> bool:
    """From now on orphans of what we start become our children; whether the system allows that."""
    return become_subreaper()


def bury(session: int) -> None:
    """Collect what has ended in a session of ours and was never known: children of a warm process
    that was killed."""
    with _lock:
        known = set(_ours)
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) not in known and (facts := _facts(int(name))) is not None:
            if facts[:2] == (os.getpid(), session):
                _reap(int(name))


def bury_rest() -> None:
    """Collect what has ended in a session of a command of ours, and whose parent is gone: what a
    hook or the setup of a tree had in the background, and the first process of its sandbox."""
    for pid in found(0.0):
        try:
            leads = os.getsid(pid) == pid  # somebody waits for it
        except OSError:
            continue
        if not leads:
            _reap(pid)


def found(since: float) -> list[int]:
    """Pids of orphans that began after ``since`` (seconds since the boot)."""
    with _lock:
        ours = set(_ours)
    result = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and (facts := _facts(int(name))) is not None:
            parent, session, began = facts
            foreign = session != os.getsid(0) and session not in ours and int(name) not in ours
            if parent == os.getpid() and foreign and began >= since:
                result.append(int(name))
    return result


def end(since: float, patience: float = PATIENCE) -> int:
    """Kill every orphan that began after ``since``, and what is below it; how many were found."""
    seen: set[int] = set()
    until = time.monotonic() + patience
    empty = 0
    while empty < LOOKS and time.monotonic() < until:
        pids = found(since)
        # A supervisor's socket ends before its children are handed to us: one look that finds
        # nothing proves nothing.
        empty = 0 if pids else empty + 1
        seen.update(pids)
        for pid in pids:
            _kill_tree(pid)
        for pid in pids:
            _reap(pid)
        time.sleep(PAUSE)
    return len(seen)


def now() -> float:
    """Seconds since the boot, as processes' start times are told."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _kill_tree(root: int) -> None:
    below = [pid for pid, _ in descendants(root)]
    for pid in (root, *below):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def _facts(pid: int) -> tuple[int, int, float] | None:
    """Parent, session and start (seconds since the boot) of a process; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            rest = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(rest[1]), int(rest[3]), int(rest[19]) / os.sysconf("SC_CLK_TCK")
