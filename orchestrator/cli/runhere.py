"""``run RUN``: a whole run, in the foreground.

Without a watcher one is started here that starts nothing else. Beside a watcher there is nothing to
start: the run is waited for.
"""

from __future__ import annotations

import time

from orchestrator.cli.app import App
from orchestrator.cli.consent import obtain
from orchestrator.cli.options import now
from orchestrator.cli.screen import follow
from orchestrator.cli.screen.console import say
from orchestrator.cli.verbs.watch import serve
from orchestrator.errors import FAILED, INTERRUPTED, NEEDS_YOU, Refused
from orchestrator.files import card, runrecords, scan
from orchestrator.files.layout import Layout
from orchestrator.model.run import Run
from orchestrator.model.status import RunStatus, Status
from orchestrator.queries.runs import RunView, find_run, meant, members, view_of
from orchestrator.queries.world import request_of

OVER = (RunStatus.DONE, RunStatus.CANCELLED, RunStatus.FAILED)


def accepted(layout: Layout, word: str) -> Run | None:
    """The accepted run that ``word`` means; None if it means a task, or nothing."""
    known = meant(layout, word)
    place = runrecords.place(layout, known[0]) if known is not None else None
    request = request_of(layout, *place) if place is not None else None
    return request.run if request is not None else None


def here(app: App, run: Run) -> int:
    """Run what is left of it; the exit code for how it ended."""
    layout = app.layout
    view = _view(layout, run)
    if view is not None and view.status in OVER:
        failed = any(row.status in ("failed", "cancelled") for row in view.rows)
        hint = (
            f"orchestrator retry --run {run.id}   runs again what failed or was cancelled"
            if failed
            else "orchestrator retry TASK   runs a task again"
        )
        raise Refused(f"run {run.id} is {view.status}", hint)
    found = card.read(layout, now())
    if found is not None and found.alive:
        return _wait(app, run, found)
    only = tuple(dict.fromkeys((run.id, *run.members, *members(layout, run))))
    watcher = serve(app, obtain(app), {"keys": False}, {"only": only}, until_empty=True)
    if watcher.rooms.signals.interrupted:
        return INTERRUPTED
    if watcher.rooms.health.fault:
        return FAILED
    return _code(_view(layout, run))


def _wait(app: App, run: Run, watcher: card.Card) -> int:
    """The watcher runs it: until its tasks have ended."""
    layout = app.layout
    say(f"the watcher (pid {watcher.pid}) runs {run.id}; waiting for its end")
    look, told = time.monotonic() + follow.OBSTACLE, False
    while scan.locate(layout, run.id, (Status.INBOX,)) is not None:
        if not told and time.monotonic() >= look:
            say(f"{run.id} has not been accepted yet (orchestrator why {run.id})")
            told = True
        time.sleep(follow.INTERVAL)
    ids = dict.fromkeys((*run.members, *members(layout, run)))
    follow.until_ended(app, [task_id for task_id in ids if scan.locate(layout, task_id)], None)
    return _code(_view(layout, run))


def _view(layout: Layout, run: Run) -> RunView | None:
    known = find_run(layout, run.id)
    if known is None or known[0] != run.id:
        return None
    return view_of(layout, *known, now())


def _code(view: RunView | None) -> int:
    """0: done; 1: one of its tasks has failed or was cancelled; 7: a person is to move it on."""
    if view is not None and view.status in (RunStatus.FAILED, RunStatus.CANCELLED):
        return FAILED
    if view is None or view.status is not RunStatus.DONE or view.folder == Status.REVIEW:
        return NEEDS_YOU
    return 0
