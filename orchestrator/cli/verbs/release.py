"""``release``: what was held may start again."""

from __future__ import annotations

import click

from orchestrator.cli import selecting
from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes
from orchestrator.cli.consent import refuse_in_attempt
from orchestrator.cli.moving import move
from orchestrator.cli.options import complete_ids, dry_run_option, examples, json_option, now
from orchestrator.cli.scopes import held_words, named, scope_options
from orchestrator.cli.writing import open_config, open_store
from orchestrator.errors import Refused
from orchestrator.files import holds
from orchestrator.model import hold
from orchestrator.model.hold import Scope
from orchestrator.model.status import Status
from orchestrator.store import holding, moves
from orchestrator.store.moves import Moved
from orchestrator.store.transitions import Store


@click.command(
    epilog=examples(
        "orchestrator release bump-deps",
        "orchestrator release --tool claude",
        "orchestrator release --all",
    )
)
@click.argument("words", nargs=-1, metavar="[TASK...]", shell_complete=complete_ids(Status.HELD))
@scope_options
@selecting.filter_beside_scopes()
@dry_run_option
@json_option
@click.pass_obj
def command(
    app: App,
    /,
    words: tuple[str, ...],
    wanted: selecting.Filter,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    **options: object,
) -> int:
    """Let held tasks start again: they go back to inbox/. Also releases a tool, an agent, a run or
    everything.

    --all undoes hold --all; tools, agents and tasks that are held separately stay held. --label
    and --status select the held tasks that match them (and --run and --agent); release lists these
    and asks.
    """
    refuse_in_attempt("release what is held")
    found = named(app, words, options, Status.HELD)
    if found.words:
        raise click.UsageError(f"'{found.words[0]}' is not a task")
    if not found.tasks and not found.scopes and not wanted:
        raise click.UsageError("name tasks, or --tool, --agent, --run, --label, --status or --all")
    changes = Changes(app, as_json)
    named_ids = frozenset(task_id for task_id, _, _ in found.tasks)
    if wanted:
        found.tasks += selecting.agreed(app, wanted, Status.HELD, "release", yes or dry_run)
        config, _ = open_config(app)

    def step(store: Store, task_id: str) -> Moved:
        if task_id not in named_ids:
            moves.refuse_unseen(store, task_id, config.from_git)
        return moves.release(store, task_id)

    move(changes, found.tasks, step, "waiting", "release", dry_run)
    for scope in found.scopes:
        _release(changes, scope, dry_run)
    return changes.end()


def _release(changes: Changes, scope: Scope, dry_run: bool) -> None:
    app, what = changes.app, hold.words(scope)
    known = {item.scope for item in holds.listed(app.layout)}
    if scope not in known:
        others = held_words(app.layout)
        hint = f"held are: {others}" if others else "orchestrator status   says what is held"
        changes.refuse(what, Refused(f"{what} is not held", hint))
        return
    if dry_run:
        changes.done(what, None, None, f"would release {what}")
        return
    store = open_store(app)
    holding.lift(app.layout, scope)
    told = holding.event(store.log, "hold_released", scope, now(), "by orchestrator release")
    store.log.commit_and_wait([told])
    sign = app.console.sign("ok")
    line = f"{sign} released     {what}" if app.console.tty else f"released\t{what}"
    changes.done(what, "held", None, line)
