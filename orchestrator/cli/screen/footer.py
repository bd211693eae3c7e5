"""The footer of the pane: what runs now and how the rest stands, in at most a third of the terminal.

Pure: a `View` in, rows of text out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.cli.screen.console import Console, cost, tokens
from orchestrator.files.text import fit, fit_middle, one_line, width
from orchestrator.model.units import show_duration

NO_COST, NO_AGENT = 60, 48  # below so many columns these are left out
LIMITS, WIDE = 90, 140  # from so many columns on there is room for limits; for model, run, tokens
RULE = 100  # columns that the rule and the last row take at most: what wraps when the terminal shrinks is little then
MOST = 16  # tasks


@dataclass(frozen=True, slots=True)
class Doing:
    """An attempt that runs (or, with ``sign`` retrying, waits).  Times are seconds."""

    id: str
    agent: str
    seconds: float = 0.0
    limit: float = 0.0
    cost_usd: float | None = None
    tokens: int = 0
    line: str = ""
    model: str = ""
    run: str = ""  # its name, and how far it is
    attempt: int = 1
    sign: str = "running"


@dataclass(frozen=True, slots=True)
class View:
    """What the watcher knows at one moment.  ``counts`` are in the order they are shown; empty ones are left out."""

    doing: Sequence[Doing] = ()
    slots: int = 1
    counts: Sequence[tuple[str, int]] = ()
    notes: Sequence[str] = ()  # parked tools, no notifications: what else to know
    cost_usd: float = 0.0  # today
    budget_usd: float | None = None  # for today
    tokens: int = 0
    up: float = 0.0
    fault: str = ""
    draining: bool = False
    interrupted: bool = False


def footer(view: View, console: Console, columns: int, rows: int) -> tuple[str, ...]:
    """The rows for a terminal of this size."""
    columns = max(
        columns - 1, 10
    )  # the last cell stays free: writing to it makes some terminals wrap
    room = rows // 3
    if rows < 8 or room < 2 or (not view.doing and not view.fault and not view.draining):
        return (_summary(view, console, columns, alone=True),)
    last = _summary(view, console, columns)
    tasks = _tasks(view.doing, console, columns, min(room - 2, MOST))
    return (_rule(view, console, columns, names=room == 2), *tasks, last)


def _rule(view: View, console: Console, columns: int, names: bool) -> str:
    """``── RUNNING 3/4 ──────``, with the tasks' names where there is no room for more; instead of it what is wrong, or that it is
    about to end."""
    line, running = (
        ("─" if console.unicode else "-"),
        sum(item.sign == "running" for item in view.doing),
    )
    if view.fault:
        words, colour = f"FAULT {view.fault}: nothing is claimed until the disk takes writes", "red"
    elif view.interrupted:
        words, colour = f"INTERRUPTING {running}", "yellow"
    elif view.draining:
        words, colour = (
            f"DRAINING {running} running, no new tasks; Ctrl-C interrupts them",
            "yellow",
        )
    elif not view.slots:
        words, colour = (
            f"PAUSED {running} running, nothing new starts: limits.running is 0",
            "yellow",
        )
    else:
        words, colour = (
            f"RUNNING {running}/{view.slots}"
            + (f": {', '.join(item.id for item in view.doing)}" if names else ""),
            "",
        )
    text = (
        fit(f"{line}{line} {one_line(words)} ", columns, _dots(console))
        if width(words) + 4 > columns
        else f"{line}{line} {words} "
    )
    return console.paint(text, colour) + console.paint(
        line * max(min(columns, RULE) - width(text), 0), "dim"
    )


def _tasks(doing: Sequence[Doing], console: Console, columns: int, room: int) -> list[str]:
    if room < 1:
        return []
    shown = doing if len(doing) <= room else doing[: room - 1]
    cells = [_cells(item, console, columns) for item in shown]
    sizes = (
        [max(width(row[place]) for row in cells) for place in range(len(cells[0]) - 1)]
        if cells
        else []
    )
    if sizes:
        others = sum(sizes[1:]) + 2 * len(sizes) + 2
        free = columns - others - max(width(row[-1]) for row in cells) - 2
        sizes[0] = min(sizes[0], max(34 if columns >= LIMITS else columns // 3, 12, free))
    rows = []
    for item, row in zip(shown, cells, strict=True):
        text = "  ".join(
            (fit if place else fit_middle)(cell, size, _dots(console))
            for place, (cell, size) in enumerate(zip(row, sizes, strict=False))
            if size
        )
        left = columns - 2 - width(text) - 2
        text += "  " + fit(row[-1], left, _dots(console)) if left > 4 else ""
        rows.append(f"{console.sign(item.sign)} {fit(text, columns - 2, _dots(console)).rstrip()}")
    if len(shown) < len(doing):
        rows.append(console.paint(f"  {_dots(console)} {len(doing) - len(shown)} more", "dim"))
    return rows


def _cells(item: Doing, console: Console, columns: int) -> list[str]:
    """One row's columns; the last is what it is doing."""
    took = _clock(item.seconds) if item.sign == "running" else ""
    if took and item.limit and columns >= LIMITS:
        took += f"/{show_duration(item.limit)}"
    cells = [one_line(item.id)]
    if columns >= NO_AGENT:
        cells.append(one_line(item.agent) + (f" #{item.attempt}" if item.attempt > 1 else ""))
    cells.append(took)
    if columns >= NO_COST:
        cells.append(cost(item.cost_usd) if item.cost_usd else "")
    if columns >= WIDE:
        cells += [
            tokens(item.tokens) if item.tokens else "",
            one_line(item.model, 24),
            one_line(item.run, 30),
        ]
    return [*cells, one_line(item.line)]


