"""What one attempt used of what its session used: some tools report the figures of the whole
session again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.model.result import Reading, total_usage
from orchestrator.records import replace
from orchestrator.tools.output import Parse

Read = Mapping[str, Any]  # `model.result.kept` of an attempt


_STOPPED = frozenset({"cancelled", "timeout", "silence", "lost"})


def session_of(
    parse: Parse | None, reading: Reading, cause: str, begun: str, resumed: bool = False
) -> str:
    """The session to go on with: the one that the tool named, else the one it was ``begun`` with,
    if it never names any.

    A tool that names its session and did not has crashed before there was one. But one that was
    ``resumed`` was there, and is still there if its tool was stopped before it said a word.
    """
    if reading.session or cause in ("start", "not_installed"):
        return reading.session
    if resumed and cause in _STOPPED:
        return begun
    names_it = parse is not None and bool(parse.session)
    return "" if names_it else begun


# Failures of which a session is innocent: it is gone on with, however often.
_OUTSIDE = frozenset({"usage_limit", "rate_limit", "overloaded", "network", "auth", "cancelled"})


def came_to_nothing(before: Read) -> bool:
    """Whether an attempt that went on with its session did nothing in it: the next one begins a new
    session."""
    failed = before.get("outcome") in ("failed", "timed_out")
    outside = before.get("error_class") in _OUTSIDE
    return bool(before.get("resumed")) and failed and not outside and not before.get("usage")


def own_share(parse: Parse | None, reading: Reading, attempts: Sequence[Read]) -> Reading:
    """The reading with what this attempt alone used; ``attempts`` are those before it."""
    earlier = [read for read in attempts if read.get("session") == reading.session != ""]
    if reading.cost_usd is None and reading.session_cost:
        left = _left(reading.session_cost, earlier)
        return replace(reading, cost_usd=left, cost_source="reported", session_cost=None)
    if parse is None or not parse.cumulative or not earlier or not reading.usage:
        return reading
    before = total_usage(read.get("usage", {}) for read in earlier)
    usage = {name: max(0, count - before.get(name, 0)) for name, count in reading.usage.items()}
    cost = None if reading.cost_usd is None else _left(reading.cost_usd, earlier)
    return replace(reading, cost_usd=cost, usage=usage)


def _left(whole: float, earlier: Sequence[Read]) -> float:
    return max(0.0, whole - sum(read.get("cost_usd") or 0.0 for read in earlier))
