"""What may end an attempt beside its own tool: its time, its silence, its leash, a request.

Code of the supervisor: standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
import time

from orchestrator.execution import plainfiles
from orchestrator.execution.descendants import descendants
from orchestrator.execution.neighbours import neighbour

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs every supervisor a millisecond
    from typing import Any

    from orchestrator.execution.logs import Logs


LATEST = 7258118399.0  # as in model.units


class AttemptLimits:
    """Time and silence stand still while a person is asked. ``deadline`` (monotonic) is None where
    there is no limit."""

    def __init__(self, job: dict[str, Any], logs: Logs, began: float) -> None:
        self.job, self.logs = job, logs
        limit = job["timeout"]
        self.deadline: float | None = began + limit if limit else None
        self._looked = began
        # Made before it begins, if its role lets it ask.
        self._may_ask = os.path.isdir(f"{job['run_dir']}/asked")
        self._said = (0, began)  # size of its logs, and since when
        self._worked: tuple[float, float] | None = None  # processor time of its commands, and when

    def passed(self, pid: int, now: float) -> str:
        """Why the tool ``pid`` is to be stopped; empty if it may go on."""
        if self._may_ask and asking(self.job["run_dir"]):
            self._stand_still(now - self._looked)
        self._looked = now
        if self.deadline is not None and now >= self.deadline:
            return "timeout"
        if self._silent(pid, now):
            return "silence"
        return "leash" if self.leash_ended() else ""

    def cancel_requested(self) -> bool:
        """Whether the file of a request lies there."""
        return os.path.exists(self.job["cancel"])

    def leash_ended(self) -> bool:
        """Whether nobody has touched the leash for too long. Its clock goes on while the machine
        sleeps."""
        if not self.job["leash"]:
            return False
        try:
            touched = float(plainfiles.read(self.job["leash"], 40) or 0.0)
        except (OSError, ValueError):
            return True
        return time.clock_gettime(time.CLOCK_BOOTTIME) - touched > float(self.job["leash_limit"])

    def _stand_still(self, seconds: float) -> None:
        self._worked = None
        self._said = (self._said[0], self._said[1] + seconds)
        if self.deadline is not None:
            self.deadline += seconds

    def _silent(self, pid: int, now: float) -> bool:
        """Whether the tool has printed nothing for longer than it may."""
        limit = self.job["silence"]
        if not limit:
            return False
        size = self.logs.size()
        quiet = now - self._said[1]
        if size != self._said[0]:
            self._said, self._worked = (size, now), None
        elif quiet >= limit:
            return not self._at_work(pid, now)
        elif quiet >= limit / 2 and self._worked is None:
            self._at_work(pid, now)
        return False

    def _at_work(self, pid: int, now: float) -> bool:
        """Whether its commands have used the processor since the last such look: a long build
        prints nothing."""
        stirring = neighbour("stirring")
        below = [each for each, _ in descendants()]
        before = self._worked
        self._worked = (stirring.worked(pid, below, self.job["sandboxed"]), now)
        if before is None or self._worked[0] - before[0] < stirring.BUSY * (now - before[1]):
            return False
        self._said = (self._said[0], now)
        return True


def asking(run_dir: str) -> bool:
    """Whether the tool waits for a person: a question that has no answer, and whose asker holds its
    lock. What no person would be shown (`files.asks`) is none."""
    try:
        names = os.listdir(f"{run_dir}/asked")
    except OSError:
        return False
    for name in names:
        if not _is_name(name) or os.path.lexists(f"{run_dir}/answers/{name}"):
            continue
        try:
            fd = plainfiles.descriptor(f"{run_dir}/asked/{name}")
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if _is_question(fd):
                return True
        finally:
            os.close(fd)
    return False


def _is_name(name: str) -> bool:
    key, dot, suffix = name.partition(".")
    return len(key) == 32 and dot + suffix == ".json" and not key.strip("0123456789abcdef")


def _is_question(fd: int) -> bool:
    try:
        body = json.loads(os.read(fd, 1 << 18))
        return "tool" in body and 0 <= float(body["since"]) <= LATEST
    except (OSError, ArithmeticError, ValueError, KeyError, TypeError, RecursionError):
        return False
