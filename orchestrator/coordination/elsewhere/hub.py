"""What the dispatches of one worker share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from typing import Protocol, TypeVar

from orchestrator.coordination.elsewhere.spool import Spool
from orchestrator.coordination.elsewhere.workplace import Workplace
from orchestrator.distributors.direct import DirectDistributor
from orchestrator.distributors.engines.base import Down, Engine
from orchestrator.model.config import Config
from orchestrator.records import dataclass
from orchestrator.tools.specs import ToolSpec

Answer = TypeVar("Answer")
PAUSE = 0.5  # seconds before the broker is asked again


class Voice(Protocol):
    """Who shows a person what happens."""

    def say(self, text: str) -> None:
        """One line."""


@dataclass(slots=True)
class Hub:
    """``name`` is what people call the worker, ``root`` its project; ``wake`` is set when the
    worker is to look again."""

    name: str
    engine: Engine
    spool: Spool
    workplace: Workplace
    direct: DirectDistributor
    config: Config
    tools: Mapping[str, ToolSpec]
    root: str
    voice: Voice
    trouble: str = ""
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, text: str) -> None:
        """Something that a person may want to see."""
        self.voice.say(text)

    async def patient(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The broker's answer, however long it is away."""
        while True:
            try:
                answer = await ask()
                self.trouble = ""
                return answer
            except Down as error:
                if not self.trouble:
                    self.tell(f"waiting for the broker: {error.message}")
                self.trouble = error.message
                await asyncio.sleep(PAUSE)
