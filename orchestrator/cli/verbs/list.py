"""``list``: tasks, one line each."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import Choice, examples, json_option, now
from orchestrator.cli.verbs.status import line
from orchestrator.errors import NotFound
from orchestrator.files.configuration import load_config
from orchestrator.files.schemas import did_you_mean
from orchestrator.model.status import FINISHED, FOLDERS, Status
from orchestrator.queries.runs import find_run
from orchestrator.queries.tasks import Row, labels_of, listed
from orchestrator.tools.routing import agent_names
from orchestrator.tools.specs import load_tools


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
    type=Choice([*(status.word for status in FOLDERS), "invalid", "ended"], {"inbox": "waiting"}),
    help="Only tasks with this status; can be given again.",
)
@click.option("--run", "run_id", help="Only tasks of this run.")
@click.option("--agent", help="Only tasks of this agent.")
@click.option(
    "-l",
    "--label",
    "labels",
    multiple=True,
    help="Only tasks with this label; several: all of them.",
)
@click.option(
    "-n",
    "most",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="How many ended tasks.",
)
@click.option("--all", "everything", is_flag=True, help="All ended tasks, the archive too.")
@json_option
@click.option("--jsonl", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(
    app: App,
    statuses: tuple[str, ...],
    run_id: str | None,
    agent: str | None,
    labels: tuple[str, ...],
    most: int,
    everything: bool,
    as_json: bool,
    jsonl: bool,
) -> None:
    """Tasks that have not ended, and the newest that have."""
    wanted = _folders(statuses) or (FOLDERS if everything else None)
    filtered = run_id is not None or agent is not None or bool(labels)
    rows, left_out = listed(app.layout, now(), wanted, None if everything or filtered else most)
    rows = [row for row in rows if run_id in (None, row.run) and agent in (None, row.agent)]
    if run_id is not None and not rows and find_run(app.layout, run_id) is None:
        raise NotFound(f"there is no run '{run_id}'", "orchestrator runs   lists them")
    if agent is not None and not rows:
        _check_agent(app, agent)
    if labels:
        rows = [row for row in rows if set(labels) <= labels_of(app.layout, row.id)]
    if filtered and not everything:
        rows, left_out = _newest(rows, most)
    if len({"invalid", "waiting"} & set(statuses)) == 1:  # both lie in inbox/
        other = "waiting" if "invalid" in statuses else "invalid"
        rows = [row for row in rows if row.status != other]
    if jsonl:
        app.console.jsonl([row.as_json() for row in rows])
    elif as_json:
        app.console.json("tasks", {"tasks": [row.as_json() for row in rows], "left_out": left_out})
    else:
        app.console.table([line(app.console, row, now()) for row in rows])
        if left_out and app.console.tty:
            app.console.out(f"  {left_out} older ended tasks: orchestrator list --all")
        if not rows and app.console.tty:
            app.console.out(
                'nothing here; drop a YAML file into work/inbox, or: orchestrator new "..."'
            )


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


def _check_agent(app: App, agent: str) -> None:
    """Nothing is found of an agent that does not exist: that is a mistyped name."""
    known = agent_names(load_config(app.layout), load_tools(app.layout).tools)
    if agent not in known:
        hint = did_you_mean(agent, known) or "orchestrator agents   lists them"
        raise NotFound(f"there is no agent '{agent}'", hint)


def _folders(words: tuple[str, ...]) -> tuple[Status, ...]:
    """The folders that hold tasks with these statuses."""
    found: list[Status] = []
    for word in words:
        if word == "ended":
            found += FINISHED
        else:
            found += [status for status in FOLDERS if status.word == word]
            found += [Status.INBOX] if word == "invalid" else []
    return tuple(dict.fromkeys(found))
