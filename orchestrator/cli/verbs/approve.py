"""``approve``: a person's decision about tasks, made as a safe move of their files."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.moving import move_each
from orchestrator.cli.options import dry_run_option, examples, ids_argument, now
from orchestrator.cli.waking import wake
from orchestrator.model.status import Status
from orchestrator.store.transitions import Store

FOLDERS = (
    Status.REVIEW,
    Status.INBOX,
)


@click.command(epilog=examples("orchestrator approve review-retry"))
@ids_argument(*FOLDERS)
@dry_run_option
@click.pass_obj
def command(app: App, tasks: tuple[str, ...], dry_run: bool) -> int:
    """Approve tasks: those that came through git may start, those in review/ are done."""
    code = move_each(app, tasks, Store.approve, "approved", "approve", dry_run)
    if not dry_run:
        wake(app.layout, now())
    return code
