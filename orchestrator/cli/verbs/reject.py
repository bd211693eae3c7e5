"""``reject``: a person's no, and why, made as a safe move of the task's file."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes
from orchestrator.cli.consent import refuse_in_attempt
from orchestrator.cli.moving import move
from orchestrator.cli.options import (
    ONE_WORD,
    dry_run_option,
    examples,
    ids_argument,
    json_option,
    one_reason,
    reason_option,
)
from orchestrator.cli.selecting import of_words
from orchestrator.coordination import contests
from orchestrator.errors import NotFound
from orchestrator.model.status import WAITING, Status
from orchestrator.store import moves
from orchestrator.store.moves import Moved
from orchestrator.store.transitions import Store

FOLDERS = (Status.REVIEW, Status.FAILED, *WAITING)


@click.command(
    epilog=examples(
        "orchestrator reject review-retry",
        'orchestrator reject review-retry "The old route must stay"',
    )
)
@ids_argument(*FOLDERS, runs=True)
@reason_option
@dry_run_option
@json_option
@click.pass_obj
def command(
    app: App, tasks: tuple[str, ...], reason: str | None, dry_run: bool, as_json: bool
) -> int:
    """Reject tasks: waiting ones are cancelled, those in review become failed. Their branches
    stay.

    If the last argument contains a space, it is the reason (--reason takes one of any kind), and
    the next attempt gets it. Rejecting a failed task takes it off the list of what needs you.
    """
    refuse_in_attempt("reject anything")
    last = tasks[-1].strip() if " " in tasks[-1] else ""
    said = [last] if last else []
    named = tasks[: len(tasks) - len(said)]
    why = one_reason(said, reason)
    if not named:
        raise click.UsageError('name a task:  orchestrator reject TASK "why"')

    def step(store: Store, task_id: str) -> Moved:
        moved = contests.reject(store, task_id, why) or moves.reject(store, task_id, why)
        contests.of_task(store, task_id)
        return moved

    changes = Changes(app, as_json)
    try:
        found = of_words(changes, named, (Status.REVIEW,))
    except NotFound as error:
        if len(named) == 1 or why:
            raise
        raise NotFound(error.message, ONE_WORD) from None
    move(changes, found, step, "rejected", "reject", dry_run)
    return changes.end()
