"""The watcher's lock on the work directory.

There is no lock file per task: a task that was ever claimed has a journal, and the flock on that
journal is its lock (``store.ledger``); one that was not is moved by a single rename, which only one
of several processes can win.
"""

from __future__ import annotations

import time

from filelock import FileLock, Timeout

from orchestrator.errors import Busy
from orchestrator.files import card
from orchestrator.files.layout import Layout

# seconds: longer than a reader that asks for the lock holds a share of it (`files.lockstate`)
BRIEFLY = 0.2


class WatcherLock:
    """The right to coordinate a work directory: one process at a time, freed by the kernel when it
    ends."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._lock = FileLock(layout.watcher_lock, thread_local=False)

    def acquire(self) -> None:
        """Raises `Busy`, naming the process that has it."""
        try:
            self._lock.acquire(timeout=BRIEFLY, poll_interval=BRIEFLY / 10)
        except Timeout:
            known = card.read(self.layout, time.time())
            who = (
                f"pid {known.pid} on {known.host} since {known.started_at}"
                if known
                else "another process"
            )
            raise Busy(
                f"another watcher is already running here: {who}",
                "follow it: orchestrator status -f",
            ) from None

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
