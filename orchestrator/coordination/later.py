"""Files of the inbox of which it cannot be said yet what they are: somebody is at them, or
something is not there yet."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.clock import Clock


class Later:
    """When each file is looked at again, by name, and why: empty if that is no person's doing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._files: dict[str, tuple[float, str]] = {}  # the moment is monotonic

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def put(self, name: str, after: float, why: str = "") -> None:
        """Look at it again in so many seconds."""
        self._files[name] = self._clock.monotonic() + after, why

    def take(self, name: str) -> str:
        """It is looked at now, or is gone; why it was left alone."""
        return self._files.pop(name, (0.0, ""))[1]

    @property
    def open(self) -> dict[str, str]:
        """Those that somebody is still at, by name, and in what way."""
        return {name: why for name, (_, why) in list(self._files.items()) if why}

    @property
    def resting(self) -> bool:
        """Whether there are some that nobody is at."""
        return any(not why for _, why in self._files.values())

    def moments(self) -> list[float]:
        """When (monotonic) each is looked at again."""
        return [due for due, _ in self._files.values()]

    def due(self) -> list[str]:
        """The names of those whose time has come."""
        now = self._clock.monotonic()
        return [name for name, (due, _) in self._files.items() if due <= now]
