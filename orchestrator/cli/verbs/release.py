"""``release``: a person's decision about tasks, made as a safe move of their files."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.moving import move_each
from orchestrator.cli.options import dry_run_option, examples, ids_argument
from orchestrator.model.status import Status
from orchestrator.store.transitions import Store

FOLDERS = (Status.HELD,)


@click.command(epilog=examples("orchestrator release bump-deps"))
@ids_argument(*FOLDERS)
@dry_run_option
@click.pass_obj
def command(app: App, tasks: tuple[str, ...], dry_run: bool) -> int:
    """Let held tasks start again: they go back to inbox/."""
    return move_each(app, tasks, Store.release, "waiting", "release", dry_run, FOLDERS)
