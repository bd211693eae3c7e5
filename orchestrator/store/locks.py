"""Who may change what: the watcher's lock on the work directory, and a lock around every transition of a task.

Transition locks are striped: a fixed set of files that are never unlinked (unlinking a lock file lets two
processes hold "the" lock), so their number does not grow with the number of tasks.  Two tasks that share a
stripe merely wait for each other for the length of a rename.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from orchestrator.errors import Busy, Refused
from orchestrator.files import card
from orchestrator.files.layout import Layout
from orchestrator.model import ids

STRIPES = 64
PATIENCE = 10.0  # seconds that a verb waits for a transition of another process


class TaskLocks:
    """Locks for single tasks, by id."""

    def __init__(self, layout: Layout, patience: float = PATIENCE) -> None:
        self.layout, self.patience = layout, patience
        self._locks: dict[int, FileLock] = {}

    @contextmanager
    def hold(self, task_id: str) -> Iterator[None]:
        """Exclude every other process from this task's transitions; `Refused` if one does not let go in time."""
        stripe = zlib.crc32(ids.key(task_id).encode()) % STRIPES
        lock = self._locks.get(stripe)
        if lock is None:
            path = f"{self.layout.state}/locks/{stripe:02d}.lock"
            lock = self._locks[stripe] = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=self.patience, poll_interval=0.01)
        except Timeout:
            raise Refused(f"{task_id} is being changed by another process, for {self.patience:.0f} s now",
                          "is a command suspended (Ctrl-Z)?") from None
        try:
            yield
        finally:
            lock.release()


class WatcherLock:
    """The right to coordinate a work directory: one process at a time, freed by the kernel when it ends."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._lock = FileLock(layout.watcher_lock, thread_local=False)

    def acquire(self) -> None:
        """Raises `Busy`, naming the process that has it."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            known = card.read(self.layout, time.time())
            who = f"pid {known.pid} on {known.host} since {known.started_at}" if known else "another process"
            raise Busy(f"another watcher has this work directory: {who}",
                       "to look on: orchestrator status -w") from None

    def release(self) -> None:
        self._lock.release()

    def held_by_another(self) -> bool:
        """Whether a watcher runs now, asked of the kernel."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return True
        self._lock.release()
        return False
