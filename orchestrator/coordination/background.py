"""Coroutines that run beside the loop's passes, kept until they end. What they do is not here: who
begins one knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Background:
    """Keeps them until they have ended: asyncio itself does not."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: list[BaseException] = []

    def send(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin it now, in the loop that runs."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)

    def heed(self) -> None:
        """Raise what ended one of them since the last call, if anything did."""
        if self._failed:
            raise self._failed.pop(0)

    def stop(self) -> None:
        """Break off what has not ended."""
        for task in self._tasks:
            task.cancel()
