"""``orchestrator`` without a command: where you are, and what to do next."""

from __future__ import annotations

import os

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import now
from orchestrator.cli.verbs.status import watcher_words
from orchestrator.errors import Unusable
from orchestrator.files import scan
from orchestrator.files.text import one_line
from orchestrator.model.status import Status
from orchestrator.queries.world import Known


def orientation(app: App) -> None:
    try:
        layout = app.layout
    except Unusable:
        click.echo(
            f"{app.start} has no work directory.\nnext: orchestrator init        make one here\n"
            "      orchestrator demo        see it work in a temporary project\n"
            "      orchestrator --help      all commands"
        )
        return
    counts = scan.counts(layout, (Status.RUNNING, Status.INBOX, Status.REVIEW))
    look = Known(layout, now())
    wrong = list(look.invalid)
    parts = [f"{counts[Status.RUNNING]} running", f"{counts[Status.INBOX] - len(wrong)} waiting"]
    parts += [f"{counts[Status.REVIEW]} review"] if counts[Status.REVIEW] else []
    parts += [f"{len(wrong)} invalid"] if wrong else []
    known = look.card
    app.console.out(
        f"{os.path.basename(layout.root)}  work/ · {watcher_words(known, now())} · {', '.join(parts)}"
    )
    if wrong:
        steps = [
            (
                "orchestrator validate",
                f"see what is wrong with work/inbox/{one_line(wrong[0])}",
            )
        ]
    elif known is None or not known.alive:
        steps = [("orchestrator watch", "run what is in work/inbox")]
    elif counts[Status.REVIEW]:
        steps = [("orchestrator list --status review", "what you have to decide")]
    else:
        steps = [('orchestrator new "..."', "make a task")]
    steps.append(("orchestrator --help", "all commands"))
    for place_, (step, text) in enumerate(steps):
        app.console.out(f"{'next: ' if not place_ else '      '}{step:<28} {text}")
