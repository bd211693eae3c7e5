"""``archive``: move old ended tasks out of the way."""

from __future__ import annotations

import os

import click

from orchestrator.cli import selecting
from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes
from orchestrator.cli.consent import refuse_of_others
from orchestrator.cli.options import (
    Found,
    dry_run_option,
    examples,
    ids_argument,
    json_option,
    now,
)
from orchestrator.cli.screen.console import say
from orchestrator.cli.writing import open_config, open_store
from orchestrator.coordination import clearing
from orchestrator.errors import Refused
from orchestrator.files import results, scan
from orchestrator.files.layout import Layout
from orchestrator.model.status import FINISHED, Status
from orchestrator.model.units import duration, plural, when
from orchestrator.queries import runs
from orchestrator.store import moves
from orchestrator.store.transitions import Rehearsed


@click.command(
    epilog=examples(
        "orchestrator archive --older-than 30d --dry-run",
        "orchestrator archive --status done --older-than 7d -y",
        "orchestrator archive review-retry",
    )
)
@ids_argument(*FINISHED, required=False, runs=True)
@click.option(
    "--older-than", "age", metavar="AGE", help="Tasks that ended at least this long ago: 7d, 12h."
)
@selecting.filter_options()
@dry_run_option
@json_option
@click.pass_obj
def command(
    app: App,
    tasks: tuple[str, ...],
    age: str | None,
    wanted: selecting.Filter,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Move ended tasks to work/archive. Results, logs and events stay where they are.

    --older-than, --run, --agent, --label and --status select the ended tasks that match all of
    them; archive lists these and asks.
    """
    if bool(tasks) == bool(wanted or age):
        raise click.UsageError(f"{selecting.NAME}, or --older-than 30d")
    if tasks:
        chosen = [task_id for task_id, _, _ in _named(app, tasks)]
    else:
        fit = selecting.find(app, wanted, FINISHED) if wanted else _all_ended(app)
        fit = [item for item in fit if item[1] in FINISHED and _old(app, item, age)]
        chosen = [task_id for task_id, _, _ in fit]
    refuse_of_others(app.layout, chosen, "archive")
    changes = Changes(app, as_json)
    if not chosen:
        say("0 tasks to archive")
        return changes.end()
    if not tasks and not dry_run:
        selecting.agree(app, fit, "archive", yes)
    store = open_store(app, dry_run)
    config, _ = open_config(app)
    for task_id in chosen:
        before = _state(app, task_id)
        try:
            moved = moves.archive(store, task_id)
            shown = app.layout.shown(moved.path)
            sign = app.console.sign("archive")
            plain = f"archived\t{task_id}\t{shown}"
            line = f"{sign} archived     {shown}" if app.console.tty else plain
            changes.done(task_id, before, "archive", line)
            if why := clearing.follow(store, config, task_id):
                say(f"{task_id}: {why}")
        except Refused as error:
            changes.refuse(task_id, error)
        except Rehearsed as it:
            line = f"would archive {task_id} ({before} now)"
            changes.done(task_id, before, it.target.word, line)
    if dry_run:
        say(f"{plural(len(changes.changed), 'task')} to archive")
    return changes.end()


def _state(app: App, task_id: str) -> str | None:
    place = scan.locate(app.layout, task_id)
    return place[0].word if place is not None else None


def _named(app: App, words: tuple[str, ...]) -> Found:
    """The tasks that words name; of a run, its own file and those tasks that have ended."""
    found: Found = []
    for word in words:
        run = runs.meant(app.layout, word)
        meant = selecting.named(app, [word])
        if run is not None:
            own = scan.locate(app.layout, run[0], FINISHED)
            meant = [item for item in meant if item[1] in FINISHED]
            if own is not None:  # its tasks were reviewed as one
                meant.append((run[0], *own))
        found += meant
    return list(dict.fromkeys(found))


def _all_ended(app: App) -> Found:
    return sorted(
        (task_id, folder, name)
        for folder in FINISHED
        for task_id, name in scan.task_names(app.layout.folder(folder))
    )


def _old(app: App, item: tuple[str, Status, str], age: str | None) -> bool:
    """Whether a task ended at least so long ago."""
    if age is None:
        return True
    task_id, folder, name = item
    try:
        limit = now() - duration(age)
    except ValueError as error:
        raise click.UsageError(f"{error}; write 30d, 12h") from None
    return _ended(app.layout, task_id, app.layout.file(folder, name)) <= limit


def _ended(layout: Layout, task_id: str, path: str) -> float:
    """When a task ended, as its result says: a clone or a checkout makes every file new."""
    try:
        return when(str(results.read(layout, task_id)["finished_at"]))
    except (KeyError, ValueError):
        return os.lstat(path).st_ctime
