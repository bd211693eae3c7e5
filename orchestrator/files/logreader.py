"""Reading a log that may be huge and may still grow: in pieces of bounded size, whole lines where
that is possible."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from orchestrator.files import masked, opening

PIECE = 1 << 16


class LogReader:
    """Reads on from where it stopped.  ``last``: begin with so many lines from the end; None means
    from the start."""

    def __init__(self, path: str, last: int | None = None) -> None:
        self.path = path
        self._last = last
        self._position = 0

    def pieces(self, ended: bool = True) -> Iterator[bytes]:
        """What was added since the last call; nothing if there is no such file, or one that is no
        log (`no_log`).

        Unless the log has ``ended``, its last line is kept back until it is whole (or longer than
        `PIECE`), so that no character and no control sequence is shown in halves.
        """
        try:
            file = opening.open_log(self.path)
        except (FileNotFoundError, opening.NotAFile):
            return
        with file:
            if self._last is not None:
                self._position, self._last = start_of_last(file, self._last), None
            shown = masked.end(self.path)
            self._position = min(self._position, shown)  # a log over its limit is cut
            while True:
                file.seek(self._position)
                data = file.read(min(PIECE, max(shown - self._position, 0)))
                cut = data.rfind(b"\n") + 1
                if len(data) == PIECE:
                    cut = cut or _whole_characters(data)
                elif ended:
                    cut = len(data)
                if not cut:
                    return
                self._position += cut
                yield data[:cut]


def no_log(path: str) -> str:
    """Why what lies there is not read; empty if it can be."""
    try:
        opening.open_log(path).close()
    except opening.NotAFile as error:
        return str(error.strerror)
    return ""


def start_of_last(file: BinaryIO, count: int) -> int:
    """Where the last ``count`` lines of a file begin; holds one piece at a time."""
    position = end = file.seek(0, os.SEEK_END)
    if not count:
        return end
    wanted = count
    while position > 0:
        start = max(position - PIECE, 0)
        file.seek(start)
        data = file.read(position - start)
        at = (
            len(data) - 1 if position == end else len(data)
        )  # the last line's own end begins no further line
        while (at := data.rfind(b"\n", 0, at)) >= 0:
            wanted -= 1
            if not wanted:
                return start + at + 1
        position = start
    return 0


def _whole_characters(data: bytes) -> int:
    """The length without a UTF-8 character that is cut off at the end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            return len(data) - back
        if byte < 0x80:
            break
    return len(data)
