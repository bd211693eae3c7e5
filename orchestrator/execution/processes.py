"""Other processes, named so that the name cannot pass to a stranger."""

from __future__ import annotations

import os
import signal
import time

from orchestrator.execution.descendants import boot_id, signal_one, start_time

TAG = "ORCHESTRATOR_TAG"
LOOKS, PAUSE = 4, 0.05  # so many looks in a row, so many seconds apart, must find nothing


def pin(pid: int, started: int, boot: str) -> int | None:
    """A pidfd of exactly this process; None if it is gone.  The caller closes it."""
    if boot != boot_id():
        return None
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        if start_time(pid) == started:
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped it (SIGSTOP), or stops it as a tracer; False if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def send(pid: int, started: int, boot: str, number: int) -> bool:
    """Send a signal to exactly this process; whether it was there."""
    try:
        return (
            boot == boot_id()
            and start_time(pid) == started
            and signal_process(pid, number, started)
        )
    except OSError:
        return False


def signal_process(pid: int, number: int, started: int) -> bool:
    """Send a signal to the process that began at ``started``; whether it was there."""
    return signal_one(pid, number, lambda: start_time(pid) == started)


def tagged(tag: str) -> list[int]:
    """Pids of all processes that carry an attempt's tag in their environment."""
    wanted = f"{TAG}={tag}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:
                continue
    return found


def sweep(tag: str, patience: float = 5.0) -> int:
    """Kill whatever a lost attempt left running, found by its tag; how many processes that were.

    Only for attempts whose supervisor is gone: a living one does this itself, and better.
    """
    if not tag:
        return 0
    seen: set[int] = set()
    end = time.monotonic() + patience
    empty = 0
    while empty < LOOKS and time.monotonic() < end:
        pids = tagged(tag)
        # Between fork and the end of exec a process shows no environment, or that of its parent:
        # look again.
        empty = 0 if pids else empty + 1
        for pid in pids:
            if signal_one(pid, signal.SIGKILL, lambda pid=pid: pid in tagged_one(pid, tag)):
                seen.add(pid)
        time.sleep(0.01 if pids else PAUSE)
    return len(seen)


def tagged_one(pid: int, tag: str) -> list[int]:
    """[pid] if it still carries the tag."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return [pid] if f"{TAG}={tag}".encode() in file.read().split(b"\0") else []
    except OSError:
        return []
