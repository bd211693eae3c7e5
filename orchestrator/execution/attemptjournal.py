"""What a supervisor appends to the journal of a task: that an attempt has started, and how it
ended.

Code of the supervisor: standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs every supervisor a millisecond
    from collections.abc import Callable
    from typing import Any


class AttemptJournal:
    """``fd`` also holds the liveness lock, so it stays open as long as the attempt lasts."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def append(self, record: dict[str, Any]) -> None:
        """On disk when this returns."""
        data = json.dumps(record).encode() + b"\n"
        size = os.fstat(self.fd).st_size
        if size and os.pread(self.fd, 1, size - 1) != b"\n":
            data = b"\n" + data
        written = os.write(self.fd, data)
        if written != len(data):  # a disk that fills up says so by a short write first
            raise OSError(28, "No space left on device", "journal")
        os.fsync(self.fd)

    def append_exit(self, record: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
        """How it ended must not be lost: while the disk refuses, say so, and try again with a fresh
        descriptor. Raises OSError if this process alone may not write: then the attempt is lost."""
        while True:
            try:
                self.append(record)
                return
            except OSError as error:
                if error.errno == errno.EFBIG:  # by a limit of ours, which a tool can set
                    raise
                say({"fault": error.strerror or str(error)})
            signal.sigtimedwait((), 1.0)
            if self._append_anew(record):
                return

    def _append_anew(self, record: dict[str, Any]) -> bool:
        """Whether the record is on disk.

        The descriptor that failed may report a success that never happened: the file is opened
        anew, but the old one is kept, which holds the lock.
        """
        try:
            fresh = os.open(f"/proc/self/fd/{self.fd}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            if torn_or_absent(fresh, record):
                data = b"\n" + json.dumps(record).encode() + b"\n"
                if os.write(fresh, data) != len(data):
                    return False
            os.fsync(fresh)
            return True
        except OSError:
            return False
        finally:
            os.close(fresh)


def torn_or_absent(fd: int, record: dict[str, Any]) -> bool:
    """Whether the record is not (wholly) in the journal."""
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    return not data.endswith(json.dumps(record).encode() + b"\n")
