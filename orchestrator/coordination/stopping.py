"""Asking an attempt to stop: the request is left where its supervisor and every watcher look, and
both are woken."""

from __future__ import annotations

import signal

from orchestrator.execution.processes import send
from orchestrator.files import journals
from orchestrator.model.status import Status
from orchestrator.store.transitions import Store


def ask(store: Store, task_id: str, by: str) -> bool:
    """Have a running task stopped; whether its supervisor was reached."""
    layout = store.layout
    store.judged(task_id, Status.CANCELLED)
    if store.request_cancel(task_id, by):
        moment = f"@{int(store.clock.wall() * 1000)}"
        said = {"task_id": task_id, "phase": "request", "status": "running", "summary": by}
        event = store.log.event("task_cancel_requested", task_id, moment, **said)
        store.log.commit_and_wait([event])
    journal = journals.of(layout, task_id)
    attempt = journal.attempt if journal else None
    reached = False
    if attempt is not None and attempt.ended is None:
        started = attempt.started
        process = (started.get("supervisor", 0), started.get("supervisor_start", 0))
        reached = send(*process, started.get("boot", ""), signal.SIGTERM)
    # For the watcher's eyes: a file that it is told of at once.
    try:
        with open(layout.file(Status.RUNNING, f"{task_id}.cancel"), "x", encoding="ascii"):
            pass
    except FileExistsError:
        pass
    return reached
