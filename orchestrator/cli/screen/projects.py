"""Projects as rows: who watches, what runs and waits, what needs a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.cli.screen.console import Console, cost
from orchestrator.files.text import one_line
from orchestrator.model.status import Status

if TYPE_CHECKING:
    from orchestrator.queries.projects import ProjectView


def rows(console: Console, views: Iterable[ProjectView]) -> list[list[str]]:
    """One for each project."""
    return [_row(console, item) for item in views]


def _row(console: Console, item: ProjectView) -> list[str]:
    name = one_line(item.name)
    if item.view is None:
        return [
            f"{console.sign('warning')} {name}" if console.tty else name,
            one_line(item.problem, 200),
        ]
    card, counts = item.view.watcher, item.view.counts
    alive = card is not None and card.alive
    words = ["watched" if alive else "no watcher"]
    listed = (Status.RUNNING, Status.INBOX, Status.REVIEW, Status.FAILED)
    words += [f"{counts[status]} {status.word}" for status in listed if counts[status]]
    words += [f"{len(item.view.needs)} need you"] if item.view.needs else []
    words += [one_line(gate.why, 100) for gate in item.view.held.values()]
    words += [cost(card.cost_usd)] if card is not None and alive and card.cost_usd else []
    state = "ok" if alive else "waiting"
    sign = console.sign("running" if counts[Status.RUNNING] else state)
    return [f"{sign} {name}" if console.tty else name, " · ".join(words)]
