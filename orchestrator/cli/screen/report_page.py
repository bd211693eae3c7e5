"""The report as one HTML file: no server, no library. ``report.html`` beside this file is its
frame, ``report.js`` draws it."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from orchestrator import __version__
from orchestrator.cli.screen.console import cost_each, tokens
from orchestrator.files.layout import data_file
from orchestrator.files.text import clean, one_line
from orchestrator.model.units import show_duration
from orchestrator.queries.usage import BY, Ended, Group

COLOURS = 7  # series with a colour of their own; the rest is "other"
WIDTH, HEIGHT, LEFT, BOTTOM = 560, 200, 56, 18
LEAST = 1e-9  # what is less is drawn as nothing
OUTCOMES = {
    "succeeded": "var(--good)",
    "failed": "var(--bad)",
    "timed_out": "var(--c1)",
    "cancelled": "var(--warn)",
    "lost": "var(--c3)",
}


def page(name: str, documents: Sequence[Mapping[str, Any]], base: str = "") -> str:
    """The whole document: one file that holds all it shows.

    With a ``base`` it holds nothing and loads ``BASE.data.js``, ``BASE.past.js``, ``BASE.rows.js``
    and ``BASE.tasks.js`` beside it again and again (a page that was opened from a disk may load
    scripts, and fetch nothing else).
    """
    script = _read("report.js")
    parts = {
        "version": __version__,
        "title": escape(one_line(name)),
        "base": escape(base),
        "allowed": _allowed(script, base),
        "script": script,
        "data": embedded(documents),
    }
    return re.sub(
        r"\{(%s)\}" % "|".join(parts), lambda found: parts[found[1]], _read("report.html")
    )  # in one pass: what is put in is not looked at again


def _allowed(script: str, base: str) -> str:
    """What the browser may run for the page: its own script and, with a ``base``, what that loads.
    So a text that got in as HTML would run nothing, and the browser sends nothing."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'" + (" 'strict-dynamic'" if base else "")


def _read(name: str) -> str:
    with open(data_file("cli/screen", name), encoding="utf-8") as file:
        return file.read()


