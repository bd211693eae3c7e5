"""``status``: what runs, what waits, what went wrong, on one screen."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import click

from orchestrator import lazily
from orchestrator.cli import elsewhen
from orchestrator.cli.app import App
from orchestrator.cli.options import examples, json_option, now
from orchestrator.cli.screen import needs
from orchestrator.cli.screen.console import Console, cost, day_cost
from orchestrator.cli.screen.projects import rows as project_rows
from orchestrator.files.card import Card
from orchestrator.files.text import one_line
from orchestrator.model.status import COUNTED, Status
from orchestrator.model.units import show_duration, timestamp, when
from orchestrator.patterns import regex
from orchestrator.queries import overview, projects

if TYPE_CHECKING:
    from orchestrator.queries.overview import Overview
    from orchestrator.queries.rows import Row

_TIMES = regex(r"\d+(?:\.\d+)?(?:ms|[smhd])\b")  # ages and durations
NEEDS = 12  # rows of what needs you


def watcher_words(card: Card | None, moment: float) -> str:
    """``watcher running (pid 4711, 1h12m)``."""
    if card is None:
        return "no watcher"
    if not card.alive:
        return "no watcher (the last one was killed)"
    up = show_duration(max(0.0, moment - when(card.started_at)))
    answering = "running" if card.answers else "not answering"
    state = "draining" if card.draining else answering
    return f"watcher {state} (pid {card.pid}, {up})"


@click.command(
    epilog=examples(
        "orchestrator status",
        "orchestrator status --json | jq .counts",
        "orchestrator status -f          # keep looking",
        "orchestrator status --ahead --slots 8 --without gemini",
        "orchestrator status --at 2h     # or at a time, or in a commit: HEAD~3",
    )
)
@json_option
@click.option(
    "-s", "--short", is_flag=True, help="One short line, for a prompt or tmux's status line."
)
@click.option(
    "-f",
    "--follow",
    "keep",
    is_flag=True,
    help="Keep updating; in a pipe, print what changes. Ctrl-C stops only that.",
)
@click.option(
    "--interval",
    type=click.FloatRange(0.1),
    default=1.0,
    show_default=True,
    help="Seconds between updates with -f.",
)
@click.option("--all", "everywhere", is_flag=True, help="All your projects, one line each.")
@click.option(
    "--ahead",
    is_flag=True,
    help="What will start, in which order, when it will end, and at what cost.",
)
@click.option("--slots", type=click.IntRange(0), help="With --ahead: as if there were this many.")
@click.option("--without", multiple=True, metavar="NAME", help="... without this tool or agent.")
@click.option(
    "--at", "moment", metavar="WHEN", help="Where every task was: 2h ago, at a time, in HEAD~3."
)
@click.pass_obj
def command(
    app: App,
    as_json: bool,
    short: bool,
    keep: bool,
    interval: float,
    ahead: bool,
    slots: int | None,
    without: tuple[str, ...],
    moment: str | None,
    everywhere: bool,
) -> None:
    """Show what needs you, what is running and waiting, and what ended. This only reads files and
    works with or without a watcher."""
    if (slots is not None or without) and not ahead:
        raise click.UsageError("--slots and --without need --ahead")
    if ahead and moment is not None:
        raise click.UsageError("either --ahead or --at")
    if everywhere and (ahead or moment is not None or short):
        raise click.UsageError("--all can only be combined with --json, -f and --interval")
    if ahead:
        return elsewhen.show_ahead(app, as_json, slots, without)
    if moment is not None:
        return elsewhen.show_past(app, as_json, moment)
    if keep:
        lazily.settle()
    told: set[str] = set()
    while True:
        look: AbstractContextManager[None] = nullcontext()
        if keep and not as_json and not short:
            look = _redrawn(app.console) if app.console.steers else _new_alone(app.console, told)
        with look:
            if everywhere:
                _show_projects(app, as_json)
            else:
                _show_project(app, as_json, short)
        if not keep:
            return None
        sys.stdout.flush()
        time.sleep(interval)


def _show_projects(app: App, as_json: bool) -> None:
    views = projects.all_projects(now())
    if as_json:
        app.console.json("projects", {"projects": [view.as_json() for view in views]})
    else:
        app.console.table(project_rows(app.console, views))


def _show_project(app: App, as_json: bool, short: bool) -> None:
    view = overview.of(app.layout, now())
    if as_json:
        app.console.json("status", view.as_json())
    elif short:
        app.console.out(short_line(app.console, view))
    else:
        show(app.console, view, now())


@contextmanager
def _redrawn(console: Console) -> Iterator[None]:
    """What is printed inside replaces what is on the screen, line by line, so that nothing
    flickers."""
    screen, console.stream = console.stream, io.StringIO()
    try:
        yield
        lines = console.stream.getvalue().splitlines()[
            : max(os.get_terminal_size(screen.fileno()).lines - 1, 1)
        ]
    finally:
        console.stream = screen
    screen.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")


@contextmanager
def _new_alone(console: Console, told: set[str]) -> Iterator[None]:
    """Of what is printed inside, only the lines that were not ``told`` at the last look, whatever
    times are in them."""
    screen, console.stream = console.stream, io.StringIO()
    try:
        yield
        lines = console.stream.getvalue().splitlines()
    finally:
        console.stream = screen
    keys = [_TIMES.sub("", line) for line in lines]
    new = (line for key, line in zip(keys, lines, strict=True) if key not in told)
    screen.write("".join(f"{line}\n" for line in new))
    told.clear()
    told.update(keys)


def short_line(console: Console, view: Overview) -> str:
    """``3▶ 2· 1✗ 2? $5.81``: running, waiting, failed, what needs you.  A trailing ``!`` means that
    no watcher runs, or that it claims nothing (the disk, the settings)."""
    parts = [
        f"{view.counts[Status.RUNNING]}{'▶' if console.unicode else '>'}",
        f"{view.counts[Status.INBOX]}{'·' if console.unicode else '.'}",
    ]
    if view.counts[Status.FAILED]:
        parts.append(f"{view.counts[Status.FAILED]}{'✗' if console.unicode else 'x'}")
    if view.needs:
        parts.append(f"{len(view.needs)}?")
    if (
        view.watcher is None
        or not view.watcher.answers
        or view.watcher.fault
        or view.watcher.settings
    ):
        parts.append("!")
    if view.watcher is not None and view.watcher.alive and view.watcher.cost_usd:
        parts.append(cost(view.watcher.cost_usd))
    return " ".join(parts)


def slot_words(used: int, slots: int) -> str:
    """``2 of 4 slots``."""
    return f"{used} of {slots} slots" if slots else "paused (limits.running: 0)"


def show(console: Console, view: Overview, moment: float) -> None:
    """All of it, for people: the watcher, the counts, what needs them, the rows, what is next."""
    console.hang("", _watcher_line(view, moment))
    for name, text in _remarks(console, view, moment):
        console.hang(f"{name:<8} ", text)
    console.out(_counts_line(view))
    if view.needs:
        console.out()
        needs.block(console, view.needs, moment, NEEDS)
    told = {need.id for need in view.needs}
    recent = [row for row in view.recent if row.id not in told]
    rows = [line(console, row, moment) for row in (*view.running, *view.waiting, *recent)]
    if rows:
        console.out()
        console.table(rows)
    for text in _ending_lines(view, bool(rows)):
        console.out(text)


def _watcher_line(view: Overview, moment: float) -> str:
    card, words = view.watcher, watcher_words(view.watcher, moment)
    if card is None or not card.alive:
        return f"{words}   start one: orchestrator watch"
    parts = [words, slot_words(view.in_slots, card.slots), f"beat {show_duration(card.beat)} ago"]
    if card.cost_usd:
        parts.append(day_cost(card.cost_usd, view.budget_usd))
    return " · ".join(parts)


def _remarks(console: Console, view: Overview, moment: float) -> Iterator[tuple[str, str]]:
    """What is to be known of the whole: what is wrong with the watcher, what is held, how much of
    each plan is used."""
    card = view.watcher
    if card is not None and card.alive:
        if card.fault:
            text = f"{card.fault}: nothing new starts until this is over"
            yield "fault", console.paint(text, "red")
        if card.settings:
            colour = "yellow" if card.settings_held else "red"
            yield "settings", console.paint(one_line(card.settings, 400), colour)
        if card.notifications:
            why = card.notifications
            yield "note", f"no notifications ({why}): folders are listed every second"
    for gate in view.held.values():
        yield "held", console.paint(gate.why, "yellow") + f"   {gate.hint}"
    for tool, windows in view.quotas.items():
        used = " · ".join(window.words(moment) for window in windows)
        yield "quota", f"{tool} {used}"


def _counts_line(view: Overview) -> str:
    """``2 waiting · 1 running · 0 done · 0 failed``: those four always, the others if there are
    any."""
    always = (Status.INBOX, Status.RUNNING, Status.DONE, Status.FAILED)
    counted = [
        f"{view.counts[status]} {status.word}"
        for status in COUNTED
        if view.counts[status] or status in always
    ]
    if view.invalid:
        counted.append(f"{len(view.invalid)} invalid")
    if view.editing:
        counted.append(f"{len(view.editing)} being edited")
    return " · ".join(counted)


def _ending_lines(view: Overview, rows: bool) -> Iterator[str]:
    """What did not fit, and what to do next."""
    if view.more_waiting > 0:
        yield f"  {view.more_waiting} more waiting: orchestrator list"
    older = view.counts[Status.FAILED] - len(view.recent)
    if older > 0 and view.recent:
        yield f"  {older} more failed: orchestrator list --status failed"
    if view.needs:
        yield "next: orchestrator review"
    if not rows and not view.needs and not any(view.counts.values()):
        first = 'orchestrator new "..."'
        yield f"\nnothing here yet: {first}   or drop a YAML file into work/inbox"


def line(console: Console, row: Row, moment: float) -> list[str]:
    """A row of the table: sign, id, agent, time, detail."""
    state = "retrying" if "retrying" in row.flags else row.status
    if row.ended is not None:
        clock = console.ago(row.ended, moment)
    elif row.seconds is not None:
        # In a pipe the column has one meaning: since when it is so.
        since = moment - row.seconds if row.started is None else row.started
        clock = show_duration(row.seconds) if console.tty else timestamp(since)
    else:
        clock = ""
    detail = " ".join(part for part in (cost(row.cost_usd), console.local(row.detail)) if part)
    shown = one_line(row.id)
    name = f"{console.sign(state)} {shown}" if console.tty else shown
    return [name, console.word(state), row.agent, clock, detail]
