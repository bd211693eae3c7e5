"""What is kept of an attempt: its outcome, as its journal tells it."""

from __future__ import annotations

from orchestrator.model.attempt import end_from
from orchestrator.model.journal import AttemptFacts
from orchestrator.model.result import Reading, reading_from
from orchestrator.model.status import Outcome


def brief(facts: AttemptFacts) -> Reading:
    """An earlier attempt, from its journal alone."""
    end = end_from(facts.ended or {"record": "lost"})
    if facts.read:
        return reading_from(facts.read, end.duration_ms, end.exit_code)
    outcome = {
        "cancelled": Outcome.CANCELLED,
        "timeout": Outcome.TIMED_OUT,
        "lost": Outcome.LOST,
    }.get(end.cause, Outcome.SUCCEEDED if end.code == 0 else Outcome.FAILED)
    return Reading(
        outcome,
        end.exit_code,
        error_class=end.cause or ("exit" if end.exit_code else ""),
        duration_ms=end.duration_ms,
    )
