"""Claimed tasks that nobody works on, journals that are not understood, and files in running/ that
were never claimed here."""

from __future__ import annotations

from orchestrator.files import card, journals
from orchestrator.files.layout import Layout
from orchestrator.files.lockstate import locked
from orchestrator.model import ids
from orchestrator.model.journal import AttemptFacts, Journal, Phase
from orchestrator.model.status import Status
from orchestrator.model.units import plural
from orchestrator.queries.health.check import Check, mendable, note, ok, problem
from orchestrator.queries.world import Known


def progress(known: Known) -> list[Check]:
    layout, now = known.layout, known.now
    active = {ids.key(journal.task_id): journal for journal in journals.active(layout)}
    blocked = dict(journals.blocked(layout))
    found = [*_cut_off(layout, list(active.values()), now), *_not_understood(blocked)]
    for task_id, name in known.tasks_in(Status.RUNNING):
        if ids.key(task_id) not in active and ids.key(task_id) not in blocked:
            words = f"running/{name} was never claimed on this machine"
            found.append(mendable("orphan", words, "(to review/)"))
    return found or [ok("unfinished", f"{plural(len(active), 'task')} in progress, none cut off")]


def _cut_off(layout: Layout, active: list[Journal], now: float) -> list[Check]:
    """What was begun, while no watcher is there to see its end."""
    known = card.read(layout, now)
    if known is not None and known.alive:
        return []
    return [
        note(
            "unfinished",
            f"{journal.task_id} {_state(layout, journal)}; no watcher is running",
            "orchestrator watch   takes it up",
        )
        for journal in active
        if journal.phase not in (Phase.FINAL, Phase.REQUEUED)
    ]


def _state(layout: Layout, journal: Journal) -> str:
    attempt = journal.attempt
    if attempt is not None and journal.phase is Phase.STARTED and _lives(layout, journal, attempt):
        return "is still running under its supervisor"
    if attempt is not None and attempt.where:
        return f"is at {attempt.where}, which goes on without a watcher"
    return "was cut off"


def _lives(layout: Layout, journal: Journal, attempt: AttemptFacts) -> bool:
    started = attempt.started
    pid, since = started.get("supervisor", 0), started.get("supervisor_start", 0)
    if card.process_lives(pid, since, started.get("boot", "")):
        return True
    return locked(layout.journal(journal.task_id))


def _not_understood(blocked: dict[str, str]) -> list[Check]:
    fix = "use the version that wrote it, or move the journal away by hand"
    return [
        problem("journal", f"{key}: its journal is not understood: {why}", fix)
        for key, why in blocked.items()
    ]
