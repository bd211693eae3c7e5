"""Whether work can go on: what the disk refuses, and what stops everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchestrator.files.text import one_line


class Health:
    """Whether the disk takes writes.  While it does not, nothing is claimed and finishing waits."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self.fault = ""
        self._on_change = on_change
        self._fine = asyncio.Event()
        self._fine.set()

    def failed(self, error: Exception) -> None:
        """The disk refused a write."""
        reason = one_line(getattr(error, "strerror", None) or str(error), 160)
        if not self.fault:
            self.fault = reason
            self._fine.clear()
            self._on_change(reason)

    def recovered(self) -> None:
        """A trial write went through."""
        if self.fault:
            self.fault = ""
            self._fine.set()
            self._on_change("")

    async def fine(self) -> None:
        """Wait until the disk takes writes."""
        await self._fine.wait()
