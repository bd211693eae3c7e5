"""What each of a person's projects is at.  What is wrong with one concerns that one only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.files import projects
from orchestrator.model.status import Status
from orchestrator.queries.tasks import Overview, overview


@dataclass(frozen=True, slots=True)
class ProjectView:
    """``view`` is None if it cannot be looked at, and ``problem`` says why."""

    name: str
    root: str
    view: Overview | None = None
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        told: dict[str, Any] = {"name": self.name, "root": self.root}
        if self.view is None:
            return {**told, "problem": self.problem}
        card = self.view.watcher
        counts = {status.word: count for status, count in self.view.counts.items()}
        return {
            **told,
            "watching": card is not None and card.alive,
            "counts": counts,
            "needs": [need.as_json() for need in self.view.needs],
            "held": [gate.why for gate in self.view.held.values()],
            "cost_usd": card.cost_usd if card is not None and card.alive else 0.0,
        }

    @property
    def open(self) -> int:
        """How many tasks have not ended."""
        if self.view is None:
            return 0
        return sum(self.view.counts[status] for status in (Status.INBOX, Status.RUNNING))


def all_projects(now: float) -> list[ProjectView]:
    """Every project that this person has added."""
    return [_view(item, now) for item in projects.listed()]


def _view(item: projects.Project, now: float) -> ProjectView:
    if item.layout is None:
        return ProjectView(item.name, item.root, problem=item.problem)
    try:
        return ProjectView(item.name, item.root, overview(item.layout, now))
    except (OSError, OrchestratorError, ValueError) as error:
        return ProjectView(item.name, item.root, problem=str(error))
