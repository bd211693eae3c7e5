"""What an attempt said and cost: read from its logs when it has ended."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import replace

from orchestrator.coordination.accounting import assumed, priced, with_session_log
from orchestrator.coordination.life import Life
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.tasktrees import TaskTrees
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model.attempt import AttemptEnd
from orchestrator.model.config import Config
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
from orchestrator.store import quotas
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store
from orchestrator.tools import changes
from orchestrator.tools.adapters import SpecAdapter, adapter
from orchestrator.tools.share import own_share, session_of

BEFORE = "git-before.json"  # what git said of the tree before the attempt
LARGE = 1 << 18  # bytes of log above which it is read in a thread of its own


class Readings:
    """Reads the logs of ended attempts."""

    def __init__(
        self, layout: Layout, settings: Settings, store: Store, tasktrees: TaskTrees
    ) -> None:
        self.layout, self.settings, self.store, self.tasktrees = layout, settings, store, tasktrees

    @property
    def config(self) -> Config:
        """What is configured now."""
        return self.settings.config

    async def understood(self, life: Life, entry: Entry, run_dir: str, end: AttemptEnd) -> Reading:
        """The reading, with this attempt's own share of the figures and with a cost."""
        try:
            large = os.path.getsize(f"{run_dir}/stdout.log") > LARGE
        except OSError:
            large = False
        reading = (
            await asyncio.to_thread(self._reading, life, run_dir, end)
            if large
            else self._reading(life, run_dir, end)
        )
        facts = entry.journal.attempt
        started = facts.started if facts is not None else {}
        parse = life.route.tool.parse
        begun, resumed = str(started.get("session") or ""), bool(started.get("resumed"))
        session = session_of(parse, reading, end.cause, begun, resumed)
        reading = replace(reading, session=session, resumed=resumed)
        before = [facts.read for facts in entry.journal.attempts[:-1]]
        reading = own_share(parse, reading, before)
        if "at" in started:
            reading = await with_session_log(life.route, run_dir, reading, started["at"])
        self._remember_quota(life, reading)
        reading = priced(reading, self.config.models.get(life.route.model or reading.model))
        unknown = self.config.budgets.unknown if "at" in started else None
        return assumed(reading, life.route, unknown)

    def _remember_quota(self, life: Life, reading: Reading) -> None:
        """What its tool said of its plan. A disk that refuses that costs nothing but the figure."""
        with suppress(OSError):
            quotas.remember(
                self.layout, life.route.tool.name, reading.windows, self.store.clock.wall()
            )

    async def before(self, life: Life, run_dir: str) -> None:
        """Have git say what the tree is like before an agent changes it."""
        if life.tree is not None:
            await self.tasktrees.remember(life, run_dir)
        elif life.route.tool.parse is not None and (
            seen := await asyncio.to_thread(changes.look, self.layout.root, self.layout.work)
        ):
            changes.save(f"{run_dir}/{BEFORE}", seen)

    def _reading(self, life: Life, run_dir: str, end: AttemptEnd) -> Reading:
        """What the adapter makes of the end; if it cannot, what can be said without it."""
        try:
            return adapter(life.route.tool.adapter).reading(life.route, run_dir, end)
        except Exception as error:
            plain = SpecAdapter().reading(life.route, run_dir, end)
            if end.cause:
                return plain
            return replace(
                plain,
                outcome=Outcome.FAILED,
                error_class="output",
                may_retry=False,
                reason=f"its output could not be read: {one_line(str(error), 120)}",
            )
