"""``list``: tasks, one line each."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import Choice, examples, json_option, now
from orchestrator.cli.verbs.status import line
from orchestrator.model.status import FOLDERS, Status
from orchestrator.queries.tasks import listed


@click.command(
    epilog=examples(
        "orchestrator list",
        "orchestrator list --status failed",
        "orchestrator list --all --jsonl | jq -r .id",
    )
)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=Choice([str(status) for status in FOLDERS]),
    help="Only those in this folder; can be given again.",
)
@click.option("--run", "run_id", help="Only tasks of this run.")
@click.option("--agent", help="Only tasks of this agent.")
@click.option(
    "-n",
    "most",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="How many finished tasks.",
)
@click.option("--all", "everything", is_flag=True, help="All finished tasks, the archive too.")
@json_option
@click.option("--jsonl", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(
    app: App,
    statuses: tuple[str, ...],
    run_id: str | None,
    agent: str | None,
    most: int,
    everything: bool,
    as_json: bool,
    jsonl: bool,
) -> None:
    """Unfinished tasks, and the newest finished ones."""
    wanted = tuple(Status(name) for name in statuses) or (FOLDERS if everything else None)
    rows, left_out = listed(app.layout, now(), wanted, None if everything else most)
    rows = [row for row in rows if run_id in (None, row.run) and agent in (None, row.agent)]
    if jsonl:
        app.console.jsonl([row.as_json() for row in rows])
    elif as_json:
        app.console.json("tasks", {"tasks": [row.as_json() for row in rows], "left_out": left_out})
    else:
        app.console.table([line(app.console, row, now()) for row in rows])
        if left_out and app.console.tty:
            app.console.out(f"  {left_out} older finished tasks: orchestrator list --all")
        if not rows and app.console.tty:
            app.console.out(
                'nothing here; drop a YAML file into work/inbox, or: orchestrator new "..."'
            )
