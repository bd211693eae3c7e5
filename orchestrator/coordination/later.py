"""Files of the inbox of which it cannot be said yet what they are: somebody is at them, or
something is not there yet."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.clock import Clock
from orchestrator.coordination.moments import Moments


class Later:
    """When each file is looked at again, by name, and why: empty if that is no person's doing.
    However many there are, only those that are due cost anything."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._files: dict[str, str] = {}
        self._held: dict[str, str] = {}  # those that somebody is at
        self._moments = Moments()  # monotonic

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def put(self, name: str, after: float, why: str = "") -> None:
        """Look at it again in so many seconds."""
        self.take(name)
        self._files[name] = why
        if why:
            self._held[name] = why
        self._moments.put(name, self._clock.monotonic() + after)

    def take(self, name: str) -> str:
        """It is looked at now, or is gone; why it was left alone."""
        self._moments.put(name, None)
        self._held.pop(name, None)
        return self._files.pop(name, "")

    @property
    def open(self) -> dict[str, str]:
        """Those that somebody is still at, by name, and in what way."""
        return dict(self._held)

    @property
    def resting(self) -> bool:
        """Whether there are some that nobody is at."""
        return len(self._files) > len(self._held)

    def moments(self) -> list[float]:
        """When (monotonic) the next one is looked at again, if there is any."""
        return self._moments.next()

    def due(self) -> list[str]:
        """The names of those whose time has come."""
        return self._moments.due_until_told(self._clock.monotonic())
