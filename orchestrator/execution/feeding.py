"""Words for a tool while it runs: its standard input is a pipe that stays open until its turn is
over.

Code of the supervisor, loaded for the tools that take words: standard library only.

Each line that the tool is to read is a file below the attempt's logs, ``words/<order>.<id>.json``,
and is given once. A tool repeats what it takes; then ``words/<id>.taken`` says so. ``words/over``
says that nothing more is given: what comes later is told by the next attempt.
"""

from __future__ import annotations

import fcntl
import os

from orchestrator.execution import plainfiles

LOOK, SOON = 0.2, 0.02  # seconds between looks; while there is more to write than fits
PIPE = 1 << 20  # bytes that the pipe holds, if the system allows it
PIECE = 1 << 20
LONGEST = 16 << 20  # bytes of a line that is given


class Feed:
    """The input of one tool. ``end`` and ``taken`` are what its lines have when its turn is over,
    and when it repeats words."""

    def __init__(self, run_dir: str, end: str, taken: str) -> None:
        self.folder = f"{run_dir}/words"
        self.end, self.mark = end.encode(), taken.encode()
        self.reader, self.pipe = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.pipe, False)
        try:
            fcntl.fcntl(self.pipe, fcntl.F_SETPIPE_SZ, PIPE)
        except OSError:  # it only takes longer
            pass
        self.given: set[str] = set()
        self.left: set[str] = set()  # ids that were not taken yet
        self.rest = b""  # to be written
        self.line = b""  # of the log, not whole yet
        self.log = -1
        self.position = 0

    def started(self, log: int) -> None:
        """The tool runs and has the other end; ``log`` is what it prints to."""
        self.log = os.open(f"/proc/self/fd/{log}", os.O_RDONLY | os.O_CLOEXEC)

    def serve(self) -> float:
        """Look once; seconds until the next look."""
        try:
            self._listen()
            if self.pipe >= 0:
                self._collect()
                self._write()
        except (
            OSError
        ):  # its folder is gone, or the disk refuses: the tool goes on with what it has
            pass
        return SOON if self.rest else LOOK

    def stop(self) -> None:
        """Nothing more is given."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe, self.rest = -1, b""
            self._note("over")

    def close(self) -> None:
        """The tool has ended: what it said last."""
        self.stop()
        if self.log >= 0:
            self.serve()
            os.close(self.log)
            self.log = -1

    def _collect(self) -> None:
        for name in sorted(os.listdir(self.folder)):
            key = name.split(".")[1] if name.endswith(".json") and name[:1].isdecimal() else ""
            if not key or key in self.given:
                continue
            self.given.add(key)
            line = plainfiles.read(f"{self.folder}/{name}", LONGEST)
            self.rest += line.rstrip(b"\n") + b"\n"
            self.left.add(key)

    def _write(self) -> None:
        try:
            while self.rest:
                self.rest = self.rest[os.write(self.pipe, self.rest[:PIECE]) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # it reads no more
            self.stop()

    def _listen(self) -> None:
        self.position = min(
            self.position, os.fstat(self.log).st_size
        )  # a log over its limit is cut
        while data := os.pread(self.log, PIECE, self.position):
            self.position += len(data)
            *lines, self.line = (self.line + data).split(b"\n")
            for line in lines:
                self._heard(line)
            self.line = self.line[-PIECE:]

    def _heard(self, line: bytes) -> None:
        if self.left and self.mark in line:
            for key in [key for key in self.left if key.encode() in line]:
                self.left.remove(key)
                self._note(f"{key}.taken")
        if self.end in line:
            self.stop()

    def _note(self, name: str) -> None:
        try:
            plainfiles.touch(f"{self.folder}/{name}")
        except OSError:  # then it is told once more
            pass
