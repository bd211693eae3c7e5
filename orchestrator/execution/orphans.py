"""What an attempt left to the watcher: a tool that kills its supervisor becomes an orphan, and so
our child.

The watcher is a child subreaper, as every supervisor is. Its own children are those of
`store.owned`, which begin a session of their own, and short commands such as git, which
stay in the watcher's session. What else is a child of ours, in another session, is an orphan of an
attempt. Attempts that an earlier watcher started are not covered: their supervisors are no children
of ours.
"""

from __future__ import annotations

import os
import signal
import time

from orchestrator.execution.descendants import become_subreaper, descendants
from orchestrator.store import owned

# seconds by which a process may seem older than it is: start times are told in ticks, rounded down
TICK = 0.1
PATIENCE = 5.0  # seconds for which orphans are looked for and killed
LOOKS, PAUSE = 4, 0.03  # so many looks in a row, so many seconds apart, must find nothing


def adopt_all() -> bool:
    """From now on orphans of what we start become our children; whether the system allows that."""
    return become_subreaper()


def bury(session: int) -> None:
    """Collect what has ended in a session of ours and was never known: children of a warm process
    that was killed."""
    known = owned.sessions()
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) not in known and (facts := _facts(int(name))) is not None:
            if facts[:2] == (os.getpid(), session):
                _reap(int(name))


def bury_rest() -> None:
    """Collect what has ended in a session of a command of ours, and whose parent is gone: what a
    hook or the setup of a tree had in the background, and the first process of its sandbox."""
    for pid, session, _ in _children():
        if not os.path.exists(f"/proc/{session}"):
            _reap(pid)


def found(since: float) -> list[int]:
    """Pids of orphans that began after ``since`` (seconds since the boot)."""
    children = _children()
    ours = owned.sessions()
    return [pid for pid, session, began in children if session not in ours and began >= since]


def _children() -> list[tuple[int, int, float]]:
    """Children of ours that we did not begin and that are in another session than we: pid, session,
    start."""
    me, mine = os.getpid(), os.getsid(0)
    numbers = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    all_facts = [(pid, facts) for pid in numbers if (facts := _facts(pid)) is not None]
    ours = owned.sessions()  # afterwards: what was being begun is among them
    return [
        (pid, session, began)
        for pid, (parent, session, began) in all_facts
        if parent == me and session != mine and pid not in ours
    ]


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
