"""``events``: what happened."""

from __future__ import annotations

import json
import math
import sys
import time
from datetime import datetime
from typing import Any

import click

from orchestrator import lazily
from orchestrator.cli.app import App
from orchestrator.cli.options import complete_ids, complete_runs, examples, json_option, now
from orchestrator.cli.screen.console import say
from orchestrator.files import eventreader
from orchestrator.files.text import on_a_line, one_line
from orchestrator.model.event import EVENTS
from orchestrator.model.units import duration, plural, timestamp, when
from orchestrator.projection.index import open_index
from orchestrator.queries.usage import ask
from orchestrator.records import dataclass

RECENT = 10  # events that -f begins with


@click.command(
    epilog=examples(
        "orchestrator events --since 10m",
        "orchestrator events --last 20",
        "orchestrator events -f",
        'orchestrator events --sql "SELECT tool, sum(cost_usd) FROM attempts GROUP BY tool"',
        'orchestrator events --sql "SELECT sql FROM sqlite_master"     # show the tables',
        "orchestrator events --since today --type task_finished --jsonl | jq -r .task_id",
    )
)
@click.argument("words", nargs=-1, metavar="[TASK...]", shell_complete=complete_ids(runs=True))
@click.option("--since", help="A time, an age (10m, 2h, 7d) or today.")
@click.option(
    "--type",
    "kinds",
    multiple=True,
    metavar="NAME",
    help="Only events whose name contains NAME.",
    shell_complete=lambda _, __, word: [kind for kind in EVENTS if word in kind],
)
@click.option("--task", help="Only events of this task.", shell_complete=complete_ids())
@click.option("--run", "run_id", shell_complete=complete_runs, help="Only events of this run.")
@click.option("--last", "most", type=click.IntRange(0), help="Only the newest, this many.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new events.")
@click.option(
    "--sql", metavar="QUERY", help="Ask the index of the log: tables events, attempts, tasks."
)
@json_option
@click.option("--jsonl", is_flag=True, help="One JSON object per line, as in the log.")
@click.pass_obj
def command(
    app: App,
    words: tuple[str, ...],
    since: str | None,
    kinds: tuple[str, ...],
    task: str | None,
    run_id: str | None,
    most: int | None,
    follow: bool,
    sql: str | None,
    as_json: bool,
    jsonl: bool,
) -> None:
    """Print events from all event files, in order of time, or only those of the tasks and runs
    that you name."""
    if sql is not None:
        if words or follow or jsonl or kinds or task or run_id or since or most is not None:
            raise click.UsageError(
                "--sql selects in its WHERE clause and can only be combined with --json"
            )
        return _ask(app, sql, as_json)
    unknown = [kind for kind in kinds if not any(kind in name for name in EVENTS)]
    if unknown:
        raise click.UsageError(f"no event is called '{unknown[0]}'. There are: {', '.join(EVENTS)}")
    if follow and as_json:
        raise click.UsageError("with --follow, use --jsonl instead of --json")
    start = timestamp(_since(since)) if since else ""
    wanted = Wanted(words, kinds, task or "", run_id or "")
    if follow:
        lazily.settle()
    if most is None and follow and not since:
        most = RECENT
    # It begins where the log ends now: what comes while the past is told is told afterwards.
    follower = eventreader.Follower(app.layout) if follow else None
    _show_past(app, wanted, start, most, as_json, jsonl, follow)
    while follower is not None:
        for event in filter(wanted.is_met_by, follower.read()):
            _show(app, event, jsonl)
        sys.stdout.flush()
        time.sleep(0.2)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: all that is said must be so of one. Empty: it does not matter."""

    words: tuple[str, ...]
    kinds: tuple[str, ...]
    task: str
    run: str

    def is_met_by(self, event: dict[str, Any]) -> bool:
        """Whether it is one of these events."""
        kind = str(event.get("event"))
        return (
            (not self.kinds or any(part in kind for part in self.kinds))
            and self.task in str(event.get("task_id") or "")
            and self.run in ("", event.get("run_id"))
            and (not self.words or any(_is_of(event, word) for word in self.words))
        )


def _show_past(
    app: App,
    wanted: Wanted,
    start: str,
    most: int | None,
    as_json: bool,
    jsonl: bool,
    follow: bool,
) -> None:
    """What has happened since ``start``, of which at ``most`` the newest."""
    if most is None:
        found, bad = eventreader.events(app.layout, start)
        chosen = list(filter(wanted.is_met_by, found))
    else:
        bad, chosen = 0, eventreader.last(app.layout, most, wanted.is_met_by, start)
    if as_json:
        return app.console.json("events", {"events": chosen, "bad_lines": bad})
    for event in chosen:
        _show(app, event, jsonl)
    if bad:
        lines = plural(bad, "line")
        say(f"{lines} in the log could not be read and were skipped; see orchestrator doctor")
    if not chosen and not follow and app.console.tty:
        app.console.out("no events")
    return None


def _is_of(event: dict[str, Any], word: str) -> bool:
    """Whether a task with this word in its id did it, or a task of this run. Those that are gone
    have events, too."""
    return word in str(event.get("task_id") or "") or event.get("run_id") == word


def _since(text: str) -> float:
    if text == "today":
        return datetime.now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    try:
        return now() - duration(text)
    except ValueError:
        pass
    try:
        return when(text)
    except ValueError:
        raise click.UsageError(
            f"--since '{text}': write 10m, 2h, today or 2026-11-22T09:00"
        ) from None


def _show(app: App, event: dict[str, Any], jsonl: bool) -> None:
    if jsonl:
        app.console.out(json.dumps(event, ensure_ascii=False, separators=(",", ":")))
        return
    try:
        moment = app.console.clock(when(str(event.get("ts"))))
    except ValueError:
        moment = "?"
    subject = event.get("task_id") or event.get("run_id") or "-"
    attempt = f"attempt {event['attempt']}" if (event.get("attempt") or 0) > 1 else ""
    text = " · ".join(
        part for part in (one_line(str(event.get("summary") or ""), 200), attempt) if part
    )
    if app.console.tty:
        app.console.out(
            app.console.cut(
                f"{moment}  {event.get('event')!s:<21} {one_line(str(subject)):<24} {text}"
            )
        )
    else:
        app.console.out(f"{moment}\t{event.get('event')}\t{one_line(str(subject))}\t{text}")


def _ask(app: App, sql: str, as_json: bool) -> None:
    """What the index answers in SQL; it is read-only."""
    index = open_index(app.layout)
    lazily.settle()
    names, rows = ask(index, sql)
    if as_json:
        app.console.json(
            "query", {"columns": names, "rows": [list(map(_told, row)) for row in rows]}
        )
        return
    if app.console.tty:
        app.console.table([names, *([_shown(value) for value in row] for row in rows)])
        return
    app.console.out("\t".join(names))
    for row in rows:
        app.console.out("\t".join(_shown(value) for value in row))


def _told(value: object) -> object:
    """A value as JSON has it: bytes as SQL writes them, and no number that is infinite."""
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: object) -> str:
    told = _told(value)
    return "" if told is None else on_a_line(str(told)).replace("\t", " ")
