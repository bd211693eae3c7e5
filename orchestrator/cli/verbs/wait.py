"""``wait``: until tasks have ended."""

from __future__ import annotations

import click

from orchestrator.cli import selecting
from orchestrator.cli.app import App
from orchestrator.cli.options import examples, ids_argument, json_option
from orchestrator.cli.screen import follow
from orchestrator.files import scan
from orchestrator.model.status import FOLDERS, WAITING, Status
from orchestrator.model.units import duration

OPEN = (*WAITING, Status.RUNNING)


@click.command(
    epilog=examples(
        "orchestrator wait review-retry && git push",
        "orchestrator wait a b c --timeout 10m",
        "orchestrator wait a b --any",
        "orchestrator wait release-0.2            # all tasks of a run",
    )
)
@ids_argument(required=False, runs=True)
@selecting.filter_options(asks=False)
@click.option("-t", "--timeout", help="Give up after this long (exit code 124).")
@click.option("--any", "any_of", is_flag=True, help="Return as soon as one has ended.")
@json_option
@click.pass_obj
def command(
    app: App,
    tasks: tuple[str, ...],
    wanted: selecting.Filter,
    timeout: str | None,
    any_of: bool,
    as_json: bool,
) -> int:
    """Wait for tasks, for all tasks of a run, or for the tasks not yet ended that match --agent,
    --label and the like.

    The exit code is 0 if all are done, 1 if one failed, 7 if none failed and one is in review, 124
    if one ran out of time.

    If only a person can move things on (an invalid file, a hold, no watcher), it says so on
    standard error after a second.
    """
    try:
        limit = duration(timeout) if timeout else None
    except ValueError as error:
        raise click.UsageError(f"{error}; write 90s, 15m or 2h") from None
    found = selecting.chosen(app, tasks, wanted, FOLDERS if wanted.run else OPEN)
    ids = [task_id for task_id, _, _ in found]
    code = follow.until_ended(app, ids, limit, any_of=any_of)
    if as_json:
        places = {task_id: scan.locate(app.layout, task_id) for task_id in ids}
        rows = [{"id": name, "status": at[0].word if at else None} for name, at in places.items()]
        app.console.json("wait", {"tasks": rows, "exit_code": code})
    return code
