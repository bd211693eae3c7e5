"""What an attempt that ended comes to: its logs read and counted, its checks run, secrets masked.

What follows from that is decided by `coordination.nextsteps`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from orchestrator.coordination import plans
from orchestrator.coordination.attempts import Over
from orchestrator.coordination.endedattempts import end_record
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.life import Ending, Life
from orchestrator.coordination.orders import Orders
from orchestrator.coordination.readings import Readings
from orchestrator.coordination.sandboxing import Sandboxes
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.taskwork import TaskWork
from orchestrator.execution import masking
from orchestrator.files.layout import Layout
from orchestrator.model.result import Reading
from orchestrator.model.usage import counted
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store
from orchestrator.tools import secrecy


class Understanding:
    """``spent``: what attempts that ended said, until the loop has taken it to be counted."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        orders: Orders,
        readings: Readings,
        sandboxes: Sandboxes,
        taskwork: TaskWork,
        hints: Hints,
    ) -> None:
        self._layout, self._settings, self._store = layout, settings, store
        self._orders, self._readings = orders, readings
        self._sandboxes, self._taskwork, self._hints = sandboxes, taskwork, hints
        self.spent: list[tuple[Life, Reading]] = []

    async def of(self, life: Life, over: Over) -> tuple[Entry, Reading]:
        """What the attempt comes to, with its checks; the entry is another one if a check ran."""
        entry, run_dir = over.entry, self._layout.logs(life.id, life.attempt)
        self._record_if_lost(life, over)
        life.stage = Ending(life.progress)
        await self._mask(life, over, run_dir)
        reading = await self._readings.understood(life, entry, run_dir, over.end)
        reading = secrecy.masked(reading, self._orders.secrets(life))
        life.stage = Ending()
        self._count(life, entry, reading)
        told = await self._sandboxes.after(run_dir)
        reading = replace(reading, warnings=(*reading.warnings, *told))
        entry, reading = await self._taskwork.judged(life, entry, reading, run_dir)
        open_ones = self._orders.unmasked(life)
        reading = replace(reading, warnings=(*reading.warnings, *open_ones))
        reading = secrecy.masked(reading, life.secrets)  # names that an agent chose are in it now
        return entry, plans.understood(self._layout, life, reading)

    def _record_if_lost(self, life: Life, over: Over) -> None:
        """Its supervisor could not."""
        facts = over.entry.journal.attempt
        if over.end.cause == "lost" and (facts is None or facts.ended is None):
            record = end_record(life.attempt, over.end, self._store.clock.wall())
            over.entry.append(record, sync=True)

    async def _mask(self, life: Life, over: Over, run_dir: str) -> None:
        """Have its secrets known, and out of logs that its supervisor could not see to."""
        facts = over.entry.journal.attempt
        if facts is not None and "at" in facts.started:  # else it was never given any
            await self._orders.fetch_to_mask(life)
        if over.end.cause == "lost":
            secrets, limit = self._orders.secrets(life), self._settings.config.log_limit
            await asyncio.to_thread(masking.finish, run_dir, secrets, limit)

    def _count(self, life: Life, entry: Entry, reading: Reading) -> None:
        """What it has cost, unless that was counted before a check of it ran."""
        checks = entry.journal.checks
        if checks and checks[-1].number == life.attempt:
            return
        life.cost += reading.cost_usd or 0.0
        life.tokens += counted(reading.usage)
        self.spent.append((life, reading))
        self._hints.stir()  # it acts no more: settings that have changed since are a person's
