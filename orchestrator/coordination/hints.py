"""What arrives in the folders, told by other threads and taken by the loop once a pass."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterator


class Hints:
    """Paths that may have changed.  A hint is never believed: it says where to look.

    ``silent`` says why no notifications come; empty if they do.
    """

    def __init__(self) -> None:
        self.silent = ""
        self._paths: collections.deque[tuple[str, bool]] = collections.deque()
        self._overflown = False
        self._poked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, wake: asyncio.Event) -> None:
        """From here on a hint wakes this loop."""
        self._loop, self._wake = loop, wake

    @property
    def any(self) -> bool:
        """Whether something was told that nobody has looked at."""
        return bool(self._paths) or self._overflown

    def add(self, path: str, renamed: bool) -> None:
        """Something may have happened to this file: look at it in the next pass. In the loop's
        thread."""
        self._paths.append((path, renamed))
        if self._wake is not None:
            self._wake.set()

    def stir(self) -> None:
        """Something is to be looked at that is no file.  In the loop's thread."""
        if self._wake is not None:
            self._wake.set()

    def from_thread(self, path: str, renamed: bool) -> None:
        """As `add`, from any thread."""
        self._paths.append((path, renamed))
        self._poke()

    def overflow(self) -> None:
        """Some hints were lost: everything is listed once.  From any thread."""
        self._overflown = True
        self._poke()

    def heard(self) -> None:
        """The loop is awake, and takes what has come: the next hint wakes it again."""
        self._poked = False

    def take(self) -> Iterator[tuple[str, bool]]:
        """Each path, and whether it came there whole by a rename."""
        while self._paths:
            yield self._paths.popleft()

    def overflown(self) -> bool:
        """Whether hints were lost since this was asked last."""
        was, self._overflown = self._overflown, False
        return was

    def _poke(self) -> None:
        # Once until it is seen: every call writes to the loop's wake-up socket, and a full one
        # would lose a signal.
        if self._poked or self._loop is None or self._wake is None:
            return
        self._poked = True
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the loop is closed: we are leaving
            pass
