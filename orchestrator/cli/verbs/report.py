"""``report``: what was done, how long it took and what it cost."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from orchestrator.cli.app import App
from orchestrator.cli.everywhere import refuse_none, warn_of_broken
from orchestrator.cli.options import Choice, age, examples, json_option, now
from orchestrator.cli.screen.console import Console, cost, cost_each, tokens
from orchestrator.cli.screen.live_page import documents
from orchestrator.cli.screen.live_page import follow as follow_page
from orchestrator.cli.screen.report_page import page
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model.units import plural, show_duration, timestamp
from orchestrator.projection.index import open_index
from orchestrator.queries import overview
from orchestrator.queries.metrics import text
from orchestrator.queries.projects import in_each
from orchestrator.queries.usage import BY, Group, Index, report

COLUMNS = ("tasks", "ok", "median", "p95", "tokens", "cost", "$/task")
BARS = " ▁▂▃▄▅▆▇█"


@click.command(
    epilog=examples(
        "orchestrator report",
        "orchestrator report --since 24h --by model",
        "orchestrator report --html report.html",
        "orchestrator report --html report.html --follow   # a page that stays current",
        "orchestrator report --all            # a line for each of your projects",
        "orchestrator report --json | jq .total.cost_usd",
        "orchestrator report --metrics /var/lib/node_exporter/orchestrator.prom",
    )
)
@click.option(
    "--since",
    default="7d",
    show_default=True,
    metavar="AGE",
    callback=age,
    help="How far back: 24h, 7d, 90d.",
)
@click.option(
    "--by",
    type=Choice(list(BY)),
    default="agent",
    show_default=True,
    help="How the table is grouped.",
)
@json_option
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True),
    help="Write it as one HTML file: board, timeline, runs, limits, charts, all tasks.",
)
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="With --html: keep the page current, until Ctrl-C.",
)
@click.option(
    "--metrics",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True),
    help="Write figures to a file in Prometheus's text format; - prints them.",
)
@click.option("--all", "everywhere", is_flag=True, help="All your projects, a line for each.")
@click.pass_obj
def command(
    app: App,
    since: float,
    by: str,
    as_json: bool,
    html: str | None,
    follow: bool,
    metrics: str | None,
    everywhere: bool,
) -> None:
    """Show tasks, success, duration, tokens and cost by agent, tool, model, day or run.

    It reads the event log through an index (.state/index.sqlite), which you may delete at any
    time.
    """
    moment = now()
    start, end = timestamp(moment - since), timestamp(moment + 86400)
    if everywhere:
        if html is not None or metrics is not None or follow:
            raise click.UsageError("--all can only be combined with --since and --json")
        _everywhere(app.console, start, end, since, as_json)
        return
    if follow and (html is None or html == "-" or metrics is not None or as_json):
        raise click.UsageError("--follow needs --html FILE, and can be combined with --since")
    if html is not None:
        _page(app, html, since, follow)
        return
    index = open_index(app.layout)
    if metrics is not None:
        name = os.path.basename(app.layout.root)
        with click.open_file(metrics, "w", encoding="utf-8", atomic=metrics != "-") as file:
            file.write(text(overview.of(app.layout, moment), index, name))
        return
    total = (report(index, "", start, end) or [Group("")])[0]
    if as_json:
        app.console.json(
            "report",
            {
                "since": start,
                "until": timestamp(moment),
                "total": total.as_json(),
                **{
                    f"by_{name}": [group.as_json() for group in report(index, name, start, end)]
                    for name in BY
                },
            },
        )
        return
    _show(app.console, index, total, by, start, end, since)


def _page(app: App, path: str, since: float, keep: bool) -> None:
    """Write the page once, or until Ctrl-C."""
    if keep:
        app.console.out(path)
        sys.stdout.flush()
        follow_page(app.layout, path, since)
        return
    written = page(os.path.basename(app.layout.root), documents(app.layout, now(), since))
    with click.open_file(path, "w", encoding="utf-8", atomic=path != "-") as file:
        file.write(written)
    if path != "-":
        app.console.out(path)


def _show(
    console: Console, index: Index, total: Group, by: str, start: str, end: str, since: float
) -> None:
    if not total.attempts and not total.tasks:
        console.out(f"no tasks ended in the last {_span(since)}")
        return
    parts = [
        f"{total.succeeded} done",
        f"{total.tasks - total.succeeded} failed or cancelled",
        _share(total),
        cost(total.cost_usd) if total.cost_usd else "",
        f"{tokens(total.total_tokens)} tokens" if total.tokens else "",
        _times(total),
        _work(total),
    ]
    console.out(f"{show_duration(since)}   " + " · ".join(part for part in parts if part))
    if total.unknown:
        console.out(
            f"the cost of {total.unknown} attempt{'s' if total.unknown > 1 else ''} is unknown:"
            " prices go under models: in orchestrator.yaml"
        )
    console.out()
    rows = [[by, *COLUMNS]]
    rows += [[group.name or "-", *_figures(group)] for group in report(index, by, start, end)]
    console.table(rows)
    days = report(index, "day", start, end)
    if console.tty and console.unicode and len(days) > 1 and by != "day":
        most = max(day.tasks for day in days) or 1
        console.out()
        console.out(
            "day  "
            + " ".join(f"{day.name[8:]} {BARS[round(day.tasks / most * 8)]}" for day in days[-14:])
        )


def _everywhere(console: Console, start: str, end: str, since: float, as_json: bool) -> None:
    """A line for each project, and one for all of them."""
    found = in_each(lambda layout: total_of(layout, start, end))
    refuse_none(found)
    if as_json:
        told = [item.as_json(lambda group: {"total": group.as_json()}) for item in found]
        console.json("report_all", {"since": start, "until": end, "projects": told})
        return
    groups = [item.found for item in found if item.found is not None]
    console.out(f"{show_duration(since)}   " + _sums(groups))
    console.out()
    rows = [["project", *COLUMNS]]
    rows += [
        [one_line(item.name), *_figures(item.found)] for item in found if item.found is not None
    ]
    console.table(rows)
    warn_of_broken(found)


def total_of(layout: Layout, start: str, end: str) -> Group:
    """All that ended in one project."""
    return (report(open_index(layout), "", start, end) or [Group("")])[0]


def _sums(groups: Sequence[Group]) -> str:
    spent = sum(group.cost_usd for group in groups)
    used = sum(group.total_tokens for group in groups)
    done = sum(group.succeeded for group in groups)
    parts = [
        plural(len(groups), "project"),
        f"{done} done",
        f"{sum(group.tasks for group in groups) - done} failed or cancelled",
        cost(spent) if spent else "",
        f"{tokens(used)} tokens" if used else "",
    ]
    return " · ".join(part for part in parts if part)


def _figures(group: Group) -> list[str]:
    """The cells of one row, after its name."""
    times = (group.median_s, group.p95_s)
    return [
        str(group.tasks),
        _share(group),
        *(show_duration(value) if value is not None else "" for value in times),
        tokens(group.total_tokens) if group.tokens else "",
        f"${group.cost_usd:.2f}" if group.cost_usd else "",
        cost_each(group.cost_usd, group.tasks),
    ]


def _span(seconds: float) -> str:
    """``7 days``, ``24 hours`` or ``90s``."""
    for size, unit in ((86400, "day"), (3600, "hour")):
        if seconds >= size and seconds % size == 0:
            return plural(int(seconds // size), unit)
    return show_duration(seconds)


def _share(group: Group) -> str:
    return f"{group.success:.0%}" if group.success is not None else ""


def _work(group: Group) -> str:
    """What was written on branches of tasks; empty if nothing was."""
    if not group.commits:
        return ""
    return f"+{group.insertions} -{group.deletions} in {plural(group.commits, 'commit')}"


def _times(group: Group) -> str:
    if group.median_s is None or group.p95_s is None:
        return ""
    return f"median {show_duration(group.median_s)} · p95 {show_duration(group.p95_s)}"
