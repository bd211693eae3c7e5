"""Tasks that are not named one by one: of a run, of an agent, with a label, those that failed.

What a filter finds is listed, and asked about, before a verb acts on it; without a terminal ``-y``
is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import complete_runs, now
from orchestrator.cli.scopes import Found, complete_agents
from orchestrator.cli.screen.console import say
from orchestrator.errors import NotFound
from orchestrator.files import configuration, runrecords, schemas
from orchestrator.model.status import Status
from orchestrator.model.units import plural
from orchestrator.queries import runs, tasks
from orchestrator.records import dataclass
from orchestrator.tools import routing, specs


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tasks are meant; all parts that are given must fit."""

    run: str | None = None
    agent: str | None = None
    labels: frozenset[str] = frozenset()
    failed: bool = False

    def __bool__(self) -> bool:
        return bool(self.run or self.agent or self.labels or self.failed)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a `Filter`, and ``-y``: the arguments run_id, agent, labels, failed and
    yes."""
    for option in reversed(
        (
            click.option(
                "--run",
                "run_id",
                metavar="RUN",
                shell_complete=complete_runs,
                help="Those of a run.",
            ),
            click.option(
                "--agent",
                metavar="AGENT",
                shell_complete=complete_agents,
                help="Those of an agent.",
            ),
            click.option(
                "-l",
                "--label",
                "labels",
                multiple=True,
                metavar="LABEL",
                help="Those with this label; if repeated, with all of them.",
            ),
            click.option("--failed", is_flag=True, help="Those that failed."),
            click.option("-y", "--yes", is_flag=True, help="Do not ask."),
        )
    ):
        command = option(command)
    return command


def find(app: App, wanted: Filter, statuses: Sequence[Status]) -> Found:
    """The tasks in these folders that fit, each with its folder and its file's name, in the order
    of ``list``.

    Raises `NotFound` if there is no such run or agent.
    """
    layout = app.layout
    members = _members(app, wanted.run) if wanted.run else None
    rows, _ = tasks.listed(layout, now(), tuple(statuses), None)
    if wanted.agent is not None:
        rows = [row for row in rows if tasks.agent_of(layout, row) == wanted.agent]
    if wanted.agent is not None and not rows:
        check_agent(app, wanted.agent)
    if members is not None:
        rows = [row for row in rows if row.id in members]
    if wanted.labels:
        rows = [row for row in rows if wanted.labels <= tasks.labels_of(layout, row.id)]
    folder_of = {str(folder): folder for folder in statuses}
    return [
        (row.id, folder_of[row.status], row.file.rpartition("/")[2])
        for row in rows
        if row.status in folder_of and not runrecords.has_record(layout, row.id)
    ]


def agree(app: App, found: Found, doing: str, yes: bool) -> None:
    """Ask a person whether it may be done to all that was found, which is listed first. ``doing``:
    ``run again``.

    Raises `click.Abort` for a no, `click.UsageError` where nobody can be asked.
    """
    if not found:
        say(f"there is nothing to {doing}")
        return
    if yes:
        return
    if not app.console.tty:
        count = plural(len(found), "task")
        raise click.UsageError(f"{count} to {doing}: say -y, or -n to see which")
    for task_id, status, _ in found:
        say(f"{app.console.sign(str(status))} {status.word:<9} {task_id}")
    click.confirm(f"{doing} {plural(len(found), 'task')}?", abort=True, err=True)


def _members(app: App, word: str) -> set[str]:
    known = runs.find_run(app.layout, word)
    view = runs.view_of(app.layout, *known, now()) if known is not None else None
    if view is None:
        raise NotFound(f"there is no run '{word}'", "orchestrator runs   lists them")
    return {row.id for row in view.rows}


def check_agent(app: App, agent: str) -> None:
    """Nothing is found of an agent that does not exist: `NotFound`, for that is a mistyped name."""
    known = routing.agent_names(
        configuration.load_config(app.layout), specs.load_tools(app.layout).tools
    )
    if agent not in known:
        hint = schemas.did_you_mean(agent, known) or "orchestrator agents   lists them"
        raise NotFound(f"there is no agent '{agent}'", hint)