def embedded(document: object) -> str:
    """A value as JSON that can stand in a script: only ``<`` could end that, and escaped it is the
    same JSON. Its texts are clean, as in a terminal."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return clean(text).replace("<", "\\u003c")


def figures(
    span: str,
    total: Group,
    groups: Mapping[str, Sequence[Group]],
    tasks: Sequence[Ended],
    costs: Mapping[str, Mapping[str, float]],
) -> str:
    """The figures of one period as HTML. ``groups``: by each of `usage.BY`; ``costs``: dollars by
    day and agent."""
    by_day: dict[str, dict[str, float]] = {}
    for task in tasks:
        day = by_day.setdefault(task.ended[:10], {})
        day[task.outcome or "failed"] = day.get(task.outcome or "failed", 0) + 1
    agents = _ranked(costs)
    series = {name: f"var(--c{min(place, COLOURS)})" for place, name in enumerate(agents)}
    outcomes = {
        name: colour
        for name, colour in OUTCOMES.items()
        if any(name in day for day in by_day.values())
    }
    cost_chart = _bars(_merged(costs, agents), series, "$", "cost in US dollars by day and agent")
    task_chart = _bars(by_day, outcomes, "", "tasks by day and outcome")
    tables = "".join(
        _table(by, groups[by])
        for by in BY
        if by != "day" and any(group.name for group in groups[by])
    )
    return (
        f'<h2>{escape(span)}</h2><dl class="totals">{_totals(total)}</dl><div class="pair">'
        f"<section><h2>Cost by day</h2>{cost_chart}</section>"
        f"<section><h2>Tasks by day</h2>{task_chart}</section></div>{tables}"
    )


def _totals(total: Group) -> str:
    figures = [
        ("tasks", str(total.tasks)),
        ("succeeded", f"{total.success:.0%}" if total.success is not None else "-"),
        ("cost", f"${total.cost_usd:.2f}"),
        ("tokens", tokens(total.total_tokens)),
        ("median", show_duration(total.median_s) if total.median_s is not None else "-"),
        ("p95", show_duration(total.p95_s) if total.p95_s is not None else "-"),
    ]
    return "".join(f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in figures)


def _ranked(costs: Mapping[str, Mapping[str, float]]) -> list[str]:
    total: dict[str, float] = {}
    for day in costs.values():
        for name, cost in day.items():
            total[name] = total.get(name, 0.0) + cost
    ranked = sorted((name for name, cost in total.items() if cost), key=lambda name: -total[name])
    return ranked if len(ranked) <= COLOURS + 1 else [*ranked[:COLOURS], "other"]


def _merged(
    costs: Mapping[str, Mapping[str, float]], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """The same with everything that is not named under ``other``."""
    result: dict[str, dict[str, float]] = {}
    for day, amounts in costs.items():
        for name, cost in amounts.items():
            if cost:
                its = result.setdefault(day, {})
                its[name if name in names else "other"] = (
                    its.get(name if name in names else "other", 0.0) + cost
                )
    return result


def _bars(
    days: Mapping[str, Mapping[str, float]], series: Mapping[str, str], unit: str, label: str
) -> str:
    """Stacked bars, one for each day, with a key."""
    if not days:
        return "<p>nothing in this period</p>"
    most = max(sum(day.values()) for day in days.values())
    top = _round_up(most)
    scale, step = (HEIGHT - BOTTOM - 8) / top, (WIDTH - LEFT) / len(days)
    shapes = []
    for part in range(5):
        y = HEIGHT - BOTTOM - part / 4 * top * scale
        shapes.append(
            f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/><text x="{LEFT - 6}"'
            f' y="{y + 4:.1f}" text-anchor="end">{_figure(part / 4 * top, unit)}</text>'
        )
    every = math.ceil(len(days) / 8)
    for place, day in enumerate(sorted(days)):
        x, y = LEFT + place * step, float(HEIGHT - BOTTOM)
        for name, colour in series.items():
            amount = days[day].get(name, 0)
            if amount:
                height = amount * scale
                y -= height
                shapes.append(
                    f'<rect x="{x + step * 0.12:.1f}" y="{y:.1f}" width="{step * 0.76:.1f}"'
                    f' height="{height:.1f}" fill="{colour}"><title>{escape(day)} {escape(name)}:'
                    f" {_figure(amount, unit)}</title></rect>"
                )
        if place % every == 0:
            shapes.append(
                f'<text x="{x + step / 2:.1f}" y="{HEIGHT - 3}"'
                f' text-anchor="middle">{escape(day[5:])}</text>'
            )
    key = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name or "-")}</span>'
        for name, colour in series.items()
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(label)}">{"".join(shapes)}</svg><div class="key">{key}</div>'
    )


def _round_up(amount: float) -> float:
    """The next round figure that divides well by four."""
    size = 10.0 ** math.floor(math.log10(amount)) if amount > LEAST else 1.0
    return next((size * step for step in (1, 2, 4, 8) if size * step >= amount), size * 10)


def _figure(amount: float, unit: str) -> str:
    if unit:
        return f"{unit}{amount:.2f}" if amount < 10 else f"{unit}{amount:.0f}"
    return f"{amount:g}"


def _table(by: str, groups: Iterable[Group]) -> str:
    head = "".join(
        f'<th class="{kind}">{name}</th>'
        for name, kind in (
            (by, ""),
            ("tasks", "n"),
            ("ok", "n"),
            ("median", "n"),
            ("p95", "n"),
            ("tokens", "n"),
            ("cost", "n"),
            ("$/task", "n"),
        )
    )
    lines = []
    for group in groups:
        cells = [
            str(group.tasks),
            f"{group.success:.0%}" if group.success is not None else "",
            show_duration(group.median_s) if group.median_s is not None else "",
            show_duration(group.p95_s) if group.p95_s is not None else "",
            tokens(group.total_tokens) if group.tokens else "",
            f"${group.cost_usd:.2f}" if group.cost_usd else "",
            cost_each(group.cost_usd, group.tasks),
        ]
        lines.append(
            f"<tr><td>{escape(group.name or '-')}</td>"
            + "".join(f'<td class="n">{cell}</td>' for cell in cells)
            + "</tr>"
        )
    return (
        f"<h2>By {by}</h2><div"
        f' class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )
