"""The valid run files of the inbox that may not be accepted yet, and what each waits for."""

from __future__ import annotations

from orchestrator.coordination.intake import Signature
from orchestrator.coordination.moments import Moments
from orchestrator.model.gates import Gate

STALE: Signature = (0, 0, 0)  # of a file that has to be looked at again, whatever it looks like


class WaitingRuns:
    """``waiting`` are they by file name: what each looked like, and its gate."""

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[Signature, Gate]] = {}
        self._moments = Moments()

    def enter(self, name: str, signature: Signature, gate: Gate) -> None:
        """A file is a run, and its gate is closed."""
        self.waiting[name] = signature, gate
        self._moments.put(name, gate.until)

    def leave(self, name: str) -> Gate | None:
        """The file is not there any more, or not what it was; the gate that was known of."""
        self._moments.put(name, None)
        return self.waiting.pop(name, (STALE, None))[1]

    def stale(self, name: str) -> None:
        """Its gate may have opened: whatever the file looks like, it has to be looked at again."""
        self.waiting[name] = STALE, self.waiting[name][1]

    def signature(self, name: str) -> Signature | None:
        """What the file looked like; None if it is none of these."""
        return self.waiting[name][0] if name in self.waiting else None

    def moments(self) -> list[float]:
        """The first moment (seconds since the epoch) that one of them waits for, if any does."""
        return self._moments.next()

    def due(self, wall: float) -> list[str]:
        """The names of those whose time has come."""
        return self._moments.due_until_told(wall)
