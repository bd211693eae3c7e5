"""``hold``: keep tasks from starting; one by one as a safe move of their files, or all of a tool,
an agent, a run."""

from __future__ import annotations

import click

from orchestrator.cli import selecting
from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes
from orchestrator.cli.consent import refuse_in_attempt, refuse_of_others
from orchestrator.cli.moving import move
from orchestrator.cli.options import (
    ONE_WORD,
    complete_ids,
    dry_run_option,
    examples,
    json_option,
    now,
    one_reason,
    reason_option,
)
from orchestrator.cli.scopes import (
    Named,
    check_exists,
    moment,
    named,
    scope_options,
)
from orchestrator.cli.writing import open_store
from orchestrator.errors import NotFound, OrchestratorError
from orchestrator.model import hold
from orchestrator.model.hold import Scope
from orchestrator.model.status import Status
from orchestrator.model.units import timestamp
from orchestrator.store import holding, moves
from orchestrator.store.moves import Moved
from orchestrator.store.transitions import Store
from orchestrator.tools.specs import of_account


@click.command(
    epilog=examples(
        "orchestrator hold bump-deps",
        'orchestrator hold --tool claude --until 18:00 "I need it myself"',
        'orchestrator hold --all "the build is broken"',
        "orchestrator hold --run release-0.2 --agent builder",
    )
)
@click.argument(
    "words", nargs=-1, metavar='[TASK...] ["WHY"]', shell_complete=complete_ids(Status.INBOX)
)
@scope_options
@selecting.filter_beside_scopes()
@click.option("--until", metavar="WHEN", help="Until then: 18:00, 2h, 2026-11-30, ...T08:00.")
@reason_option
@dry_run_option
@json_option
@click.pass_obj
def command(
    app: App,
    /,
    words: tuple[str, ...],
    wanted: selecting.Filter,
    yes: bool,
    until: str | None,
    reason: str | None,
    dry_run: bool,
    as_json: bool,
    **options: object,
) -> int:
    """Keep tasks from starting until you release them. Running tasks go on.

    A waiting task goes to held/. A hold on a tool, an agent, a run or everything is a file there:
    held/@claude.yaml. --label and --status select the waiting tasks that match them (and --run and
    --agent); hold lists these and asks.
    """
    found = _named(app, words, options)
    reason = one_reason(found.words, reason)
    if not found.tasks and not found.scopes and not wanted:
        raise click.UsageError("name tasks, or --tool, --agent, --run, --label, --status or --all")
    end = _end(until)
    if end is not None and found.tasks:
        raise click.UsageError(
            "--until is for tools, agents, runs and everything; for a task, write not_before: in"
            " its file"
        )
    for scope in found.scopes:
        check_exists(app, scope)
    if found.scopes or wanted:
        refuse_in_attempt("hold what others have made")
    refuse_of_others(app.layout, (task_id for task_id, _, _ in found.tasks), "hold")
    changes = Changes(app, as_json)
    if wanted:
        found.tasks += selecting.agreed(app, wanted, Status.INBOX, "hold", yes or dry_run)

    def step(store: Store, task_id: str) -> Moved:
        return moves.hold(store, task_id, reason)

    move(changes, found.tasks, step, "held", "hold", dry_run)
    for scope in found.scopes:
        _hold(changes, scope, end, reason, dry_run)
    return changes.end()


def _named(app: App, words: tuple[str, ...], options: dict[str, object]) -> Named:
    try:
        return named(app, words, options, Status.INBOX)
    except NotFound as error:
        if not any(options.values()):
            raise
        raise NotFound(error.message, ONE_WORD) from None


def _end(until: str | None) -> float | None:
    try:
        return moment(until, now()) if until is not None else None
    except ValueError as error:
        raise click.UsageError(f"--until: {error}; write 18:00, 2h or 2026-11-30T08:00") from None


def _hold(changes: Changes, scope: Scope, end: float | None, reason: str, dry_run: bool) -> None:
    app, what = changes.app, hold.words(scope)
    lasts = f" until {app.console.clock(end)}" if end is not None else ""
    if dry_run:
        changes.done(what, None, None, f"would hold {what}{lasts}")
        return
    store = open_store(app)
    moment_now = now()
    try:
        common = scope[0] == "tool" and of_account(scope[1])
        path = holding.place(app.layout, scope, moment_now, end, reason, common)
    except OSError as error:
        changes.refuse(what, OrchestratorError(f"{what}: the disk refused: {error.strerror}"))
        return
    until = f"until {timestamp(end)[:19]}Z" if end is not None else ""
    why = ": ".join(part for part in (until, reason) if part)
    told = holding.event(store.log, "hold_placed", scope, moment_now, why)
    store.log.commit_and_wait([told])
    shown = app.layout.shown(path)
    sign = app.console.sign("held")
    line = f"{sign} held{lasts:<8} {shown}" if app.console.tty else f"held\t{what}\t{shown}"
    changes.done(what, None, "held", line)
