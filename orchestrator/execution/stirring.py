"""What a quiet attempt is doing: whether its commands still work, and whether its work is over and
it only does not end.

Code of the supervisor, loaded when an attempt has been quiet for long: standard library only.
"""

from __future__ import annotations

import os

from orchestrator.execution import plainfiles

BUSY = 0.05  # processor time by clock time above which commands are at work
TICKS = os.sysconf("SC_CLK_TCK")


def worked(pid: int, below: list[int], wrapped: bool) -> float:
    """Seconds of processor time that the commands of a tool have used so far.

    ``below`` are all processes below the supervisor. The time of the tool ``pid`` itself does not
    count (a program that spins does nothing), that of commands which have ended does. ``wrapped``:
    a sandbox is around the tool.
    """
    own = {pid, *(_inside(pid, below) if wrapped else ())}
    return sum(_ticks(each, each in own) for each in {pid, *below}) / TICKS


def settled(path: str, log: int) -> bool:
    """Whether the watcher has read the tool's last word in its log, and nothing came after that."""
    try:
        return int(plainfiles.read(path, 20)) == os.fstat(log).st_size
    except (OSError, ValueError):
        return False


def _inside(pid: int, below: list[int]) -> list[int]:
    """The first process of a sandbox, and the tool in it."""
    found: list[int] = []
    while len(found) < 2:
        children = [each for each in below if _parent(each) == (found or [pid])[-1]]
        if len(children) != 1:
            break
        found += children
    return found


def _stat(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int:
    facts = _stat(pid)
    return int(facts[1]) if facts else 0


def _ticks(pid: int, only_ended: bool) -> int:
    """Of a process and of those of its children that it has seen the end of; or of these alone."""
    facts = _stat(pid)
    own = [] if only_ended else facts[11:13]
    return sum(int(ticks) for ticks in (*own, *facts[13:15]))
