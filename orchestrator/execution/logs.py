"""The logs of one attempt: made anew, looked at while they grow, cut or held against their limit.

Code of the supervisor: standard library only.
"""

from __future__ import annotations

import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs every supervisor a millisecond
    from typing import Any

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
POLL, POLL_MIN = 0.5, 0.025  # seconds between looks at the size of the logs


class Logs:
    """Standard output and standard error: ``files`` are their descriptors, once they are open."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.files: list[int] = []
        self._grown = (0, time.monotonic())  # the larger one's size at the last look
        self._pause = POLL_MIN

    def open(self, path: str | None) -> int:
        """One more; without a path what is written goes nowhere."""
        if path:
            self.files.append(new_log(path))
        else:
            self.files.append(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        return self.files[-1]

    def size(self) -> int:
        """Bytes in both."""
        return sum(os.fstat(log).st_size for log in self.files)

    def too_much(self, stopping: bool) -> bool:
        """Whether the attempt is to end because a log is over its limit.

        Otherwise such a log is cut: if that is wanted, and while the tool is ``stopping``, however
        long it resists.
        """
        limit = self.job["log_limit"]
        for log in self.files:
            if os.fstat(log).st_size > limit:
                if self.job["on_log_limit"] == "end" and not stopping:
                    return True
                # It is written in append mode, so writing goes on from here.
                os.ftruncate(log, limit // 2)
        return False

    def trim(self) -> None:
        """Keep what is left of the attempt from filling the disk."""
        try:
            self.too_much(stopping=True)
        except OSError:
            pass

    def pause(self, now: float) -> float:
        """Seconds until they are looked at again: soon at first, and in time for a log that grows
        fast."""
        size = max((os.fstat(log).st_size for log in self.files), default=0)
        before, then = self._grown
        self._grown = (size, now)
        flooded = size < before  # it was cut
        self._pause = POLL_MIN if flooded else min(POLL, self._pause * 2)
        if size > before and now > then:
            left = max(self.job["log_limit"] - size, 0) / ((size - before) / (now - then))
            self._pause = min(self._pause, max(left / 2, POLL_MIN))
        return self._pause

    def finish(self) -> None:
        """Nobody writes them any more: on disk, and no longer than they may be."""
        for log in self.files:
            try:
                size = os.fstat(log).st_size
                if size > self.job["log_limit"]:
                    os.ftruncate(log, self.job["log_limit"])
                if size:
                    os.fdatasync(log)
            except OSError:
                pass
            os.close(log)


def new_log(path: str, append: bool = True) -> int:
    """A log that nobody else has made. What lies in its place (a pipe, a link, another's file) is
    moved aside."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    flags |= os.O_APPEND if append else 0
    for _ in range(3):
        try:
            return os.open(path, flags, 0o644)
        except FileExistsError:
            os.rename(path, f"{path}.displaced-{time.time_ns()}")
    return os.open(path, flags, 0o644)


def sealed(fd: int) -> int:
    """The same text in memory, where nobody can change it: through a descriptor of a file its
    reader could reach the file.

    ``fd`` is closed.
    """
    try:
        memory = os.memfd_create("prompt", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        while data := os.read(fd, 1 << 20):
            while data:
                data = data[os.write(memory, data) :]
        os.lseek(memory, 0, os.SEEK_SET)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEALS)
        return memory
    finally:
        os.close(fd)
