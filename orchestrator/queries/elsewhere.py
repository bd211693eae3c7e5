"""Of attempts that other machines have: where they are, and what is known of the workers there."""

from __future__ import annotations

from orchestrator.model.gates import Gate, GateName
from orchestrator.model.journal import AttemptFacts, Phase
from orchestrator.model.units import show_duration


def place(attempt: AttemptFacts) -> str:
    """``farm``, ``farm/w1``: who has an attempt; empty for this machine."""
    worker = str(attempt.started.get("worker") or "")
    return "/".join(filter(None, (attempt.where, worker)))


def waits(attempt: AttemptFacts, phase: Phase, now: float) -> tuple[str, list[Gate]]:
    """What is to be said of an attempt that was offered elsewhere and has not ended: a sentence, and what it waits for."""
    where, pool = attempt.where, str(attempt.dispatched.get("pool", ""))
    if phase is Phase.STARTED:
        return f"it is running at {place(attempt)}", []
    since = show_duration(max(0.0, now - float(attempt.dispatched.get("at", now))))
    gate = Gate(GateName.PLACE, f"a worker of the pool {pool} is to take it", f"on: {where}")
    return f"it is queued at {where} since {since}", [gate]
