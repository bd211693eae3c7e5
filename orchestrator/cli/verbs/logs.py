"""``logs``: what a task's tool prints."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from orchestrator import lazily
from orchestrator.cli.app import App
from orchestrator.cli.changes import for_each
from orchestrator.cli.options import examples, ids_argument, json_option
from orchestrator.cli.screen.console import cost, say
from orchestrator.cli.screen.follow import LogWriter
from orchestrator.cli.selecting import named
from orchestrator.errors import NotFound
from orchestrator.files import journals, results, scan
from orchestrator.files.layout import Layout
from orchestrator.files.logreader import LogReader, no_log
from orchestrator.files.text import one_line
from orchestrator.model.status import ENDED, Status
from orchestrator.model.units import show_duration
from orchestrator.queries import printed
from orchestrator.tools import activity


@click.command(
    epilog=examples(
        "orchestrator logs review-retry",
        "orchestrator logs -f retry        # Ctrl-C stops following, not the task",
        "orchestrator logs retry --stderr --attempt 1",
        "orchestrator logs retry --check tests",
    )
)
@ids_argument(runs=True)
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="Follow its output, through all attempts, until it ends.",
)
@click.option("--last", "lines", type=click.IntRange(0), help="Only the last lines, this many.")
@click.option("--attempt", type=click.IntRange(1), help="Which attempt. Default: the last.")
@click.option("--stderr", is_flag=True, help="Its standard error.")
@click.option("--check", metavar="NAME", help="What this check of the attempt printed.")
@json_option
@click.option("--raw", is_flag=True, help="The raw bytes, whatever they do to your terminal.")
@click.pass_obj
def command(
    app: App,
    tasks: tuple[str, ...],
    follow: bool,
    lines: int | None,
    attempt: int | None,
    stderr: bool,
    check: str | None,
    as_json: bool,
    raw: bool,
) -> int:
    """Show what the tool printed. An agent's JSON events become readable lines: what it says,
    runs, reads, changes.

    Control sequences other than colours are removed. For a run, this shows the output of each of
    its tasks.
    """
    layout, name = app.layout, "stderr.log" if stderr else "stdout.log"
    ids = [task_id for task_id, _, _ in named(app, tasks)]
    if follow and as_json:
        raise click.UsageError("--follow prints only text")
    if follow and check:
        raise click.UsageError("--follow follows the tool, not a check")
    if follow and len(ids) > 1:
        raise click.UsageError(f"--follow follows one task; these are {len(ids)}")
    if follow:
        _check_attempt(layout, ids[0], attempt)
        lazily.settle()
        return _follow(app, ids[0], name, attempt, lines, raw)
    if len(tasks) < len(ids):  # a run's that have not run yet are passed over
        ids = [task_id for task_id in ids if printed.newest(layout, task_id) is not None]
    documents = []

    def one(task_id: str) -> int:
        number = _attempt(layout, task_id, attempt)
        file = f"{_check_folder(layout, task_id, number, check)}/{name}" if check else name
        if as_json:
            documents.append(("logs", _document(layout, task_id, number, file, lines, raw)))
            return 0
        if len(ids) > 1:
            say(f"==> {task_id} · attempt {number}")
        return _show(app, task_id, number, file, lines, raw)

    code = for_each(ids, one)
    if as_json:
        app.console.documents(documents, len(ids) > 1)
    return code


def _check_attempt(layout: Layout, task_id: str, attempt: int | None) -> None:
    """`NotFound` if this attempt is asked for, and there was none."""
    if attempt is not None and not os.path.isdir(layout.logs(task_id, attempt)):
        raise NotFound(
            f"{task_id} has no attempt {attempt}",
            f"the newest is {printed.newest(layout, task_id)}",
        )


def _attempt(layout: Layout, task_id: str, attempt: int | None) -> int:
    number = attempt or printed.newest(layout, task_id)
    if number is None:
        raise _no_log(layout, task_id)
    _check_attempt(layout, task_id, attempt)
    return number


def _check_folder(layout: Layout, task_id: str, number: int, check: str) -> str:
    """The folder of a check's output, from that of the attempt. `NotFound` if no such check ran."""
    ran = printed.checks(layout, task_id, number)
    if check not in ran:
        hint = f"it ran {', '.join(ran)}" if ran else f"orchestrator show {task_id}"
        raise NotFound(f"attempt {number} of {task_id} ran no check '{one_line(check, 60)}'", hint)
    return printed.folder_of_check(check)


