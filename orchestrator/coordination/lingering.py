"""Agents that have printed their result and linger: after a short grace they are ended, and the
result counts.

The supervisor knows nothing of events, so the watcher reads the log once an attempt has gone quiet.
What it has read is handed over with the size of the log at that moment: any further event makes the
word void, however late it comes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import field

from orchestrator.coordination.life import Life
from orchestrator.coordination.settings import Configured
from orchestrator.distributors.direct import AdoptedHandle, DirectHandle
from orchestrator.files.layout import Layout
from orchestrator.records import dataclass
from orchestrator.store import atomic
from orchestrator.tools.output import settled

LOOKS = 4  # in the time of the grace


@dataclass(slots=True)
class Quiet:
    """The size of an attempt's log, since when (the loop's time), and whether that end has been
    read."""

    size: int
    since: float
    read: bool = False


@dataclass(slots=True)
class Lingering:
    """By task and attempt: how long nothing has been printed."""

    quiet: dict[tuple[str, int], Quiet] = field(default_factory=dict)
    due: float = 0.0
    known: int = 0  # lives at the last look

    def look(self, layout: Layout, lives: Collection[Life], now: float, grace: float) -> None:
        """End those whose last event came longer ago than the grace (seconds)."""
        if now < self.due:
            return
        self.due = now + grace / LOOKS
        before, self.quiet, self.known = self.quiet, {}, len(lives)
        for life in lives:
            if not _watched(life):
                continue
            key = (life.id, life.attempt)
            run_dir = layout.logs(*key)
            size = _size(run_dir)
            known = before.get(key)
            if known is None or known.size != size:
                known = Quiet(size, now)
            self.quiet[key] = known
            if size and not known.read and now - known.since >= grace:
                known.read = True
                _settle(life, run_dir, size)

    async def keep_looking(self, layout: Layout, life: Life, configured: Configured) -> None:
        """The same for who runs one task and has no loop of its own; until it is cancelled."""
        while True:
            await asyncio.sleep(configured.config.result_grace / LOOKS)
            now = asyncio.get_running_loop().time()
            self.look(layout, [life], now, configured.config.result_grace)

    def next_look(self, lives: Collection[Life]) -> list[float]:
        """When to look again; not at all where nobody can be quiet."""
        return [self.due] if self.quiet or len(lives) != self.known else []


def _watched(life: Life) -> bool:
    waits = life.ending or life.retry_at is not None or life.route.mode == "interactive"
    return life.route.tool.parse is not None and not waits


def _settle(life: Life, run_dir: str, size: int) -> None:
    tool, handle = life.route.tool, life.handle
    if tool.parse is None or not isinstance(handle, (DirectHandle, AdoptedHandle)):
        return  # who has it elsewhere ends it
    if not settled(tool.parse, run_dir, tool.presentation.show):
        return
    with suppress(OSError):  # a disk that refuses that: the time limit is left
        atomic.remove(f"{run_dir}/settled")
        atomic.write_temporary(f"{run_dir}/settled", str(size).encode(), mode=0o600, sync=False)
        handle.settle()


def _size(run_dir: str) -> int:
    try:
        return os.stat(f"{run_dir}/stdout.log").st_size
    except OSError:
        return 0
