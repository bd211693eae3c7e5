"""The one clock: what time it is, and how much time has passed.

It is handed down to everything that waits or dates, so that a test can stand it still, move it, and
let it strike midnight (`orchestrator.testing`).
"""

from __future__ import annotations

import time


class Clock:
    """The clocks of this machine."""

    def wall(self) -> float:
        """Seconds since the epoch.  It may jump; only records and promises to people go by it."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment.  Waiting goes by it."""
        return time.monotonic()


SYSTEM = Clock()
