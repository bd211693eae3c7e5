"""``query``: SQL over the past."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import examples, json_option
from orchestrator.files.text import clean
from orchestrator.projection.index import open_index
from orchestrator.queries.usage import ask


@click.command(
    epilog=examples(
        'orchestrator query "SELECT tool, sum(cost_usd) FROM attempts GROUP BY tool"',
        "orchestrator query \"SELECT ts, task_id, error_class FROM tasks WHERE outcome != 'succeeded'\"",
        'orchestrator query "SELECT sql FROM sqlite_master"     # what there is',
    )
)
@click.argument("sql")
@json_option
@click.pass_obj
def command(app: App, sql: str, as_json: bool) -> None:
    """Query the index of the event log in SQL.  Read-only: table events; views attempts and tasks."""
    tell(app, sql, as_json)


def tell(app: App, sql: str, as_json: bool) -> None:
    """Print what the index answers."""
    index = open_index(app.layout)
    names, rows = ask(index, sql)
    if as_json:
        app.console.json("query", {"columns": names, "rows": [list(row) for row in rows]})
        return
    if app.console.tty:
        app.console.table([names, *([_shown(value) for value in row] for row in rows)])
        return
    app.console.out("\t".join(names))
    for row in rows:
        app.console.out("\t".join(_shown(value) for value in row))


def _shown(value: object) -> str:
    return "" if value is None else clean(str(value)).replace("\t", " ").replace("\n", " ")
