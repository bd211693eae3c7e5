"""How an offer gets to a worker: into a pool that workers pull from, or to one that is started for
it (`distributors.launching`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from orchestrator.distributors.dispatches import TOPIC
from orchestrator.distributors.engines.base import Engine


class Offering(Protocol):
    """Nothing that it says decides whether an attempt runs: that is the record's alone."""

    async def place(self, dispatch: str, order: Mapping[str, Any], data: bytes) -> None:
        """Make an offer, or make it again.  Raises `Down`."""

    def where(self, dispatch: str) -> str:
        """Where an offer that nobody has taken is, for people; empty: in its pool."""

    def failed(self, dispatch: str) -> str:
        """Why nobody is going to take it; empty while somebody may."""

    def taken(self, dispatch: str) -> None:
        """A worker has claimed it."""

    def over(self, dispatch: str, lost: bool) -> None:
        """It has ended, or was withdrawn; ``lost``: nobody knows what became of its worker."""

    def waiting(self) -> dict[str, str]:
        """What `where` says of each that waits, for readers."""

    def close(self) -> None:
        """The watcher leaves; what was offered stays."""


class Pools:
    """Offers to workers that are there already."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def place(self, dispatch: str, order: Mapping[str, Any], data: bytes) -> None:
        pool = str(order["pool"])
        await self._engine.push(pool, dispatch, data)
        await self._engine.notify(TOPIC, pool)

    def where(self, dispatch: str) -> str:
        return ""

    failed = where

    def taken(self, dispatch: str) -> None:
        """Nothing was made for it."""

    def over(self, dispatch: str, lost: bool) -> None:
        """Nothing was made for it."""

    def waiting(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        """Nothing is open."""
