"""``retry``: a person's decision about tasks, made as a safe move of their files."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.moving import move_each
from orchestrator.cli.options import dry_run_option, examples, ids_argument, json_option
from orchestrator.cli.writing import open_config
from orchestrator.coordination import clearing, landing, runreviews
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


@click.command(
    epilog=examples("orchestrator retry review-retry", "orchestrator retry review-retry --fresh")
)
@ids_argument(*FOLDERS)
@click.option(
    "--conflict",
    is_flag=True,
    help="Tell it the files in which its branch conflicts, in its own session and tree.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Start over: a new session, and a new tree from the base. The earlier work stays in git.",
)
@dry_run_option
@json_option
@click.pass_obj
def command(
    app: App, tasks: tuple[str, ...], conflict: bool, fresh: bool, dry_run: bool, as_json: bool
) -> int:
    """Run ended tasks again, as new attempts, in the same session and tree if the tool can resume one.

    Their history is kept.  To tell the agent why, use reply instead.
    """
    if conflict and fresh:
        raise click.UsageError("--conflict uses its tree, and --fresh does not")
    if fresh and not dry_run:
        config, _ = open_config(app)

    def step(store: Store, task_id: str) -> Moved:
        runreviews.refuse_run(store, task_id, "retry")
        if conflict:
            landing.give_back(store, task_id)
        if fresh:
            clearing.begin_anew(store, config, task_id)
        return store.retry(task_id, fresh=fresh)

    return move_each(app, tasks, step, "waiting", "run again", dry_run, FOLDERS, as_json)
