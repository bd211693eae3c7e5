"""What was spent: each attempt once, from the ledger first, and from the event log what the ledger
does not know.

The log has the attempts of other clones and those from before ``.state`` was removed; the ledger
has what git, or a person, took out of the log.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.files import eventreader, jsonlines
from orchestrator.files.layout import Layout
from orchestrator.model import ids
from orchestrator.model.budget import Spent
from orchestrator.model.units import cost_of, moment_of, timestamp, when
from orchestrator.model.usage import counted
from orchestrator.records import dataclass, field

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that has been understood: ``ts`` (a timestamp) is when."""

    ts: str
    agent: str
    run: str
    cost: float | None
    usage: Mapping[str, Any] = field(default_factory=dict)


def of_day(layout: Layout, day: str) -> tuple[Spent, Spent]:
    """What all attempts cost that ended on this day (``2026-11-22``, UTC): dollars and tokens."""
    dollars, tokens = Spent(day), Spent(day)
    for ended in _on(layout, day):
        dollars.add(ended.agent, "", ended.cost or 0.0)
        tokens.add(ended.agent, "", counted(ended.usage))
    return dollars, tokens


def totals(layout: Layout, day: str, before: str) -> tuple[float, int]:
    """Dollars and tokens of the attempts that ended on a day before a moment (a timestamp)."""
    dollars, tokens = 0.0, 0
    for ended in _on(layout, day):
        if ended.ts < before:
            dollars += ended.cost or 0.0
            tokens += counted(ended.usage)
    return dollars, tokens


def of_run(layout: Layout, run_id: str) -> float:
    """The costs of all attempts of a run's tasks, on whatever day."""
    return both_of_run(layout, run_id)[0]


def both_of_run(layout: Layout, run_id: str) -> tuple[float, int]:
    """Dollars and tokens of all attempts of a run's tasks, on whatever day."""
    found = _logged(eventreader.about(layout, "run_id", run_id))
    found.update(_recorded(layout, prefix=ids.key(run_id) + "."))
    mine = [ended for ended in found.values() if ended.run == run_id]
    return sum(ended.cost or 0.0 for ended in mine), sum(counted(ended.usage) for ended in mine)


def begun(layout: Layout, since: float) -> list[tuple[float, str]]:
    """When attempts began since a moment (seconds), and of which agents."""
    found: dict[Key, tuple[float, str]] = {}
    for day in sorted({timestamp(since)[:10], timestamp(since + 3600)[:10]}):
        for event in eventreader.events(layout, day)[0]:
            if event.get("event") == "attempt_started":
                key = (str(event.get("task_id")), int(event.get("attempt") or 0))
                found[key] = (_moment(event.get("ts")), str(event.get("agent") or ""))
    return [item for item in found.values() if item[0] >= since]


def _moment(text: Any) -> float:
    return moment_of(text) or 0.0


def _on(layout: Layout, day: str) -> list[Ended]:
    found = _logged(eventreader.events(layout, day)[0])
    found.update(_recorded(layout, since=when(f"{day}T00:00:00Z")))
    return [ended for ended in found.values() if ended.ts.startswith(day)]


def _logged(events: Iterable[dict[str, Any]]) -> dict[Key, Ended]:
    return {
        (str(event.get("task_id")), int(event.get("attempt") or 0)): Ended(
            str(event.get("ts", "")),
            str(event.get("agent") or ""),
            str(event.get("run_id") or ""),
            cost_of(event.get("cost_usd")),
            event.get("usage") or {},
        )
        for event in events
        if event.get("event") == "attempt_finished"
    }


def _recorded(layout: Layout, since: float = 0.0, prefix: str = "") -> dict[Key, Ended]:
    """What journals that were written to since then (seconds), and whose names begin so, know of
    their attempts."""
    found: dict[Key, Ended] = {}
    for folder in (layout.active, layout.closed):
        for path in _journals(folder, since, prefix):
            found.update(_attempts(jsonlines.read(path)[0]))
    return found


def _journals(folder: str, since: float, prefix: str) -> list[str]:
    try:
        with os.scandir(folder) as listed:
            return [
                entry.path
                for entry in listed
                if entry.name.endswith(".jsonl")
                and entry.name.startswith(prefix)
                and (not since or entry.stat(follow_symlinks=False).st_mtime >= since)
            ]
    except FileNotFoundError:
        return []


def _attempts(records: list[dict[str, Any]]) -> Iterator[tuple[Key, Ended]]:
    task_id, run, number = "", "", 0
    for record in records:
        if record.get("record") == "claim":
            task_id, run = str(record.get("id")), str(record.get("run") or "")
        elif record.get("record") in ("started", "exit", "lost"):
            attempt = record.get("attempt")
            number = attempt if isinstance(attempt, int) else 0
        read = record.get("read")
        if isinstance(read, dict) and number:
            cost = cost_of(read.get("cost_usd"))
            when = timestamp(cost_of(record.get("at")) or 0.0)
            agent = str(read.get("agent") or "")
            yield (task_id, number), Ended(when, agent, run, cost, read.get("usage") or {})
