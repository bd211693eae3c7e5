"""How far schedules have come: what the watcher remembers of each, as readers see it."""

from __future__ import annotations

from orchestrator.files import jsonlines, opening
from orchestrator.files.layout import Layout
from orchestrator.records import dataclass


@dataclass(frozen=True, slots=True)
class State:
    """Moments are seconds since the epoch. ``first``: when it was first seen; ``after``: what was
    due until then is settled.

    ``made`` is the newest task of it, ``left`` why the newest time was left out (empty if it was
    made).
    """

    first: float
    after: float
    made: str = ""
    left: str = ""


def state_of(layout: Layout, name: str) -> State | None:
    """What is remembered of a schedule; None if nothing is, or it cannot be read."""
    try:
        data = jsonlines.loads(opening.read_bytes(layout.schedule_state(name), 1 << 16))
        return State(
            float(data["first"]), float(data["after"]), str(data["made"]), str(data["left"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
