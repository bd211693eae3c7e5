"""``cancel``: stop a running task, or withdraw one that waits."""

from __future__ import annotations

import os
import time

import click

from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes
from orchestrator.cli.consent import refuse_of_others
from orchestrator.cli.options import (
    dry_run_option,
    examples,
    ids_argument,
    json_option,
    now,
)
from orchestrator.cli.screen.console import say
from orchestrator.cli.selecting import NAME, Filter, agree, filter_options, find
from orchestrator.cli.writing import open_store
from orchestrator.coordination import stopping
from orchestrator.errors import FAILED, NotFound, Refused
from orchestrator.files import card, journals
from orchestrator.model.journal import Phase
from orchestrator.model.status import UNDECIDED, Status
from orchestrator.model.units import show_duration
from orchestrator.queries import runs as run_queries
from orchestrator.queries import whereabouts
from orchestrator.store import moves
from orchestrator.store.transitions import Rehearsed, Store

TO_CANCEL = (Status.RUNNING, *UNDECIDED)


@click.command(
    epilog=examples(
        "orchestrator cancel review-retry",
        "orchestrator cancel release-0.2 --dry-run      # a run: what has not ended",
        "touch work/running/review-retry.cancel      # the same, without the command",
    )
)
@ids_argument(*TO_CANCEL, required=False, runs=True)
@filter_options()
@click.option("--no-wait", is_flag=True, help="Ask for the stop and return at once.")
@dry_run_option
@json_option
@click.pass_obj
def command(
    app: App,
    tasks: tuple[str, ...],
    wanted: Filter,
    yes: bool,
    no_wait: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Stop running tasks (SIGINT, then SIGTERM, then SIGKILL) and withdraw waiting ones.

    The name of a run means all its tasks that have not ended. --run, --agent, --label and --status
    select the tasks that match all of them; cancel lists these and asks. To stop the watcher,
    press Ctrl-C in its pane.
    """
    if bool(tasks) == bool(wanted):
        hint = "; Ctrl-C in its pane stops the watcher" if not tasks else ""
        raise click.UsageError(NAME + hint)
    found = _of_words(app, tasks) if tasks else _fitting(app, wanted)
    refuse_of_others(app.layout, (task_id for task_id, _ in found), "cancel")
    if wanted and not dry_run:
        agree(app, [(*each, "") for each in found], "cancel", yes)
    changes = Changes(app, as_json)
    if tasks and not found:
        say("there is nothing to cancel: everything has ended")
    store = open_store(app, dry_run)
    stopping = []
    for task_id, status in found:
        try:
            if status is Status.RUNNING:
                _ask(app, store, task_id, as_json, no_wait)
                stopping.append(task_id)
            else:
                moved = moves.cancel(store, task_id, "cancelled by a person")
                sign = app.console.sign("cancelled")
                told = f"{sign} cancelled    {task_id} was {status.word}; nothing was running"
                plain = f"cancelled\t{task_id}\t{app.layout.shown(moved.path)}"
                line = told if app.console.tty else plain
                changes.done(task_id, status.word, "cancelled", line)
        except Refused as error:
            changes.refuse(task_id, error)
        except Rehearsed as it:
            would = "stop" if status is Status.RUNNING else "cancel"
            line = f"would {would} {task_id} ({status.word} now)"
            changes.done(task_id, status.word, it.target.word, line)
    codes = [0]
    if no_wait:  # it is asked, and where it is now is where it was
        running = Status.RUNNING.word
        changes.changed += [{"id": name, "from": running, "to": running} for name in stopping]
    else:
        codes += [_wait(changes, task_id) for task_id in stopping]
    return max(changes.end(), *codes)


def _of_words(app: App, words: tuple[str, ...]) -> list[tuple[str, Status]]:
    found = []
    for word in words:
        try:
            task_id, status, _ = whereabouts.find(app.layout, word)
        except NotFound:
            if run_queries.find_run(app.layout, word) is None:
                raise
            found += [each for each in _of_run(app, word) if each[1] in TO_CANCEL]
            continue
        found.append((task_id, status))
    return list(dict.fromkeys(found))


def _fitting(app: App, wanted: Filter) -> list[tuple[str, Status]]:
    """Those that fit, the last of a run first: what depends on a task is withdrawn before the task
    itself."""
    fit = {
        task_id: status
        for task_id, status, _ in find(app, wanted, TO_CANCEL)
        if status in TO_CANCEL
    }
    order = _of_run(app, wanted.run) if wanted.run else list(fit.items())
    return [(task_id, fit[task_id]) for task_id, _ in order if task_id in fit]


def _of_run(app: App, run_id: str) -> list[tuple[str, Status]]:
    known = run_queries.find_run(app.layout, run_id)
    view = run_queries.view_of(app.layout, *known, now()) if known else None
    if view is None:
        raise NotFound(f"there is no run '{run_id}'", "orchestrator runs   lists them")
    # Last ones first: what depends on a task is withdrawn before the task itself.
    places = [(row.id, whereabouts.locate(app.layout, row.id)) for row in reversed(view.rows)]
    return [(task_id, status) for task_id, status in places if status is not None]


def _ask(app: App, store: Store, task_id: str, as_json: bool, no_wait: bool) -> None:
    reached = stopping.ask(store, task_id, "orchestrator cancel")
    if as_json or not (reached or no_wait):
        return
    if app.console.tty:
        how = ": SIGINT ..." if reached else ""
        app.console.out(f"{app.console.sign('running')} {task_id}  asked to stop{how}")
    elif no_wait:
        app.console.out(f"asked to stop\t{task_id}")


def _wait(changes: Changes, task_id: str) -> int:
    """Until the attempt has stopped and, if a watcher runs, until it is recorded."""
    app = changes.app
    began = time.monotonic()
    while True:
        place = whereabouts.locate(app.layout, task_id)
        took = show_duration(time.monotonic() - began)
        if place is not Status.RUNNING:
            where = place.word if place else "nowhere"
            told = f"{app.console.sign(str(where))} {where:<12} {task_id} stopped after {took}"
            line = told if app.console.tty else f"{where}\t{task_id}"
            changes.done(task_id, "running", where, line)
            return 0 if place is Status.CANCELLED else FAILED
        journal = journals.of(app.layout, task_id)
        known = card.read(app.layout, now())
        if (
            (known is None or not known.alive)
            and journal is not None
            and journal.phase in (Phase.ENDED, Phase.RETRYING)
        ):
            line = (
                f"{task_id} stopped after {took}; the next watcher records it: orchestrator watch"
            )
            changes.done(task_id, "running", "running", line)
            return 0
        if not os.path.exists(app.layout.cancel_request(task_id)) and journal is None:
            return 0
        time.sleep(0.05)
