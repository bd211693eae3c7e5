"""A supervisor that is stopped enforces no limit and obeys no cancel; its own tool can do that to
it. It is woken, and one that is stopped again and again is ended, so that its attempt is lost and
what it left is swept."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from orchestrator.execution.processes import is_stopped

LOOK = 1.0  # seconds between looks
MOST = 4  # looks in a row that find it stopped


def keep_awake(
    pid: Callable[[], int], send: Callable[[int], object], running: Callable[[], bool]
) -> None:
    """Look after a supervisor while its attempt is ``running``; ``send`` sends it, and nobody else,
    a signal.

    ``pid()`` is 0 as long as there is none.
    """
    loop = asyncio.get_running_loop()

    def look(stopped: int) -> None:
        if not running():
            return
        stopped = stopped + 1 if is_stopped(pid()) else 0
        if stopped:
            send(signal.SIGKILL if stopped >= MOST else signal.SIGCONT)
        loop.call_later(LOOK, look, stopped)

    loop.call_later(LOOK, look, 0)
