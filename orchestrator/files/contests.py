"""Accepted contests: which tasks compete, and which of them was taken. One small file each, below
``.state``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.files import journals, jsonlines, opening, scan
from orchestrator.files.layout import Layout
from orchestrator.model import contest, ids

if TYPE_CHECKING:
    from orchestrator.model.contest import Contest


def path_of(layout: Layout, run_id: str) -> str:
    """Where the record of a contest is."""
    return f"{layout.state}/contests/{ids.key(run_id)}.json"


def known(layout: Layout, run_id: str) -> Contest | None:
    """The contest of this id; None if there is none."""
    try:
        return contest.contest_from(jsonlines.loads(opening.read_bytes(path_of(layout, run_id))))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def of_member(layout: Layout, task_id: str) -> Contest | None:
    """The contest in which a task competes; None if in none."""
    journal = journals.of(layout, task_id)
    run_id = str(journal.claim.get("run") or "") if journal is not None else ""
    found = known(layout, run_id) if run_id else None
    return found if found is not None and task_id in found.members else None


def all_known(layout: Layout) -> list[Contest]:
    """Every contest, by id."""
    names = (name for name in scan.names(f"{layout.state}/contests") if name.endswith(".json"))
    found = [known(layout, name.removesuffix(".json")) for name in names]
    return sorted((item for item in found if item is not None), key=lambda item: item.run)
