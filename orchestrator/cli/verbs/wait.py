"""``wait``: until tasks have ended."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import each, examples, ids_argument
from orchestrator.cli.screen import follow
from orchestrator.model.units import duration


@click.command(
    epilog=examples(
        "orchestrator wait review-retry && git push",
        "orchestrator wait a b c --timeout 10m",
        "orchestrator wait a b --any",
    )
)
@ids_argument()
@click.option("-t", "--timeout", help="Give up after this long (exit code 124).")
@click.option("--any", "any_of", is_flag=True, help="Return as soon as one has ended.")
@click.pass_obj
def command(app: App, tasks: tuple[str, ...], timeout: str | None, any_of: bool) -> int:
    """Wait for tasks.  Exit code 0 if all are done, 1 if one failed, 7 if none failed and one is in review, 124 if one ran out of
    time.

    If only a person can move things on (an invalid file, a hold, no watcher), it says so on standard error after a second.
    """
    try:
        limit = duration(timeout) if timeout else None
    except ValueError as error:
        raise click.UsageError(f"{error}; write 90s, 15m or 2h") from None
    return follow.until_ended(
        app, [task_id for task_id, _, _ in each(app.layout, tasks)], limit, any_of=any_of
    )
