"""Limits of tools that attempts have met: nobody starts such a tool before its limit is over."""

from __future__ import annotations

from orchestrator.coordination.durable import Durable
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.life import Life
from orchestrator.coordination.nextsteps import failure
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.taskevents import TaskEvents
from orchestrator.files.layout import Layout
from orchestrator.model.policy import held_until
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
from orchestrator.model.units import timestamp
from orchestrator.store import holding
from orchestrator.store.transitions import Store
from orchestrator.tools.specs import of_account


class ToolLimits:
    """Holds a tool, by a file in held/ that says how long."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        events: TaskEvents,
        durable: Durable,
        hints: Hints,
    ) -> None:
        self._layout, self._settings, self._store = layout, settings, store
        self._events, self._durable, self._hints = events, durable, hints
        self._met: dict[str, int] = {}  # by tool: limits met since its last answer

    async def mind(self, life: Life, reading: Reading) -> None:
        """Hold the tool if it has met its limit; one that succeeds has met none."""
        if failure(reading).parks:
            await self._hold(life, reading)
        elif reading.outcome is Outcome.SUCCEEDED:
            self._met.pop(life.route.tool.name, None)

    async def _hold(self, life: Life, reading: Reading) -> None:
        """Nobody starts the tool before its limit is over."""
        tool = life.route.tool.name
        self._met[tool] = self._met.get(tool, 0) + 1
        until = held_until(
            reading.reset, self._store.clock.wall(), self._met[tool], self._settings.config.retry
        )
        scope, now = ("tool", tool), self._store.clock.wall()
        why, common = reading.reason, of_account(tool)
        path = await self._durable.done(
            lambda: holding.place(self._layout, scope, now, until, why, common)
        )
        # The loop looks before it starts anything: a notification may come later than that.
        self._hints.add(path, renamed=False)
        self._store.log.commit(
            [
                self._events.event(
                    life,
                    "tool_parked",
                    life.attempt,
                    phase="attempt",
                    status="running",
                    summary=f"until {timestamp(until)[:19]}Z: {reading.reason}",
                )
            ]
        )
