"""``doctor``: find what is wrong, and mend what can be mended safely."""

from __future__ import annotations

import platform
from dataclasses import asdict

import click

from orchestrator import __version__
from orchestrator.cli.app import App
from orchestrator.cli.options import dry_run_option, examples, json_option, now
from orchestrator.cli.proving import sandbox_checks
from orchestrator.cli.screen.console import say
from orchestrator.cli.writing import open_store
from orchestrator.coordination import strays
from orchestrator.errors import BUSY, FAILED, OrchestratorError
from orchestrator.files.configuration import load_config
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model.config import Config
from orchestrator.model.units import plural
from orchestrator.queries.findings import findings
from orchestrator.queries.health import Check, checks, copies
from orchestrator.queries.unlogged import unlogged
from orchestrator.store import following, recovery, relogging, runs
from orchestrator.store.locks import WatcherLock
from orchestrator.tools.specs import load_tools
from orchestrator.tools.versions import ask_all

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
@click.option("--fix", is_flag=True, help="Mend what can be mended without a decision of yours.")
@dry_run_option
@json_option
@click.pass_obj
def command(app: App, fix: bool, dry_run: bool, as_json: bool) -> int:
    """Look at everything that can be wrong.  Exit code 1 if a problem is left."""
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
            fix_text = f"   fix: {check.fix}" if check.fix and check.status != "ok" else ""
            app.console.out(
                f" {app.console.sign(sign)} {check.id:<12} {one_line(check.summary)}{fix_text}"
            )
        count = {
            status: sum(check.status == status for check in found)
            for status in ("ok", "note", "problem")
        }
        app.console.out(
            f"{count['ok']} ok · {plural(count['note'], 'note')} · {plural(count['problem'], 'problem')}"
        )
    return FAILED if any(check.status == "problem" for check in found) else 0


def _everything(layout: Layout) -> list[Check]:
    moment = now()
    found = [*checks(layout, moment), *findings(layout, moment), *_trees(layout)]
    return [*found, *_tools(layout)]


def _trees(layout: Layout) -> list[Check]:
    """What is left of trees that nothing names."""
    try:
        left = strays.find(layout, load_config(layout))
    except OrchestratorError as error:
        return [Check("trees", "problem", error.message, error.hint)]
    return [
        Check("trees", "problem", stray.words, "orchestrator doctor --fix", True)
        if stray.mends
        else Check("trees", "note", stray.words, stray.fix)
        for stray in left
    ]


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


def _tools(layout: Layout) -> list[Check]:
    """Tool specs that are wrong, and tools that are wanted here and whose program is missing."""
    box = load_tools(layout)
    try:
        config = load_config(layout)
    except OrchestratorError:
        config = Config()
    wanted = {
        config.default_agent,
        *(tool for agent in config.agents.values() for tool in agent.tools),
    }
    found = [
        Check(
            "tools",
            "problem",
            f"{layout.shown(path)}: {problems[0].message}",
            "orchestrator validate",
        )
        for path, _, problems in box.broken
    ]
    found += sandbox_checks(config)
    usable = []
    answers = ask_all(spec for spec in box.tools.values() if spec.at_hand and spec.version)
    for spec in box.tools.values():
        answer = answers.get(spec.name)
        if not spec.at_hand and (not spec.built_in or spec.name in wanted):
            what = (
                f"the package '{spec.module}' is not installed"
                if spec.module
                else f"there is no program '{spec.argv[0]}'"
            )
            found.append(
                Check(
                    "tools",
                    "note",
                    f"{spec.name}: {what}",
                    f"install it, or {f'choose another tool in {layout.shown(layout.config)}' if spec.built_in else f'remove {layout.shown(spec.path)}'}",
                )
            )
        elif answer is not None and answer.error:
            found.append(
                Check(
                    "tools",
                    "problem" if spec.name in wanted else "note",
                    f"{spec.name} does not answer: {answer.error}",
                    f"orchestrator tools check {spec.name}",
                )
            )
        elif (
            answer is not None
            and spec.verified
            and not any(version in answer.said for version in spec.verified)
        ):
            found.append(
                Check(
                    "tools",
                    "note",
                    f"{spec.name} is {answer.version or answer.said}; its spec was verified with {' and '.join(spec.verified)}",
                    f"orchestrator tools check {spec.name} --prompt 'Say OK.'",
                )
            )
        elif spec.at_hand:
            usable.append(
                f"{spec.name} {answer.version}"
                if answer is not None and answer.version
                else spec.name
            )
    return (
        [*found, Check("tools", "ok", ", ".join(sorted(usable)))] if usable or not found else found
    )
