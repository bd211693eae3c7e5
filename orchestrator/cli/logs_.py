"""``logs``: what a task's tool prints."""

from __future__ import annotations

import os
import time

import click

from orchestrator.cli.console import say
from orchestrator.cli.follow import write_log
from orchestrator.cli.main import App
from orchestrator.cli.options import complete_ids, examples, json_option
from orchestrator.errors import NotFound
from orchestrator.files import journals, results, scan
from orchestrator.files.layout import Layout
from orchestrator.files.logreader import LogReader
from orchestrator.files.text import clean
from orchestrator.model.status import Status
from orchestrator.model.units import show_duration


@click.command(epilog=examples("orchestrator logs review-retry", "orchestrator logs -f retry        # Ctrl-C stops following, not the task",
                               "orchestrator logs retry --stderr --attempt 1"))
@click.argument("task", shell_complete=complete_ids())
@click.option("-f", "--follow", is_flag=True, help="Go on as it prints, over all attempts, until it has ended.")
@click.option("-n", "--lines", type=click.IntRange(0), help="Only the last lines.")
@click.option("--attempt", type=click.IntRange(1), help="Which attempt. Default: the last.")
@click.option("--stderr", is_flag=True, help="What it printed on standard error.")
@json_option
@click.option("--raw", is_flag=True, help="The bytes as they are, with whatever they do to a terminal.")
@click.pass_obj
def command(app: App, task: str, follow: bool, lines: int | None, attempt: int | None, stderr: bool, as_json: bool,
            raw: bool) -> int:
    """What the tool printed.  Control sequences other than colours are removed."""
    layout = app.layout
    task_id, _, _ = scan.find(layout, task)
    name = "stderr.log" if stderr else "stdout.log"
    number = attempt or _newest(layout, task_id)
    if number is None and not follow:
        raise NotFound(f"{task_id} has not run yet", f"orchestrator why {task_id}")
    if attempt is not None and not os.path.isdir(layout.logs(task_id, attempt)):
        raise NotFound(f"{task_id} has no attempt {attempt}", f"the newest is {_newest(layout, task_id)}")
    if follow and as_json:
        raise click.UsageError("--follow has no end: it prints text only")
    if follow:
        return _follow(app, task_id, name, attempt, lines, raw)
    path = f"{layout.logs(task_id, number)}/{name}"
    if as_json:
        return _document(app, task_id, number, path, lines)
    if not os.path.exists(path):
        say(f"{layout.shown(path)} is not there (logs are not kept in git)")
        return 1
    for piece in LogReader(path, lines).pieces():
        write_log(app, piece, raw)
    return 0


def _document(app: App, task_id: str, number: int | None, path: str, lines: int | None) -> int:
    text = clean(b"".join(LogReader(path, lines).pieces()).decode("utf-8", "replace").replace("\r\n", "\n"))
    app.console.json("logs", {"task": task_id, "attempt": number, "file": app.layout.shown(path),
                              "lines": text.splitlines()})
    return 0


def _newest(layout: Layout, task_id: str) -> int | None:
    numbers = [int(name) for name in scan.names(layout.logs(task_id)) if name.isdigit()]
    return max(numbers, default=None)


def _follow(app: App, task_id: str, name: str, attempt: int | None, lines: int | None, raw: bool) -> int:
    layout = app.layout
    number = attempt or _newest(layout, task_id)
    reader: LogReader | None = None
    while True:
        place = scan.locate(layout, task_id)
        journal = journals.of(layout, task_id)
        over = place is not None and place[0] not in (Status.INBOX, Status.HELD, Status.RUNNING)
        ended = over or place is None or (attempt is not None and journal is not None and any(
            facts.number == attempt and facts.ended for facts in journal.attempts))
        newest = _newest(layout, task_id)
        number = number or newest
        if number is not None:
            if reader is None:
                agent = journal.claim.get("agent", "") if journal else ""
                say(f"==> {task_id} · attempt {number} · {agent} · Ctrl-C stops following, not the task")
                reader = LogReader(f"{layout.logs(task_id, number)}/{name}", lines)
            next_one = attempt is None and newest is not None and newest > number
            for piece in reader.pieces(ended or next_one):
                write_log(app, piece, raw)
            if next_one:
                number, reader, lines = newest, None, None
                continue
        if ended:
            found = results.read(layout, task_id)
            took = show_duration(float(found.get("duration_s", 0))) if found else ""
            say("==> " + " · ".join(part for part in (str(place[0]) if place else "withdrawn", took,
                                                      str(found.get("reason") or "")) if part))
            return 0 if place is not None and place[0] is Status.DONE else 1
        time.sleep(0.1)
