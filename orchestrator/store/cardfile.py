"""The watcher's card as a file: readers believe it only while that very process lives."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from orchestrator.clock import Clock
from orchestrator.files.layout import Layout
from orchestrator.store import smallfiles

SIZE = 8191  # more than a card has to say


class CardFile:
    """Kept open, for the day when nothing can be opened."""

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self.layout, self.clock = layout, clock
        self._fd = -1

    def write(self, card: Mapping[str, Any]) -> None:
        """Have the card say this.

        A disk that takes no new files must not keep the card from saying so: then the one that is
        there is written over.
        """
        data = json.dumps(card).encode().ljust(SIZE) + b"\n"
        try:
            card_path = self.layout.watcher_card
            fd = smallfiles.put(self.layout, card_path, data, "card", sync=False, keep=True)
        except OSError:
            if self._fd < 0:
                raise
            self._write_over(data)
            return
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self.beat()

    def _write_over(self, data: bytes) -> None:
        try:
            os.pwrite(self._fd, data, 0)
            os.ftruncate(self._fd, len(data))
        except OSError:
            os.fchmod(self._fd, 0o444)  # readers take that for a fault
            raise

    def beat(self) -> None:
        """Say that the watcher lives, by the clock that dates everything else. OSError if the disk
        refused even that."""
        now = self.clock.wall()
        with suppress(FileNotFoundError):  # removed (git clean): it is made again soon
            os.utime(self.layout.watcher_card, (now, now), follow_symlinks=False)