def _summary(view: View, console: Console, columns: int, alone: bool = False) -> str:
    """`` waiting 2  done 39  failed 1        $5.81 today · 1.9M tok · up 1h12m``."""
    painted = {"failed": "red", "invalid": "red", "review": "yellow"}
    left = [
        (f"{name} {count}", painted.get(name, ""))
        for name, count in view.counts
        if count or name in ("waiting", "done")
    ]
    if alone and view.doing:
        left.insert(0, (f"running {len(view.doing)}", ""))
    if alone and (view.fault or view.draining):
        left.insert(0, ("FAULT", "red") if view.fault else ("draining", "yellow"))
    left += [(note, "yellow") for note in view.notes]
    right = []
    if view.cost_usd or view.budget_usd is not None:
        right.append(
            cost(view.cost_usd)
            + (f" of {cost(view.budget_usd)}" if view.budget_usd is not None else "")
            + " today"
        )
    if view.tokens:
        right.append(f"{tokens(view.tokens)} tok")
    right.append(f"up {show_duration(view.up // 60 * 60) if view.up >= 60 else '<1m'}")
    separator = " · " if console.unicode else " - "
    while left and 2 + sum(width(text) + 2 for text, _ in left) > columns:
        left.pop()
    used = 1 + sum(width(text) for text, _ in left) + 2 * (len(left) - 1)
    while right and used + 2 + width(separator.join(right)) > columns:
        right.pop()
    columns = max(min(columns, RULE), used + 2 + width(separator.join(right)))
    text = " " + "  ".join(console.paint(text, colour) for text, colour in left)
    return (
        text
        + " " * (columns - used - width(separator.join(right)))
        + console.paint(separator.join(right), "dim")
        if right
        else text
    )


def badge(view: View, console: Console) -> str:
    """``orch 3▶ 2· 1✗``: the title of the window, at most 21 cells."""
    counts = dict(view.counts)
    signs = ("▶", "·", "✗") if console.unicode else (">", ".", "x")
    parts = [
        f"{sum(item.sign == 'running' for item in view.doing)}{signs[0]}",
        f"{counts.get('waiting', 0)}{signs[1]}",
    ]
    parts += [f"{counts['failed']}{signs[2]}"] if counts.get("failed") else []
    parts += [f"{counts['review']}?"] if counts.get("review") else []
    parts += ["!"] if view.fault or counts.get("invalid") else []
    return fit("orch " + " ".join(parts), 21).rstrip()


def _clock(seconds: float) -> str:
    """Elapsed time that changes once a second at most."""
    return f"{int(seconds)}s" if seconds < 60 else show_duration(float(int(seconds)))


def _dots(console: Console) -> str:
    return "…" if console.unicode else "~"
