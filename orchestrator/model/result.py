"""Results: what a person wants to know about a finished task, written once per finish."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.model.status import Outcome
from orchestrator.model.units import cost_of
from orchestrator.patterns import regex
from orchestrator.records import dataclass, field

_SESSION = regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+=~-]{0,199}\Z")


def session_name(value: Any) -> str:
    """A session that a tool, its log or a worker named, if it is one, else empty: it becomes a word
    of the next command, and often a part of a path; and an agent may have chosen it."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return text if _SESSION.match(text) and ".." not in text.split("/") else ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was understood from one attempt's end and its output.

    ``error_class`` is empty for a success; ``message`` is the tool's last word, ``reason`` ours.
    ``usage`` counts tokens, those from a cache included in ``input``; ``cost_source`` is
    ``reported``, ``estimated``, ``assumed`` or ``unknown`` (empty: nothing was used), and ``model``
    what the tool says acted; ``session_cost`` what the whole session cost so far, if only that was
    said; ``reset`` is when a limit ends (seconds since the epoch), if that was said; ``windows``
    what the tool knows of its plan's windows (`model.quota.window_from`). ``answer`` is what may be
    an answer as data, its last words in whole if the tool says nothing better; ``data`` is the
    value once it fits the task's schema.
    """

    outcome: Outcome
    exit_code: int | None = None
    signal: str = ""
    error_class: str = ""
    reason: str = ""
    message: str = ""
    session: str = ""
    model: str = ""
    resumed: bool = False
    usage: Mapping[str, int] = field(default_factory=dict)
    cost_usd: float | None = None
    cost_source: str = ""
    reset: float | None = None
    session_cost: float | None = None
    windows: tuple[Mapping[str, Any], ...] = ()
    answer: Any = None
    data: Any = None
    warnings: tuple[str, ...] = ()
    duration_ms: int = 0
    may_retry: bool = True


def kept(reading: Reading, agent: str, tool: str, model: str | None) -> dict[str, Any]:
    """What the journal remembers of a reading, under the names a result has; keys without a value
    are left out."""
    return _filled(
        {
            "outcome": str(reading.outcome),
            "agent": agent,
            "tool": tool,
            "model": model or reading.model,
            "error_class": reading.error_class,
            "reason": reading.reason,
            "session": reading.session,
            "resumed": reading.resumed or None,
            "usage": dict(reading.usage),
            "cost_usd": reading.cost_usd,
            "cost_source": reading.cost_source,
            "warnings": list(reading.warnings),
        }
    )


def reading_from(
    facts: Mapping[str, Any], duration_ms: int, exit_code: int | None, signal: str = ""
) -> Reading:
    """The reading that `kept` remembered."""
    return Reading(
        Outcome(facts["outcome"]),
        exit_code,
        signal,
        facts.get("error_class", ""),
        facts.get("reason", ""),
        session=facts.get("session", ""),
        resumed=bool(facts.get("resumed")),
        usage=facts.get("usage", {}),
        cost_usd=cost_of(facts.get("cost_usd")),
        cost_source=facts.get("cost_source", ""),
        warnings=tuple(facts.get("warnings", ())),
        duration_ms=duration_ms,
    )


def total_usage(usages: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Tokens of several attempts together."""
    total: dict[str, int] = {}
    for usage in usages:
        for name, count in usage.items():
            total[name] = total.get(name, 0) + count
    return total


def total_cost(readings: Sequence[Reading]) -> tuple[float | None, str]:
    """Cost of several attempts together, and how sure it is: as sure as the least sure of them."""
    costs = [reading.cost_usd for reading in readings if reading.cost_usd is not None]
    sources = {reading.cost_source for reading in readings if reading.cost_source}
    source = next(
        (name for name in ("unknown", "assumed", "estimated", "reported") if name in sources), ""
    )
    return (round(sum(costs), 6) if costs else None), source


def _filled(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value not in (None, "", [], {})}


def attempt_entry(
    number: int, started_at: str, finished_at: str, reading: Reading, **more: Any
) -> dict[str, Any]:
    """One line of a result's ``attempts``; keys without a value are left out."""
    entry: dict[str, Any] = {
        "attempt": number,
        "outcome": str(reading.outcome),
        **more,
        "started_at": started_at,
        "finished_at": finished_at,
        "duration_s": round(reading.duration_ms / 1000, 3),
        "exit_code": reading.exit_code,
        "signal": reading.signal,
        "error_class": reading.error_class,
        "reason": reading.reason,
        "session": reading.session,
        "resumed": reading.resumed or None,
        "usage": dict(reading.usage),
        "cost_usd": reading.cost_usd,
        "cost_source": reading.cost_source,
        "warnings": list(reading.warnings),
    }
    return _filled(entry)


def result(
    task_id: str,
    outcome: str,
    claim: Mapping[str, Any],
    attempts: Sequence[Mapping[str, Any]],
    reading: Reading | None,
    **more: Any,
) -> dict[str, Any]:
    """The result document of a task, keys in reading order; keys without a value are left out.

    It has no status: the folder is the status, and a person may still move the file.
    """
    document: dict[str, Any] = {
        "task": task_id,
        "title": claim.get("title"),
        "run": claim.get("run"),
        "outcome": outcome,
        "agent": claim.get("agent"),
        "tool": claim.get("tool"),
        "model": claim.get("model"),
        "why": claim.get("why"),
        "reason": more.pop("reason", "") or (reading.reason if reading else ""),
        "exit_code": reading.exit_code if reading else None,
        "error_class": reading.error_class if reading else "",
        "started_at": attempts[0].get("started_at") if attempts else None,
        "finished_at": more.pop("finished_at", None),
        "duration_s": round(sum(entry.get("duration_s", 0) for entry in attempts), 3)
        if attempts
        else None,
        "session": reading.session if reading else "",
        "resume": more.pop("resume", ""),
        "usage": more.pop("usage", dict(reading.usage) if reading else {}),
        "cost_usd": more.pop("cost_usd", reading.cost_usd if reading else None),
        "cost_source": more.pop("cost_source", reading.cost_source if reading else ""),
        "warnings": list(reading.warnings) if reading else [],
        "message": reading.message if reading else "",
        "data": reading.data if reading else None,
        "artifacts": more.pop("artifacts", []),
        "files_changed": more.pop("files_changed", []),
        "log": more.pop("log", ""),
        "attempts": list(attempts),
        **more,
    }
    return {
        key: value
        for key, value in document.items()
        if key == "attempts" or value not in (None, "", [], {})
    }
