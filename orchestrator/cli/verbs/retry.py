"""``retry``: a person's decision about tasks, made as a safe move of their files."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes
from orchestrator.cli.consent import refuse_in_attempt, refuse_of_others
from orchestrator.cli.moving import move
from orchestrator.cli.options import Found, dry_run_option, examples, ids_argument, json_option
from orchestrator.cli.selecting import NAME, Filter, agree, filter_options
from orchestrator.cli.selecting import find as select
from orchestrator.cli.writing import open_config
from orchestrator.coordination import clearing, merges, runreviews
from orchestrator.errors import Refused
from orchestrator.files import scan
from orchestrator.model.status import FOLDERS as ALL
from orchestrator.model.status import Status
from orchestrator.queries import runs
from orchestrator.store import moves
from orchestrator.store.moves import Moved
from orchestrator.store.transitions import Store

FOLDERS = (
    Status.DONE,
    Status.FAILED,
    Status.CANCELLED,
    Status.REVIEW,
    Status.ARCHIVE,
    Status.INBOX,
)
WITHOUT_SUCCESS = (Status.FAILED, Status.CANCELLED)


@click.command(
    epilog=examples(
        "orchestrator retry review-retry",
        "orchestrator retry review-retry --fresh",
        "orchestrator retry --failed --dry-run        # list all that failed",
        "orchestrator retry --run release-0.2 -y      # what failed or was cancelled there",
    )
)
@ids_argument(*FOLDERS, required=False, runs=True)
@filter_options()
@click.option(
    "--conflict",
    is_flag=True,
    help="Name the files in which its branch conflicts, in its own session and tree.",
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
    app: App,
    tasks: tuple[str, ...],
    wanted: Filter,
    yes: bool,
    conflict: bool,
    fresh: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run ended tasks again, as new attempts, in the same session and tree if the tool can resume
    one.

    Their history is kept. To tell the agent why, use reply instead. The name of a run means its
    tasks that failed or were cancelled. --run, --agent, --label, --status and --failed select the
    tasks that match all of them (without --status, only those that failed or were cancelled);
    retry lists these and asks.
    """
    if conflict and fresh:
        raise click.UsageError("--conflict uses its tree, and --fresh does not")
    if bool(tasks) == bool(wanted):
        raise click.UsageError(NAME)
    changes = Changes(app, as_json)
    if tasks:
        found, named = _of_words(changes, tasks)
        refuse_of_others(app.layout, (task_id for task_id, _, _ in found), "retry")
    else:
        refuse_in_attempt("retry what others have made")
        found, named = select(app, wanted, WITHOUT_SUCCESS), frozenset()
        if not dry_run:
            agree(app, found, "run again", yes)
    config, _ = open_config(app)

    def step(store: Store, task_id: str) -> Moved:
        runreviews.refuse_run(store, task_id, "retry")
        if task_id not in named:
            moves.refuse_unseen(store, task_id, config.from_git)
        if conflict:
            merges.give_back(store, task_id)
        if fresh:
            clearing.begin_anew(store, config, task_id)
        return moves.retry(store, task_id, fresh=fresh)

    move(changes, found, step, "waiting", "run again", dry_run)
    return changes.end()


def _of_words(changes: Changes, words: tuple[str, ...]) -> tuple[Found, frozenset[str]]:
    """The tasks that words name; of a run, those that failed or were cancelled. And the ids of
    those that are named themselves."""
    app, found, named = changes.app, [], set()
    for word in words:
        run = runs.meant(app.layout, word)
        if run is None:
            found.append(scan.find(app.layout, word, ALL))
            named.add(found[-1][0])
            continue
        again = select(app, Filter(run=run[0]), WITHOUT_SUCCESS)
        if not again:
            changes.refuse(run[0], Refused(f"no task of {run[0]} failed or was cancelled"))
        found += again
    return list(dict.fromkeys(found)), frozenset(named)
