"""What the watcher itself does, in the event log."""

from __future__ import annotations

import os
from typing import Any

from orchestrator.clock import Clock
from orchestrator.records import dataclass
from orchestrator.store.eventlog import EventLog, GroupCommit


@dataclass(frozen=True, slots=True)
class Notes:
    """Written with the next commit: nobody waits for them."""

    log: EventLog | GroupCommit
    clock: Clock

    def write(
        self, kind: str, subject: str = "watcher", attempt: int | str | None = None, **fields: Any
    ) -> None:
        """One event.  Without an ``attempt`` it is numbered by this process and the moment."""
        number = f"{os.getpid()}-{int(self.clock.wall() * 1000)}" if attempt is None else attempt
        fields.setdefault("phase", "store" if kind.startswith("store") else "watch")
        self.log.note(self.log.event(kind, subject, number, **fields))
