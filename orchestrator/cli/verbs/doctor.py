"""``doctor``: find what is wrong, and mend what can be mended safely."""

from __future__ import annotations

import platform

import click

from orchestrator import __version__
from orchestrator.cli.app import App
from orchestrator.cli.options import dry_run_option, examples, json_option, now
from orchestrator.cli.proving import tool_checks
from orchestrator.cli.screen.console import Console, say
from orchestrator.cli.writing import open_store
from orchestrator.coordination import strays
from orchestrator.errors import BUSY, FAILED, OrchestratorError
from orchestrator.files.configuration import ConfigProblems, load_config
from orchestrator.files.layout import Layout
from orchestrator.files.text import clean, one_line, width
from orchestrator.model.units import plural
from orchestrator.queries.health import checks
from orchestrator.queries.health.check import Check, mendable, note, problem
from orchestrator.queries.health.copies import copies
from orchestrator.queries.unlogged import unlogged
from orchestrator.records import asdict
from orchestrator.store import following, recovery, relogging, runs
from orchestrator.store.locks import WatcherLock

STOP_FIRST = (
    "a watcher is running: it mends folders, orphans and notes itself within half a minute; "
    "for the rest (copies of a task, half-finished moves) stop it first"
)


@click.command(
    epilog=examples(
        "orchestrator doctor",
        "orchestrator doctor --fix",
        "orchestrator doctor --json   # for a bug report",
    )
)
@click.option("--fix", is_flag=True, help="Mend everything that needs no decision from you.")
@dry_run_option
@json_option
@click.pass_obj
def command(app: App, fix: bool, dry_run: bool, as_json: bool) -> int:
    """Look for everything that can be wrong. The exit code is 1 if a problem remains."""
    layout = app.layout
    found = _everything(layout)
    if fix:
        fixable = [check for check in found if check.fixable]
        if dry_run:
            if fixable and WatcherLock(layout).held_by_another():
                say(STOP_FIRST)
                return BUSY
            for check in fixable:
                app.console.out(f"would mend: {check.summary}")
            return 0
        code = _mend(app)
        if code:
            return code
        found = _everything(layout)
    if as_json:
        app.console.json(
            "health",
            {
                "version": __version__,
                "python": platform.python_version(),
                "system": platform.platform(),
                "checks": [asdict(check) for check in found],
            },
        )
    else:
        for check in found:
            sign = {"ok": "ok", "note": "warning", "problem": "problem"}[check.status]
            _line(app.console, f" {app.console.sign(sign)} {check.id:<12} ", check)
        count = {
            status: sum(check.status == status for check in found)
            for status in ("ok", "note", "problem")
        }
        app.console.out(
            f"{count['ok']} ok · {plural(count['note'], 'note')} ·"
            f" {plural(count['problem'], 'problem')}"
        )
    return FAILED if any(check.status == "problem" for check in found) else 0


def _line(console: Console, head: str, check: Check) -> None:
    """A finding, and its fix beside it, or below it where both do not fit; what is well stays one
    line."""
    text, fix = one_line(check.summary), f"fix: {check.fix}"
    if check.status == "ok":
        console.out(head + text)
    elif not check.fix:
        console.hang(head, text)
    elif console.width and width(clean(head) + text + fix) + 3 > console.width:
        console.hang(head, text)
        console.hang(" " * width(clean(head)), fix)
    else:
        console.out(f"{head}{text}   {fix}")


def _everything(layout: Layout) -> list[Check]:
    return [*checks(layout, now()), *_trees(layout), *tool_checks(layout)]


def _trees(layout: Layout) -> list[Check]:
    """What is left of trees that nothing names."""
    try:
        left = strays.find(layout, load_config(layout))
    except ConfigProblems:
        return []  # the row of the settings says what is wrong
    except OrchestratorError as error:
        return [problem("trees", error.message, error.hint)]
    return [_tree(stray) for stray in left]


def _tree(stray: strays.Stray) -> Check:
    if stray.mends:
        return mendable("trees", stray.words)
    return note("trees", stray.words, stray.fix)


def _mend(app: App) -> int:
    """The repairs that a watcher makes when it starts."""
    store = open_store(app)
    lock = WatcherLock(app.layout)
    if lock.held_by_another():
        say(STOP_FIRST)
        return BUSY
    lock.acquire()
    try:
        for text in (*recovery.tidy(store), *recovery.take_up(store)):
            app.console.out(f"mended   {text}")
        following.complete(store)
        for run_id in runs.complete(store):
            app.console.out(f"mended   run {run_id}: its tasks are in the inbox")
        for journal in unlogged(app.layout):
            count = relogging.relog(store, journal)
            app.console.out(f"mended   wrote {count} events of {journal.task_id} again")
        for text in strays.mend(store, load_config(app.layout)):
            app.console.out(f"mended   {text}")
        for task_id in recovery.foreign(store):
            app.console.out(f"mended   {task_id} is in review/")
        for name in recovery.stale_requests(store):
            app.console.out(f"mended   removed a request to cancel {name}, which is not running")
        for kept, gone in recovery.drop_copies(app.layout, copies(app.layout)):
            app.console.out(f"mended   kept {kept}, removed its copy {gone}")
        for task_id in recovery.stale_notes(app.layout):
            store.remove_note(task_id)
            app.console.out(f"mended   removed the note on {task_id}")
    finally:
        lock.release()
    return 0
