"""``watch``: the process that runs what is in the inbox."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import click

from orchestrator import waiting
from orchestrator.cli import watching_all
from orchestrator.cli.app import App
from orchestrator.cli.changes import Moves, aside
from orchestrator.cli.consent import obtain, refuse_serving
from orchestrator.cli.options import examples, json_option
from orchestrator.cli.screen.console import say
from orchestrator.cli.screen.pane import Pane
from orchestrator.cli.writing import open_config, refuse_unsafe
from orchestrator.coordination.hooks import Hooks
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.watch import Watcher
from orchestrator.distributors.registry import distributors
from orchestrator.errors import FAILED, INTERRUPTED, NEEDS_YOU
from orchestrator.files import git
from orchestrator.files.layout import Layout
from orchestrator.files.text import first_few
from orchestrator.model.config import Config
from orchestrator.records import replace
from orchestrator.store.acceptance import Acceptance
from orchestrator.store.eventlog import EventLog, GroupCommit
from orchestrator.store.transitions import Store
from orchestrator.tools.routing import undeclared
from orchestrator.tools.specs import Toolbox


@click.command(
    epilog=examples(
        "orchestrator watch",
        "orchestrator watch --until-empty    # then exit: 0; 1 if a task failed; 7 if one"
        " needs you",
        "orchestrator watch | tee watch.log    # plain lines",
        "orchestrator watch --all              # every project of `orchestrator projects`",
    )
)
@click.option(
    "--until-empty",
    is_flag=True,
    help="Exit when nothing is running and no waiting task can start.",
)
@click.option("--once", is_flag=True, help="Start what can start now, wait for it, exit.")
@click.option("-q", "--quiet", is_flag=True, help="Show only failures and warnings.")
@click.option(
    "--slots", type=click.IntRange(1, 512), help="Attempts at once; overrides limits.running."
)
@click.option(
    "--title/--no-title",
    default=None,
    help="Show a badge in the terminal's title. Default: pane.title.",
)
@click.option(
    "--bell/--no-bell",
    default=None,
    help="Ring the bell on a failure or a question. Default: pane.bell.",
)
@click.option(
    "--keys/--no-keys",
    default=None,
    help="Take keys: select, look, decide (? lists them). Default: pane.keys.",
)
@click.option(
    "--accept",
    metavar="SHA256",
    default="",
    help="Accept the settings with this checksum (a refused watch prints it); for CI.",
)
@click.option(
    "--all",
    "everywhere",
    is_flag=True,
    help="Start a watcher for each of your projects, in one pane.",
)
@json_option
@click.pass_obj
def command(
    app: App,
    until_empty: bool,
    once: bool,
    quiet: bool,
    slots: int | None,
    title: bool | None,
    bell: bool | None,
    keys: bool | None,
    accept: str,
    everywhere: bool,
    as_json: bool,
) -> int:
    """Run the tasks in work/inbox, as many at once as there are slots.

    Press Ctrl-C once to start nothing more and wait for running tasks, twice to interrupt them and
    put them back into the inbox, three times to leave at once. If this process is killed, running
    tasks go on, and the next watcher takes them over.
    """
    if everywhere:
        if accept or any(choice is not None for choice in (title, bell, keys)):
            raise click.UsageError(
                "--all can only be combined with --until-empty, --once, --quiet and --slots"
            )
        words = [("--until-empty", until_empty), ("--once", once), ("--quiet", quiet)]
        more = ["--slots", str(slots)] if slots is not None else []
        if as_json:
            raise click.UsageError("--json covers one project: orchestrator -C DIR watch --json")
        return watching_all.run(app, [*(word for word, said in words if said), *more])
    chosen = {"title": title, "bell": bell, "keys": keys}
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    limits: dict[str, Any] = {} if slots is None else {"running": slots}
    moves = Moves(app, as_json)
    refuse_serving(app.layout)
    with aside(app, as_json):
        acceptance = obtain(app, accept, wait=not (until_empty or once))
        watcher = serve(app, acceptance, given, limits, until_empty, once, quiet)
    return moves.end(_code(watcher, until_empty or once))


def _code(watcher: Watcher, ends: bool) -> int:
    """What a watcher leaves with, that may end without being told to."""
    if watcher.rooms.signals.interrupted:
        return INTERRUPTED
    if not ends:
        return 0
    fault = watcher.rooms.health.fault
    if fault or watcher.rooms.tally["failed"] or watcher.rooms.waitlist.inbox.stuck():
        return FAILED
    left = watcher.rooms.waitlist.complaints.invalid or watcher.rooms.waitlist.later.open
    return NEEDS_YOU if watcher.rooms.reviews.count() or watcher.rooms.asking.open or left else 0


def serve(
    app: App,
    acceptance: Acceptance,
    pane_options: Mapping[str, Any],
    limit_options: Mapping[str, Any],
    until_empty: bool = False,
    once: bool = False,
    quiet: bool = False,
) -> Watcher:
    """Watch in this terminal until told to leave; the watcher as it left. The options go before
    what orchestrator.yaml says."""

    def load() -> tuple[Config, Toolbox]:
        """What the files say, and over it what was said on the command line."""
        refuse_unsafe(app)
        config, toolbox = open_config(app)
        limits, pane = replace(config.limits, **limit_options), replace(config.pane, **pane_options)
        return replace(config, limits=limits, pane=pane), toolbox

    settings = Settings(app.layout, load, acceptance)
    pane = Pane(app.console, app.layout, settings, quiet)
    log = GroupCommit(EventLog(app.layout, "watch"))
    hooks = Hooks(settings, app.layout.root, pane)
    log.on_disk = hooks.offer
    watcher = Watcher(
        app.layout,
        settings,
        distributors(settings.config, app.layout),
        Store(app.layout, log),
        pane,
    )
    pane.attach(watcher)
    if not quiet and (note := _sharing(app.layout, settings)):
        say(note)
    gc.freeze()  # what is loaded by now stays; the collector need not walk it again and again
    gc.set_threshold(20_000)
    try:
        waiting.run(watcher.run(until_empty, once))
        pane.goodbye()
    finally:
        log.close()
        hooks.close()
        pane.close()
    return watcher


def _sharing(layout: Layout, settings: Settings) -> str:
    """A warning before tasks of the person's own tools trample on each other in one git
    checkout."""
    names = undeclared(settings.config, settings.toolbox.tools)
    if not names or settings.config.limits.running < 2:
        return ""
    try:
        if git.nearest(layout.root) is None:
            return ""
    except git.Unclear:
        return ""
    listed = first_few([f"work/tools/{name}.yaml" for name in names])
    return (
        f"note: tasks of {listed} run side by side in the same working tree; edits: true"
        " there makes them take turns, edits: false says that they only read"
    )
