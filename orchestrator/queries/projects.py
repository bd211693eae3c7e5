"""What each of a person's projects is at.  What is wrong with one concerns that one only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from orchestrator.errors import OrchestratorError
from orchestrator.files import projects
from orchestrator.files.layout import Layout
from orchestrator.libraries import later
from orchestrator.model.status import Status
from orchestrator.queries import overview
from orchestrator.records import dataclass

if TYPE_CHECKING:
    from orchestrator.queries.overview import Overview

if TYPE_CHECKING:
    import sqlite3
else:
    sqlite3 = later("sqlite3")

Found = TypeVar("Found")


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


@dataclass(frozen=True, slots=True)
class Looked(Generic[Found]):
    """What was found in one project; None if it cannot be looked at, and ``problem`` says why."""

    name: str
    root: str
    found: Found | None = None
    problem: str = ""

    def as_json(self, told: Callable[[Found], dict[str, Any]]) -> dict[str, Any]:
        """For ``--json``; ``told`` are the keys of what was found."""
        head = {"name": self.name, "root": self.root}
        if self.found is None:
            return {**head, "problem": self.problem}
        return {**head, **told(self.found)}


def in_each(look: Callable[[Layout], Found]) -> list[Looked[Found]]:
    """What ``look`` finds in each project that this person has added, by name."""
    return [_looked(item, look) for item in projects.listed()]


def _looked(item: projects.Project, look: Callable[[Layout], Found]) -> Looked[Found]:
    if item.layout is None:
        return Looked(item.name, item.root, problem=item.problem)
    try:
        return Looked(item.name, item.root, look(item.layout))
    except (OSError, OrchestratorError, ValueError, sqlite3.Error) as error:
        return Looked(item.name, item.root, problem=str(error))


def all_projects(now: float) -> list[ProjectView]:
    """Every project that this person has added."""
    found = in_each(lambda layout: overview.of(layout, now))
    return [ProjectView(item.name, item.root, item.found, item.problem) for item in found]
