"""What the verbs that move a task's file have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.cli.changes import Changes
from orchestrator.cli.writing import open_store
from orchestrator.errors import Refused
from orchestrator.model.status import Status
from orchestrator.store.moves import Moved
from orchestrator.store.transitions import Rehearsed, Store

Step = Callable[[Store, str], Moved]


def move(
    changes: Changes,
    found: Iterable[tuple[str, Status, str]],
    step: Step,
    said: str,
    would: str,
    dry_run: bool,
) -> None:
    """Do one step to every task that was found; in a dry run judge it as ever, and say what it
    would do."""
    app, found = changes.app, list(found)
    store = open_store(app, dry_run) if found else None
    for task_id, status, _ in found:
        assert store is not None
        try:
            moved = step(store, task_id)
        except Refused as error:
            changes.refuse(task_id, error)
            continue
        except Rehearsed as it:
            more = f", and {it.doing}" if it.doing else ""
            line = f"would {would} {task_id} ({status.word} now){more}"
            changes.done(task_id, status.word, it.target.word, line)
            continue
        sign = app.console.sign(str(moved.target))
        shown = app.layout.shown(moved.path)
        line = f"{sign} {said:<12} {shown}" if app.console.tty else f"{said}\t{task_id}\t{shown}"
        changes.done(task_id, status.word, moved.target.word, line)
