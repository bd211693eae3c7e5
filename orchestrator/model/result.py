"""Results: what a person wants to know about a finished task, written once per finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.model.status import Outcome


@dataclass(frozen=True, slots=True)
class Reading:
    """What was understood from one attempt's end and its output.

    ``error_class`` is empty for a success; ``message`` is the tool's last word, ``reason`` ours.
    """

    outcome: Outcome
    exit_code: int | None = None
    signal: str = ""
    error_class: str = ""
    reason: str = ""
    message: str = ""
    session: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    cost_usd: float | None = None
    warnings: tuple[str, ...] = ()
    duration_ms: int = 0
    may_retry: bool = True


def attempt_entry(number: int, started_at: str, finished_at: str, reading: Reading) -> dict[str, Any]:
    """One line of a result's ``attempts``; keys without a value are left out."""
    entry: dict[str, Any] = {
        "attempt": number,
        "outcome": str(reading.outcome),
        "started_at": started_at,
        "finished_at": finished_at,
        "duration_s": round(reading.duration_ms / 1000, 3),
        "exit_code": reading.exit_code,
        "signal": reading.signal,
        "error_class": reading.error_class,
        "reason": reading.reason,
        "session": reading.session,
    }
    return {key: value for key, value in entry.items() if value not in (None, "")}


def result(task_id: str, outcome: str, claim: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]],
           reading: Reading | None, **more: Any) -> dict[str, Any]:
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
        "reason": more.pop("reason", "") or (reading.reason if reading else ""),
        "exit_code": reading.exit_code if reading else None,
        "error_class": reading.error_class if reading else "",
        "started_at": attempts[0].get("started_at") if attempts else None,
        "finished_at": more.pop("finished_at", None),
        "duration_s": round(sum(entry.get("duration_s", 0) for entry in attempts), 3) if attempts else None,
        "session": reading.session if reading else "",
        "usage": dict(reading.usage) if reading else {},
        "cost_usd": reading.cost_usd if reading else None,
        "warnings": list(reading.warnings) if reading else [],
        "message": reading.message if reading else "",
        "artifacts": more.pop("artifacts", []),
        "log": more.pop("log", ""),
        "attempts": list(attempts),
        **more,
    }
    return {key: value for key, value in document.items() if key == "attempts" or value not in (None, "", [], {})}
