"""``orchestrator`` without a command: where you are, and what to do next."""

from __future__ import annotations

import os

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import now
from orchestrator.cli.screen.console import day_cost, shown
from orchestrator.cli.screen.needs import block
from orchestrator.cli.verbs.status import slot_words, watcher_words
from orchestrator.errors import Unusable
from orchestrator.files import scan
from orchestrator.model.status import Status
from orchestrator.queries.needs import needs_you
from orchestrator.queries.world import Known

WATCH = ("orchestrator watch", "run what is in work/inbox")
NEEDS = 4  # rows: all of it is 8 lines at most


def orientation(app: App) -> None:
    try:
        layout = app.layout
    except Unusable:
        click.echo(
            f"{shown(str(app.start))} has no work directory.\n"
            "next: orchestrator init        make one here\n"
            "      orchestrator demo        see it work in a temporary project\n"
            "      orchestrator --help      all commands"
        )
        return
    look = Known(layout, now())
    counts = scan.counts(layout, (Status.RUNNING, Status.INBOX), look.names)
    needs = needs_you(layout, now(), look)
    known = look.card
    waiting = f"{counts[Status.INBOX] - len(look.invalid)} waiting"
    if known is not None and known.alive:
        parts = [slot_words(look.use.running, known.slots), waiting]
        if known.cost_usd:
            parts.append(day_cost(known.cost_usd, look.in_force.budgets.day.hard))
    else:
        parts = [f"{counts[Status.RUNNING]} running", waiting]
    app.console.out(
        f"{os.path.basename(layout.root)} · {watcher_words(known, now())} · {' · '.join(parts)}"
    )
    block(app.console, needs, now(), NEEDS)
    if needs:
        steps = [("orchestrator review", "decide what needs you")]
        takes = counts[Status.RUNNING] or counts[Status.INBOX] > len(look.invalid)
        if takes and (known is None or not known.alive):
            steps.append(WATCH)
    elif known is None or not known.alive:
        steps = [WATCH]
    else:
        steps = [('orchestrator new "..."', "make a task")]
    if len(steps) == 1:
        steps.append(("orchestrator --help", "all commands"))
    for place_, (step, text) in enumerate(steps):
        app.console.out(f"{'next: ' if not place_ else '      '}{step:<28} {text}")
