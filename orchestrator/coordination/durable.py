"""Writing that waits out a disk that refuses: what has happened is not forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.coordination.health import Health
from orchestrator.errors import OrchestratorError, StoreFault
from orchestrator.store.claiming import Claim
from orchestrator.store.eventlog import Event, NewFile
from orchestrator.store.transitions import Store


class Durable:
    """Tries again whenever the disk works; returns when it is done."""

    def __init__(self, store: Store, health: Health) -> None:
        self._store, self._health = store, health

    async def commit(
        self,
        events: Sequence[Event],
        stage: Callable[[], list[NewFile]] | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Commit, waiting out a disk that refuses: what has happened is not forgotten."""
        while True:
            try:
                files = stage() if stage else []
                await asyncio.wrap_future(self._store.log.commit(events, files, claim))
                return
            except (StoreFault, OSError) as error:
                self._health.failed(error)
                await self._health.fine()

    async def done(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                return step()
            except (OSError, OrchestratorError) as error:
                self._health.failed(error)
                await self._health.fine()
