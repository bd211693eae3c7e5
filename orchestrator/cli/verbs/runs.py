"""``runs``: groups of tasks and how far they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import complete_runs, examples, json_option, now
from orchestrator.cli.screen.console import Console
from orchestrator.cli.verbs import status as status_verbs
from orchestrator.errors import NotFound
from orchestrator.files import runrecords, scan
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.queries import chains, runs

if TYPE_CHECKING:
    from orchestrator.queries.runs import RunView


@click.command(epilog=examples("orchestrator runs", "orchestrator runs release-0.2"))
@click.argument("names", nargs=-1, metavar="[RUN...]", shell_complete=complete_runs)
@json_option
@click.pass_obj
def command(app: App, names: tuple[str, ...], as_json: bool) -> None:
    """List all runs, or show the named ones with their tasks. A run's status follows from its
    tasks'."""
    layout = app.layout
    if not names:
        views = runs.all_runs(layout, now())
        if as_json:
            app.console.json("runs", {"runs": [view.as_json() for view in views]})
            return
        app.console.table(
            [
                [
                    (
                        f"{app.console.sign(str(view.status))} {view.id}"
                        if app.console.tty
                        else view.id
                    ),
                    app.console.word(str(view.status)),
                    f"{view.done}/{len(view.rows)} done",
                    one_line(view.title, 80),
                    *_branch(view),
                ]
                for view in views
            ]
        )
        if not views and app.console.tty:
            app.console.out("no runs; a file with tasks: in work/inbox makes one")
        return
    found = [_named(layout, name) for name in names]
    if as_json:
        app.console.documents([("run", {"run": view.as_json()}) for view in found], len(names) > 1)
        return
    for view in found:
        show_run(app, view)


def _named(layout: Layout, name: str) -> RunView:
    known = runs.find_run(layout, name)
    view = runs.view_of(layout, *known, now()) if known else None
    if view is None:
        listed = ", ".join(run_id for run_id, _ in runrecords.listed(layout)[:8])
        hint = f"runs: {listed}" if listed else "there are no runs yet"
        if place := scan.locate(layout, name):  # a run that no watcher has accepted, or a task
            hint = f"orchestrator show {name}   it is in {place[0]}/"
        raise NotFound(f"there is no run '{name}'", hint)
    return view


def show_run(app: App, view: RunView) -> None:
    """One run and its tasks, as ``runs RUN`` and ``show RUN`` print it."""
    _show(app.console, view, now())


def _branch(view: RunView) -> list[str]:
    """Its branch, and whether that waits for a person."""
    if not view.branch:
        return []
    return [f"{view.branch}, in review" if view.folder == "review" else view.branch]


def _show(console: Console, view: RunView, moment: float) -> None:
    counted = [f"{view.done}/{len(view.rows)} done"]
    for status, word in (
        ("running", "running"),
        ("waiting", "waiting"),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
    ):
        count = sum(row.status == status for row in view.rows)
        counted += [f"{count} {word}"] if count else []
    console.out(
        f"{console.sign(str(view.status))} {view.id}   {console.word(str(view.status))} ·"
        f" {' · '.join(counted)}"
    )
    if view.title != view.id:
        console.out(one_line(view.title, 200))
    for branch in _branch(view):
        console.out(f"{branch}   orchestrator diff {view.id}")
    by_id = {row.id: row for row in view.rows}
    rows = []
    for task_id, depth in chains.drawn([row.id for row in view.rows]):
        cells = status_verbs.line(console, by_id[task_id], moment)
        inset = "  " * depth if console.tty else ""
        cells[0] = inset + cells[0].replace(f"{view.id}.", "", 1)
        rows.append(cells)
    console.table(rows, indent="  ")
