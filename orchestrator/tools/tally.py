"""Adding up the usage that events report: tokens by kind, and dollars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.tools import queries

# Kinds of tokens.  cached and cache_write are among input, reasoning is among output.
TOKENS = ("input", "cached", "cache_write", "output", "reasoning")


def figure(value: Any) -> float | None:
    """A count or a price; None if it is no sensible one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 <= value < 1e15 else None


class Tally:
    """Sums over events.  Of events with the same key the last counts."""

    def __init__(self, key: str, figures: Mapping[str, str], includes_cached: bool) -> None:
        self._key, self._figures, self._includes_cached = key, figures, includes_cached
        self._counted: dict[str, dict[str, float]] = {}
        self._total: dict[str, float] = {}

    def add(self, event: Mapping[str, Any]) -> bool:
        """Count an event; whether it reported anything."""
        found = {
            name: value
            for name, query in self._figures.items()
            if (value := figure(queries.search(query, event))) is not None
        }
        if not found:
            return False
        key = queries.search(self._key, event) if self._key else None
        name = str(key) if key is not None else f"#{len(self._counted)}"
        for kind, value in self._counted.get(name, {}).items():
            self._total[kind] -= value
        self._counted[name] = found
        for kind, value in found.items():
            self._total[kind] = self._total.get(kind, 0) + value
        return True

    @property
    def usage(self) -> dict[str, int]:
        """Tokens by kind, those from a cache included in ``input``; kinds without any are left
        out."""
        usage = {name: int(self._total[name]) for name in TOKENS if self._total.get(name)}
        if not self._includes_cached and "cached" in usage:
            usage["input"] = usage.get("input", 0) + usage["cached"]
        return usage

    @property
    def cost(self) -> float | None:
        """Dollars; None if none were reported."""
        return self._total.get("cost") or None
