"""What was spent, recomputed from the event log: nothing else remembers it, so nothing can disagree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.files import eventreader
from orchestrator.files.layout import Layout
from orchestrator.model.budget import Spent


def of_day(layout: Layout, day: str) -> Spent:
    """The costs of all attempts that ended on this day (``2026-11-22``, UTC)."""
    spent = Spent(day)
    for event in _attempts(eventreader.events(layout, day)[0]):
        if str(event.get("ts", "")).startswith(day):
            spent.add(str(event.get("agent") or ""), "", float(event["cost_usd"]))
    return spent


def totals(layout: Layout, day: str, before: str) -> tuple[float, int]:
    """Dollars and tokens of the attempts that ended on a day before a moment (a timestamp)."""
    dollars, tokens = 0.0, 0
    for event in eventreader.events(layout, day)[0]:
        if (
            event.get("event") == "attempt_finished"
            and day <= str(event.get("ts", "")) < before
            and str(event.get("ts", "")).startswith(day)
        ):
            usage = event.get("usage") or {}
            dollars += float(event.get("cost_usd") or 0.0)
            tokens += sum(int(usage.get(kind) or 0) for kind in ("input", "output"))
    return dollars, tokens


def of_run(layout: Layout, run_id: str) -> float:
    """The costs of all attempts of a run's tasks, on whatever day."""
    return sum(
        float(event["cost_usd"]) for event in _attempts(eventreader.about(layout, "run_id", run_id))
    )


def _attempts(events: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return (
        event
        for event in events
        if event.get("event") == "attempt_finished"
        and isinstance(event.get("cost_usd"), (int, float))
    )
