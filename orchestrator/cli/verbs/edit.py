"""``edit``: edit a task that has not started, in your editor."""

from __future__ import annotations

import os
import sys

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import complete_ids, examples, json_option
from orchestrator.cli.screen.console import say
from orchestrator.errors import INVALID, OrchestratorError, Refused
from orchestrator.files import scan
from orchestrator.model.status import WAITING
from orchestrator.queries.validity import Judge


@click.command(
    epilog=examples("orchestrator edit fix-login", "EDITOR=nano orchestrator edit fix-login")
)
@click.argument("task", shell_complete=complete_ids(*WAITING))
@json_option
@click.pass_obj
def command(app: App, task: str, as_json: bool) -> int:
    """Edit a task that has not started.  It does not start while your editor has the file open, and it is checked when you close it.

    You cannot edit a task that is running or has ended: use reply instead.
    """
    task_id, status, name = scan.find(app.layout, task)
    if status not in WAITING:
        raise Refused(
            f"{task_id} is {status.word}: its file is the record of what ran",
            f'orchestrator reply {task_id} "..."   tells its agent',
        )
    path = app.layout.file(status, name)
    if not sys.stdin.isatty() and not os.environ.get("ORCHESTRATOR_FORCE_EDITOR"):
        raise click.UsageError(f"an editor needs a terminal; the file is {path}")
    before = _bytes(path)
    click.edit(filename=path)
    changed = _bytes(path) != before
    place = scan.locate(app.layout, task_id)
    if changed and (place is None or place[0] not in WAITING):
        say(f"note: {task_id} started in the meantime, with the old text of its file")
    wrong = "" if place is None else Judge(app.layout).file(status, name).told
    if wrong:
        say(f"error: {app.layout.shown(path)}: {wrong}\nhint:  orchestrator validate {task_id}")
    if as_json:
        moved = [{"id": task_id, "from": status.word, "to": status.word}] if changed else []
        app.console.json("change", {"changed": moved, "refused": []})
    else:
        word = "changed" if changed else "unchanged"
        app.console.out(f"{app.console.sign('ok')} {word:<12} {app.layout.shown(path)}")
    return INVALID if wrong else 0


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise OrchestratorError(f"{path}: {error.strerror}") from None
