"""``edit``: edit a task that has not started, in your editor."""

from __future__ import annotations

import os
import sys

import click

from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes
from orchestrator.cli.consent import refuse_of_others
from orchestrator.cli.options import dry_run_option, examples, ids_argument, json_option
from orchestrator.cli.screen.console import say
from orchestrator.cli.selecting import of_words
from orchestrator.errors import INVALID, OrchestratorError, Refused
from orchestrator.files import scan
from orchestrator.model.status import WAITING, Status
from orchestrator.queries.settings import Settings
from orchestrator.queries.validity import Judge


@click.command(
    epilog=examples("orchestrator edit fix-login", "EDITOR=nano orchestrator edit fix-login")
)
@ids_argument(*WAITING, runs=True)
@dry_run_option
@json_option
@click.pass_obj
def command(app: App, tasks: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    """Edit a task that has not started; several tasks, or those of a run, one after another. A
    task does not start while your editor has its file open; it is checked when you close it.

    You cannot edit a task that is running or has ended: use reply instead.
    """
    changes = Changes(app, as_json)
    wrong = False
    named = of_words(changes, tasks, WAITING, whole=False)
    refuse_of_others(app.layout, (task_id for task_id, _, _ in named), "edit")
    for found in named:
        try:
            wrong |= _edit(changes, *found, dry_run)
        except Refused as error:
            changes.refuse(found[0], error)
    code = changes.end()
    return INVALID if wrong else code


def _edit(changes: Changes, task_id: str, status: Status, name: str, dry_run: bool) -> bool:
    """Edit one; whether it cannot run as it is now. `Refused` if it has started."""
    app = changes.app
    if status not in WAITING:
        raise Refused(
            f"{task_id} is {status.word}: its file is the record of what ran",
            f'orchestrator reply {task_id} "..."   tells its agent',
        )
    path = app.layout.file(status, name)
    if dry_run:
        line = f"would open {app.layout.shown(path)} in your editor"
        changes.done(task_id, status.word, status.word, line)
        return False
    if not sys.stdin.isatty() and not os.environ.get("ORCHESTRATOR_FORCE_EDITOR"):
        raise click.UsageError(f"an editor needs a terminal; the file is {path}")
    before = _bytes(path)
    click.edit(filename=path)
    changed = _bytes(path) != before
    place = scan.locate(app.layout, task_id)
    if changed and (place is None or place[0] not in WAITING):
        say(f"note: {task_id} started in the meantime, with the old text of its file")
    wrong = "" if place is None else Judge(Settings(app.layout)).file(status, name).told
    if wrong:
        say(f"error: {app.layout.shown(path)}: {wrong}")
        say(f"hint:  orchestrator validate {task_id}")
    line = f"{app.console.sign('ok')} {'changed' if changed else 'unchanged':<12} {app.layout.shown(path)}"
    if changed:
        changes.done(task_id, status.word, status.word, line)
    elif not changes.as_json:
        app.console.out(line)
    return bool(wrong)


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise OrchestratorError(f"{path}: {error.strerror}") from None
