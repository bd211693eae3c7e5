"""Writing down again what the ledger knows and the event log has lost.

The events have the ids that they had, so nothing is there twice should the old log come back.
"""

from __future__ import annotations

from typing import Any

from orchestrator.model.event import event
from orchestrator.model.journal import AttemptFacts, Journal
from orchestrator.store.eventlog import Event
from orchestrator.store.transitions import Store

WHY = "written again from the ledger: the log had lost it"


def relog(store: Store, journal: Journal) -> int:
    """Append the ends of a task's attempts and its own; how many events that were."""
    events = [_attempt(journal, facts) for facts in journal.attempts if facts.read]
    last = journal.attempts[-1]
    status = str(journal.last.get("status", ""))
    events.append(_event(journal, last, "task_finished", phase="finish", status=status))
    store.log.commit_and_wait(events)
    return len(events)


def _attempt(journal: Journal, facts: AttemptFacts) -> Event:
    return _event(journal, facts, "attempt_finished", phase="attempt", status="running")


def _event(journal: Journal, facts: AttemptFacts, kind: str, **fields: Any) -> Event:
    read, ended = facts.read, facts.ended or {}
    moment = float(ended.get("at") or journal.last.get("at") or 0.0)
    own = {
        "task_id": journal.task_id,
        "run_id": journal.claim.get("run"),
        "attempt": facts.number,
        "agent": read.get("agent", journal.claim.get("agent")),
        "tool": read.get("tool", journal.claim.get("tool")),
        "model": read.get("model"),
        "mode": journal.claim.get("mode"),
        "summary": WHY,
        "outcome": read.get("outcome", journal.last.get("outcome")),
        "exit_code": ended.get("code"),
        "usage": dict(read.get("usage", {})),
        "cost_usd": read.get("cost_usd"),
        "cost_source": read.get("cost_source", ""),
        "session": read.get("session", ""),
        "error_class": read.get("error_class", ""),
    }
    return event(kind, moment, f"{journal.task_id}/{facts.number}/{kind}", {**own, **fields})
