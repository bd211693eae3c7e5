"""``retry``: a person's decision about tasks, made as a safe move of their files."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.moving import move_each
from orchestrator.cli.options import dry_run_option, examples, ids_argument
from orchestrator.coordination import landing
from orchestrator.model.status import Status
from orchestrator.store.transitions import Moved, Store

FOLDERS = (
    Status.DONE,
    Status.FAILED,
    Status.CANCELLED,
    Status.REVIEW,
    Status.ARCHIVE,
    Status.INBOX,
)


@click.command(epilog=examples("orchestrator retry review-retry"))
@ids_argument(*FOLDERS)
@click.option(
    "--conflict",
    is_flag=True,
    help="Tell it in which files its branch collides, in its own session and tree.",
)
@dry_run_option
@click.pass_obj
def command(app: App, tasks: tuple[str, ...], conflict: bool, dry_run: bool) -> int:
    """Run ended tasks again, as new attempts.  Their history is kept, and so is their tree."""

    def step(store: Store, task_id: str) -> Moved:
        if conflict:
            landing.give_back(store, task_id)
        return store.retry(task_id)

    return move_each(app, tasks, step, "waiting", "run again", dry_run, FOLDERS)
