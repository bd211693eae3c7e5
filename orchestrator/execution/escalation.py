"""Ending a tool: SIGINT, SIGTERM, SIGKILL, each after the time that the one before was given.

Code of the supervisor: standard library only.
"""

from __future__ import annotations

import os
import signal

from orchestrator.execution.descendants import signal_all

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs every supervisor a millisecond
    from typing import Any


class Escalation:
    """``step``: 0 none, 1 INT sent, 2 TERM sent, 3 KILL sent. ``next_step`` (monotonic) is when the
    next one is due."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.step = 0
        self.next_step = 0.0

    def go_on(self, pid: int, now: float) -> None:
        """The next sterner signal: to the tool's process group, as Ctrl-C would, and in the end to
        everything.

        The tool ``pid`` is not collected yet, so its number, and with it the group, is still its
        own.
        """
        self.step += 1
        if self.step == 1:
            _signal_group(pid, signal.SIGINT)
            self.next_step = now + self.job["interrupt_grace"]
        elif self.step == 2:
            _signal_group(pid, signal.SIGTERM)
            signal_all(signal.SIGTERM)
            self.next_step = now + self.job["terminate_grace"]
        else:
            signal_all(signal.SIGKILL)
            self.next_step = now + 0.1


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
        os.killpg(pid, signal.SIGCONT)  # a stopped process must be able to obey
    except ProcessLookupError:
        pass
