"""``approve``: a person's yes.  A task that waits may start; one in review is merged, if it has a branch, and done."""

from __future__ import annotations

import os

import click

from orchestrator.cli.app import App
from orchestrator.cli.moving import move_each
from orchestrator.cli.options import dry_run_option, examples, ids_argument, now
from orchestrator.cli.screen.console import say
from orchestrator.cli.waking import wake
from orchestrator.cli.writing import open_config
from orchestrator.coordination import landing
from orchestrator.errors import Refused
from orchestrator.execution.processes import TAG
from orchestrator.files import scan
from orchestrator.model.status import Status
from orchestrator.store.transitions import Moved, Store

FOLDERS = (
    Status.REVIEW,
    Status.INBOX,
)


@click.command(epilog=examples("orchestrator approve review-retry"))
@ids_argument(*FOLDERS)
@dry_run_option
@click.pass_obj
def command(app: App, tasks: tuple[str, ...], dry_run: bool) -> int:
    """Approve tasks: those that came through git may start, those in review are done.

    The branch of a task in review is merged first, unless its role says merge: never. What cannot be merged stays where
    it is, and the files in the way are named.
    """
    if os.environ.get(TAG):
        raise Refused(
            "an agent cannot approve: this is for a person",
            "say what you would approve at the end of your turn",
        )
    config, _ = open_config(app)

    def step(store: Store, task_id: str) -> Moved:
        place = scan.locate(app.layout, task_id)
        if place is not None and place[0] is Status.REVIEW:
            made = landing.approve(store, config, task_id)
            if made:
                say(f"{task_id}: {made}")
        return store.approve(task_id)

    code = move_each(app, tasks, step, "approved", "approve", dry_run)
    if not dry_run:
        wake(app.layout, now())
    return code
