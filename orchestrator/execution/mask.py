"""Overwriting secrets in a log while a tool writes it.

Code of the supervisor: standard library only.
"""

from __future__ import annotations

import os

from orchestrator.execution.logs import new_log


class Mask:
    """Overwrites secrets in a log with as many ``*``, a moment after the tool has written them."""

    BLOCK = 1 << 20

    def __init__(self, path: str, secrets: list[str], log: int, limit: int) -> None:
        """``limit``: bytes of a log that are kept; what lies far behind them is cut off, and nobody
        waits until it is looked through."""
        # Not the tool's descriptor: in append mode even a positioned write goes to the end.
        self.fd = os.open(f"/proc/self/fd/{log}", os.O_RDWR | os.O_CLOEXEC)
        self.marker = path + ".masked"  # up to where readers may look, see files/masked.py
        self.looked = new_log(self.marker, append=False)
        os.pwrite(self.looked, b"0".ljust(20), 0)
        self.secrets = [secret.encode("utf-8", "surrogateescape") for secret in secrets]
        self.overlap = max(len(secret) for secret in self.secrets) - 1
        self.most = limit + self.overlap
        self.position = 0

    def run(self) -> None:
        """Mask what has come since the last look; a secret whose rest is still to come is found by
        the next."""
        size = min(os.fstat(self.fd).st_size, self.most)
        start = max(0, min(self.position, size) - self.overlap)
        while start < size:
            block = os.pread(self.fd, self.BLOCK + self.overlap, start)
            for secret in self.secrets:
                at = block.find(secret)
                while at >= 0:
                    os.pwrite(self.fd, b"*" * len(secret), start + at)
                    at = block.find(secret, at + len(secret))
            start += self.BLOCK
        self.position = size
        os.pwrite(self.looked, b"%-20d" % (size - self.begun(size)), 0)

    def begun(self, size: int) -> int:
        """How many bytes at the end may be the beginning of a secret whose rest is still to
        come."""
        end = os.pread(self.fd, self.overlap, max(0, size - self.overlap))
        return max(begun_at_end(secret, end) for secret in self.secrets)

    def finish(self) -> None:
        """The log is whole and looked through: all of it may be shown."""
        self.position = 0  # what was cut and written again between two looks was not seen
        try:
            self.run()
            os.unlink(self.marker)
        except OSError:  # then its end stays hidden
            pass

    def __del__(self) -> None:
        os.close(self.fd)
        os.close(self.looked)


def begun_at_end(secret: bytes, end: bytes) -> int:
    """How many bytes at the end of a text are the beginning of a secret, and not all of it."""
    head = secret[:8]
    at = end.find(head, max(0, len(end) - len(secret) + 1))
    while at >= 0:
        if secret.startswith(end[at:]):
            return len(end) - at
        at = end.find(head, at + 1)
    few = range(min(len(head), len(secret)) - 1, 0, -1)
    return next((count for count in few if end.endswith(secret[:count])), 0)
