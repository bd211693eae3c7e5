"""A broker with workers, as the watcher of one work directory has it."""

from __future__ import annotations

import asyncio
from dataclasses import field
from typing import Any

from orchestrator.distributors.engines.base import Engine
from orchestrator.distributors.home import Home
from orchestrator.distributors.offering import Offering
from orchestrator.records import dataclass


@dataclass(slots=True)
class Farm:
    """A broker with workers, for one work directory. Times are seconds; ``troubles`` is what
    keeps whom from what they ask it. ``epoch`` names the broker's data, as last read. ``crowded`` is whether it has the
    cards of more workers than are read."""

    name: str
    engine: Engine
    project: str
    lease: float
    leash: float
    code: str
    home: Home
    offering: Offering
    epoch: str = ""
    troubles: dict[str, str] = field(default_factory=dict)
    workers: dict[str, dict[str, Any]] = field(default_factory=dict)
    crowded: bool = False
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)  # a worker took or ended something

    @property
    def trouble(self) -> str:
        """Why it does not answer; empty if it does."""
        return next(iter(self.troubles.values()), "")

    def tell(self, who: str, trouble: str) -> None:
        """What ``who`` is kept by; empty: nothing. Who may read is no sign that others may write."""
        self.troubles.pop(who, None)
        if trouble:
            self.troubles[who] = trouble
