"""A claim on its way: the journal is there and locked, the task's file moves once the journal survives a power cut.

A rename can survive a power cut without the content, or the name, of a file that was made just before it.  So the
journal's content and its name are on disk before the task's file leaves the inbox; what all claims of the moment wait
for is one fsync of their folder (``store.eventlog.GroupCommit``).
"""

from __future__ import annotations

import os
from collections.abc import Callable

from orchestrator.records import dataclass
from orchestrator.store import atomic
from orchestrator.store.ledger import Entry


class Vanished(Exception):
    """The file was withdrawn, or saved anew, before it could be claimed; look again."""


class Withdrawn(Exception):
    """A claim came to nothing; ``reason`` says why.  The task's file is where it was, and nothing has started."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(slots=True)
class Claim:
    """``inode`` is that of the file that was read; ``undo`` takes the claim out of the ledger again."""

    entry: Entry
    source: str
    target: str
    inode: int
    undo: Callable[[], None]
    moved: bool = False

    def secure(self) -> str:
        """Make the journal's content durable; the folder whose names have to follow (`atomic.sync_folder`)."""
        if not self.moved:
            os.fsync(self.entry.fd)
        return os.path.dirname(self.entry.path)

    def move(self) -> None:
        """The task's file goes to running/.  `Vanished` if it is not the one that was read; OSError."""
        if self.moved:
            return
        try:
            atomic.move(self.source, self.target)
        except FileNotFoundError:
            raise Vanished from None
        if os.lstat(self.target).st_ino != self.inode:
            # Between our reading and our rename an editor put a newer file in its place: give it back.
            atomic.move(self.target, self.source)
            raise Vanished
        self.moved = True
