"""Processes below one of ours, named so that the name cannot pass to a stranger, and ended for
good.

Code of the supervisor: standard library only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs every supervisor a millisecond
    from collections.abc import Callable
    from typing import Any

LEFTOVER_GRACE = 2.0  # seconds from SIGTERM to SIGKILL for what a tool left behind
PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36


def become_subreaper() -> bool:
    """Be the parent of every orphan below; whether the system allows that."""
    return bool(prctl()(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def call_oneself(name: str) -> None:
    """The name by which ``ps`` and ``top`` show this process; 15 characters at most."""
    prctl()(PR_SET_NAME, name.encode(), 0, 0, 0)


def prctl(found: list[Any] = []) -> Any:  # noqa: B006
    """The system's function of that name, looked up once: a forked supervisor has it already."""
    if not found:
        found.append(ctypes.CDLL(None).prctl)
    return found[0]


def sweep(meanwhile: Callable[[], object], patience: float = 0.0) -> int:
    """End everything the tool left behind; how many processes that were. ``meanwhile()`` is called
    while it lasts.

    Every orphan of the attempt is our child, so without children there is nothing left.
    ``patience`` is how long they may go by themselves: the first process of a sandbox does, as soon
    as there is no other in it.
    """
    end = time.monotonic() + patience
    while patience and time.monotonic() < end:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                signal.sigtimedwait((signal.SIGCHLD,), 0.02)
        except ChildProcessError:
            return 0
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0
    found: set[int] = set()
    kill_at = time.monotonic() + LEFTOVER_GRACE
    signal_all(signal.SIGTERM, found)
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return max(len(found) - bool(patience), 0)
        if pid == 0:
            if time.monotonic() >= kill_at:
                signal_all(signal.SIGKILL, found)
            meanwhile()
            signal.sigtimedwait((signal.SIGCHLD,), 0.05)


def signal_all(number: int, found: set[int] | None = None) -> None:
    """Send a signal to all descendants: the same parent and start time mean that it still is the
    one that was found."""
    for pid, identity in descendants():
        if signal_one(pid, number, lambda pid=pid, was=identity: parent_and_start(pid) == was):
            if number == signal.SIGTERM:
                signal_one(
                    pid, signal.SIGCONT, lambda pid=pid, was=identity: parent_and_start(pid) == was
                )
            if found is not None:
                found.add(pid)


def signal_one(pid: int, number: int, still: Any) -> bool:
    """Send a signal to a process if it ``still()`` is the one that is meant; whether it was.

    A pid could pass to a stranger between the look and the signal, so the process is pinned by a
    pidfd first. Where the system refuses those (old kernels, some sandboxes), the look comes as
    shortly before the signal as can be.
    """
    try:
        pinned = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except (OSError, AttributeError):
        pinned = -1
    try:
        if not still():
            return False
        if pinned >= 0:
            signal.pidfd_send_signal(pinned, number)
        else:
            os.kill(pid, number)
        return True
    except OSError:
        return False
    finally:
        if pinned >= 0:
            os.close(pinned)


def descendants(root: int = 0) -> list[tuple[int, tuple[int, int]]]:
    """Every process below this one (or ``root``), with its parent and start time."""
    children: dict[int, list[int]] = {}
    facts: dict[int, tuple[int, int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            identity = parent_and_start(int(name))
            if identity:
                facts[int(name)] = identity
                children.setdefault(identity[0], []).append(int(name))
    result, waiting = [], [root or os.getpid()]
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            result.append((pid, facts[pid]))
            waiting.append(pid)
    return result


def parent_and_start(pid: int) -> tuple[int, int] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            rest = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(rest[1]), int(rest[19])


def start_time(pid: int | str) -> int:
    """Clock ticks from boot to the start of a process: with the pid and the boot id it names a
    process for ever."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def boot_id(found: list[str] = []) -> str:  # noqa: B006
    """This boot of the machine, looked up once: a forked supervisor has it already."""
    if not found:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            found.append(file.read().strip())
    return found[0]
