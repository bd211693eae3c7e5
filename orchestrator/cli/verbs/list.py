"""``list``: tasks, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import everywhere as everywhere_cli
from orchestrator.cli import selecting
from orchestrator.cli.app import App
from orchestrator.cli.options import complete_ids, examples, json_option, now
from orchestrator.cli.screen.console import say
from orchestrator.cli.verbs import status as status_verbs
from orchestrator.errors import NotFound
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model.status import FINISHED, FOLDERS
from orchestrator.queries import projects, runs, tasks, whereabouts

if TYPE_CHECKING:
    from orchestrator.queries.projects import Looked
    from orchestrator.queries.rows import Row


@click.command(
    epilog=examples(
        "orchestrator list",
        "orchestrator list --status failed",
        "orchestrator list --last 0 --jsonl | jq -r .id",
        "orchestrator list --all --status running     # in all your projects",
    )
)
@click.argument("words", nargs=-1, metavar="[TASK...]", shell_complete=complete_ids(runs=True))
@selecting.filter_options(asks=False)
@click.option(
    "--last",
    "most",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="How many ended tasks; 0: all, including the archive.",
)
@click.option("--all", "everywhere", is_flag=True, help="Tasks of all your projects.")
@json_option
@click.option("--jsonl", is_flag=True, help="One JSON object per line.")
@click.pass_obj
def command(
    app: App,
    words: tuple[str, ...],
    wanted: selecting.Filter,
    most: int,
    everywhere: bool,
    as_json: bool,
    jsonl: bool,
) -> None:
    """List tasks that have not ended and the newest ended ones, or the tasks and runs that you
    name.

    With --all it lists the tasks of all your projects; the first column is the project.
    """
    run_id, agent = wanted.run, wanted.agent
    if words and everywhere:
        raise click.UsageError("--all lists every project; name tasks in one of them: -C DIR")
    ids = _named(app, words) if words else None

    def rows_of(layout: Layout) -> tuple[list[Row], int]:
        return _find(layout, wanted, 0 if words else most, ids)

    if everywhere:
        _show_everywhere(app, projects.in_each(rows_of), as_json, jsonl)
        return
    rows, left_out = rows_of(app.layout)
    if run_id is not None and not rows and runs.find_run(app.layout, run_id) is None:
        raise NotFound(f"there is no run '{run_id}'", "orchestrator runs   lists them")
    if agent is not None and not rows:
        selecting.check_agent(app, agent)
    for task_id in ids or ():
        if doubt := whereabouts.several(app.layout, task_id):
            say(f"note: {doubt}")
    if jsonl:
        app.console.jsonl([row.as_json() for row in rows])
    elif as_json:
        app.console.json("tasks", {"tasks": [row.as_json() for row in rows], "left_out": left_out})
    else:
        app.console.table([status_verbs.line(app.console, row, now()) for row in rows])
        if left_out and app.console.tty:
            app.console.out(f"  {left_out} older ended tasks: orchestrator list --last 0")
        if not rows and app.console.tty:
            empty = 'nothing here; drop a YAML file into work/inbox, or: orchestrator new "..."'
            app.console.out("no task is like that" if wanted else empty)


def _named(app: App, words: tuple[str, ...]) -> frozenset[str]:
    """The ids that are meant. `NotFound`, with what may have been meant by a word for a status."""
    try:
        return frozenset(task_id for task_id, _, _ in selecting.named(app, words))
    except NotFound as error:
        state = next((word for word in words if word in selecting.STATES), "")
        if not state or f"'{state}'" not in error.message:
            raise
        raise NotFound(error.message, f"did you mean: orchestrator list --status {state}") from None


def _find(
    layout: Layout, wanted: selecting.Filter, most: int, ids: frozenset[str] | None
) -> tuple[list[Row], int]:
    """The rows of one project, and how many ended tasks were left out: only the newest ``most`` are
    shown; 0: all, and the archive. ``ids`` are those that were named; None: none were."""
    folders = selecting.folders_of(wanted.words) or (None if most else FOLDERS)
    newest = None if wanted.chooses or not most else most
    rows, left_out = tasks.listed(layout, now(), folders, newest)
    if ids is not None:
        rows = [row for row in rows if row.id in ids]
    rows = [row for row in rows if wanted.run in (None, row.run)]
    if wanted.agent is not None:
        rows = [row for row in rows if tasks.agent_of(layout, row) == wanted.agent]
    if wanted.labels:
        rows = [row for row in rows if wanted.labels <= tasks.labels_of(layout, row.id)]
    if wanted.chooses and most:
        rows, left_out = _newest(rows, most)
    if len({"invalid", "waiting"} & set(wanted.words)) == 1:  # both lie in inbox/
        other = "waiting" if "invalid" in wanted.words else "invalid"
        rows = [row for row in rows if row.status != other]
    return rows, left_out


def _show_everywhere(
    app: App, found: list[Looked[tuple[list[Row], int]]], as_json: bool, jsonl: bool
) -> None:
    everywhere_cli.refuse_none(found)
    if as_json:
        told = [
            item.as_json(
                lambda made: {"tasks": [row.as_json() for row in made[0]], "left_out": made[1]}
            )
            for item in found
        ]
        app.console.json("projects", {"projects": told})
        return
    if jsonl:
        app.console.jsonl(
            [
                {"project": item.name, **row.as_json()}
                for item in found
                for row in (item.found or ((), 0))[0]
            ]
        )
    else:
        rows = []
        for item in found:
            name = one_line(item.name)
            rows += [
                [name, *status_verbs.line(app.console, row, now())]
                for row in (item.found or ((), 0))[0]
            ]
        app.console.table(rows)
        left_out = sum(item.found[1] for item in found if item.found is not None)
        if left_out and app.console.tty:
            app.console.out(f"  {left_out} older ended tasks: orchestrator list --all --last 0")
    everywhere_cli.warn_of_broken(found)


def _newest(rows: list[Row], most: int) -> tuple[list[Row], int]:
    """All that has not ended, and so many of what has; and how many were left out."""
    ended = {status.word for status in FINISHED}
    kept: list[Row] = []
    seen = 0
    for row in rows:
        seen += row.status in ended
        if row.status not in ended or seen <= most:
            kept.append(row)
    return kept, len(rows) - len(kept)
