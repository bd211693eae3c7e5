"""``logs``: what a task's tool prints."""

from __future__ import annotations

import os
import sys
import time

import click

from orchestrator.cli.console import say
from orchestrator.cli.main import App
from orchestrator.cli.options import complete_ids, examples, json_option
from orchestrator.errors import NotFound
from orchestrator.files import journals, results, scan
from orchestrator.files.layout import Layout
from orchestrator.files.text import clean
from orchestrator.model.status import Status
from orchestrator.model.units import show_duration

BLOCK = 1 << 16


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
    try:
        with open(path, "rb") as file:
            if lines is not None:
                _seek_lines(file, lines)
            while data := file.read(BLOCK):
                _write(app, data, raw)
    except FileNotFoundError:
        say(f"{layout.shown(path)} is not there (logs are not kept in git)")
        return 1
    return 0


def _document(app: App, task_id: str, number: int | None, path: str, lines: int | None) -> int:
    try:
        with open(path, "rb") as file:
            if lines is not None:
                _seek_lines(file, lines)
            text = clean(file.read().decode("utf-8", "replace").replace("\r\n", "\n"))
    except FileNotFoundError:
        text = ""
    app.console.json("logs", {"task": task_id, "attempt": number, "file": app.layout.shown(path),
                              "lines": text.splitlines()})
    return 0


def _newest(layout: Layout, task_id: str) -> int | None:
    numbers = [int(name) for name in scan.names(layout.logs(task_id)) if name.isdigit()]
    return max(numbers, default=None)


def _seek_lines(file, count: int) -> None:
    """Go to where the last ``count`` lines begin, reading from the end."""
    position = end = file.seek(0, 2)
    found = b""
    while position > 0 and found.count(b"\n") <= count:
        step = min(BLOCK, position)
        position = file.seek(position - step)
        found = file.read(step) + found
    lines = found.splitlines(keepends=True)
    file.seek(end - sum(len(line) for line in lines[len(lines) - count:]) if count else end)


def _write(app: App, data: bytes, raw: bool) -> None:
    if raw:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        text = clean(data.decode("utf-8", "replace").replace("\r\n", "\n"), colour=app.console.color)
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.buffer.write(text.encode(encoding, "replace"))
        sys.stdout.buffer.flush()


def _follow(app: App, task_id: str, name: str, attempt: int | None, lines: int | None, raw: bool) -> int:
    layout = app.layout
    number = attempt or _newest(layout, task_id)
    position, begun = 0, False
    pending = b""
    while True:
        place = scan.locate(layout, task_id)
        journal = journals.of(layout, task_id)
        over = place is not None and place[0] not in (Status.INBOX, Status.HELD, Status.RUNNING)
        ended = over or place is None or (attempt is not None and journal is not None and any(
            facts.number == attempt and facts.ended for facts in journal.attempts))
        newest = _newest(layout, task_id)
        if number is None:
            number = newest
        if number is not None:
            if not begun:
                agent = journal.claim.get("agent", "") if journal else ""
                say(f"==> {task_id} · attempt {number} · {agent} · Ctrl-C stops following, not the task")
                begun = True
            path = f"{layout.logs(task_id, number)}/{name}"
            if os.path.exists(path):
                with open(path, "rb") as file:
                    if lines is not None and position == 0:
                        _seek_lines(file, lines)
                        position, lines = file.tell(), None
                    file.seek(min(position, os.fstat(file.fileno()).st_size))
                    data = file.read()
                    position = file.tell()
                # Whole lines only, so that a cut character or control sequence is not shown in halves.
                data = pending + data
                cut = len(data) if ended or raw else data.rfind(b"\n") + 1
                pending = data[cut:]
                if cut:
                    _write(app, data[:cut], raw)
            if attempt is None and newest is not None and newest > number:
                number, position, begun, pending = newest, 0, False, b""
                continue
        if ended:
            found = results.read(layout, task_id)
            took = show_duration(float(found.get("duration_s", 0))) if found else ""
            say("==> " + " · ".join(part for part in (str(place[0]) if place else "withdrawn", took,
                                                      str(found.get("reason") or "")) if part))
            return 0 if place is not None and place[0] is Status.DONE else 1
        time.sleep(0.1)