def _show(app: App, task_id: str, number: int, name: str, lines: int | None, raw: bool) -> int:
    layout = app.layout
    path = f"{layout.logs(task_id, number)}/{name}"
    if not os.path.exists(path):
        why = _never_started(layout, task_id, number)
        say(why or f"{layout.shown(path)} is not there (logs are not kept in git)")
        return 1
    if why := no_log(path):
        say(f"{layout.shown(path)} is not a log: {why}")
        return 1
    how = printed.how_shown(layout, task_id, number, name)
    writer = LogWriter(app, how, raw, lines)
    for piece in LogReader(path, lines if raw or how.show is None else None).pieces():
        writer.write(piece)
    writer.end()
    return 0


def _never_started(layout: Layout, task_id: str, number: int) -> str:
    """Why an attempt has no log: its tool did not start. Empty if it did."""
    for attempt in results.read(layout, task_id).get("attempts") or ():
        if attempt.get("attempt") == number and not attempt.get("started_at"):
            return f"attempt {number} of {task_id} printed nothing: {attempt.get('reason')}"
    return ""


def _no_log(layout: Layout, task_id: str) -> NotFound:
    """There is no log here: it has not run, or it ran and its logs are elsewhere (git ignores
    them)."""
    if not results.read(layout, task_id):
        return NotFound(f"{task_id} has not run yet", f"orchestrator why {task_id}")
    gone = layout.shown(layout.logs(task_id))
    return NotFound(
        f"the logs of {task_id} are not here: {gone} is missing (git does not carry logs)",
        f"orchestrator show {task_id}   has its result",
    )


def _document(
    layout: Layout, task_id: str, number: int, name: str, lines: int | None, raw: bool
) -> dict[str, Any]:
    path = f"{layout.logs(task_id, number)}/{name}"
    plain = activity.Presentation()
    how = plain if raw else printed.how_shown(layout, task_id, number, name)
    return {
        "task": task_id,
        "attempt": number,
        "file": layout.shown(path),
        "lines": printed.lines_of(path, how, lines),
    }


def _follow(
    app: App, task_id: str, name: str, attempt: int | None, lines: int | None, raw: bool
) -> int:
    layout = app.layout
    number = attempt or printed.newest(layout, task_id)
    reader: LogReader | None = None
    while True:
        place = scan.locate(layout, task_id)
        journal = journals.of(layout, task_id)
        over = place is not None and place[0] in ENDED
        ended = (
            over
            or place is None
            or (
                attempt is not None
                and journal is not None
                and any(facts.number == attempt and facts.ended for facts in journal.attempts)
            )
        )
        newest = printed.newest(layout, task_id)
        number = number or newest
        if number is not None:
            if reader is None:
                agent = journal.claim.get("agent", "") if journal else ""
                say(
                    f"==> {task_id} · attempt {number} · {agent} · Ctrl-C stops following, not the"
                    " task"
                )
                reader = LogReader(f"{layout.logs(task_id, number)}/{name}", lines)
                writer = LogWriter(app, printed.how_shown(layout, task_id, number, name), raw)
            next_one = attempt is None and newest is not None and newest > number
            for piece in reader.pieces(ended or next_one):
                writer.write(piece)
            if ended or next_one:
                writer.end()
            if next_one:
                number, reader, lines = newest, None, None
                continue
        if ended:
            found = results.read(layout, task_id)
            took = show_duration(float(found.get("duration_s", 0))) if found else ""
            say(
                "==> "
                + " · ".join(
                    part
                    for part in (
                        str(place[0]) if place else "withdrawn",
                        took,
                        cost(found.get("cost_usd")),
                        str(found.get("reason") or ""),
                    )
                    if part
                )
            )
            return 0 if place is not None and place[0] is Status.DONE else 1
        time.sleep(0.1)
