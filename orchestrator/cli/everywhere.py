"""What verbs with ``--all`` have in common: they look into each of a person's projects, and one
that is broken stops no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.cli.screen.console import say
from orchestrator.errors import NotFound
from orchestrator.files.text import one_line

if TYPE_CHECKING:
    from orchestrator.queries.projects import Looked


def refuse_none(found: Sequence[Looked[Any]]) -> None:
    """`NotFound` if this person has added no project."""
    if not found:
        raise NotFound("you have added no projects", "orchestrator projects add .")


def warn_of_broken(found: Sequence[Looked[Any]]) -> None:
    """Say on standard error which projects could not be looked at."""
    for item in found:
        if item.problem:
            say(f"{one_line(item.name)}: {one_line(item.problem, 200)}")
