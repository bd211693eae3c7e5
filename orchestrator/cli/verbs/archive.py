"""``archive``: move old ended tasks out of the way."""

from __future__ import annotations

import os

import click

from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes
from orchestrator.cli.options import (
    Choice,
    dry_run_option,
    each,
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
from orchestrator.store import moves


@click.command(
    epilog=examples(
        "orchestrator archive --older-than 30d --dry-run",
        "orchestrator archive --status done --older-than 7d -y",
        "orchestrator archive review-retry",
    )
)
@ids_argument(*FINISHED, required=False)
@click.option(
    "--older-than", "age", metavar="AGE", help="Tasks that ended at least this long ago: 7d, 12h."
)
@click.option(
    "--status",
    type=Choice([str(status) for status in FINISHED]),
    help="Only tasks with this status.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@dry_run_option
@json_option
@click.pass_obj
def command(
    app: App,
    tasks: tuple[str, ...],
    age: str | None,
    status: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Move ended tasks to work/archive.  Results, logs and events stay where they are."""
    if not tasks and not age:
        raise click.UsageError("name tasks, or say --older-than 30d")
    if tasks:
        chosen = [
            task_id
            for task_id, _, _ in each(app.layout, tasks, (*FINISHED, Status.RUNNING, Status.INBOX))
        ]
    else:
        chosen = _older(app, age or "", (Status(status),) if status else FINISHED)
    changes = Changes(app, as_json)
    if dry_run or not chosen:
        for task_id in chosen:
            changes.done(task_id, _state(app, task_id), "archive", f"would archive {task_id}")
        say(f"{plural(len(chosen), 'task')} to archive")
        return changes.end()
    if not tasks and not yes:
        if not app.console.tty:
            raise click.UsageError(f"{plural(len(chosen), 'task')} would be archived: say -y")
        click.confirm(f"archive {plural(len(chosen), 'task')}?", abort=True, err=True)
    store = open_store(app)
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
                say(f"its tree stays: {why}")
        except Refused as error:
            changes.refuse(task_id, error)
    return changes.end()


def _state(app: App, task_id: str) -> str | None:
    place = scan.locate(app.layout, task_id)
    return place[0].word if place is not None else None


def _older(app: App, age: str, folders: tuple[Status, ...]) -> list[str]:
    try:
        limit = now() - duration(age)
    except ValueError as error:
        raise click.UsageError(f"{error}; write 30d, 12h") from None
    found = []
    for folder in folders:
        for task_id, name in scan.task_names(app.layout.folder(folder)):
            if _ended(app.layout, task_id, app.layout.file(folder, name)) <= limit:
                found.append(task_id)
    return sorted(found)


def _ended(layout: Layout, task_id: str, path: str) -> float:
    """When a task ended, as its result says: a clone or a checkout makes every file new."""
    try:
        return when(str(results.read(layout, task_id)["finished_at"]))
    except (KeyError, ValueError):
        return os.lstat(path).st_ctime
