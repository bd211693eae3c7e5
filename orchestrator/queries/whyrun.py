"""Why a run is not done (yet): what each of its tasks waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.files import contests, scan
from orchestrator.files.layout import Layout
from orchestrator.model import gates as gates_model
from orchestrator.model.status import WAITING
from orchestrator.queries import why, world
from orchestrator.records import replace

if TYPE_CHECKING:
    from orchestrator.queries.rows import Row
    from orchestrator.queries.runs import RunView

MOST = 20  # tasks that are told


def reasons_of_run(layout: Layout, view: RunView, now: float) -> why.Reasons:
    """What stands between an accepted run and its end."""
    known = world.Known(layout, now)
    left = [row for row in view.rows if row.status not in ("done", "cancelled")]
    gates: list[gates_model.Gate] = []
    notes: list[str] = []
    for row in left[:MOST]:
        if row.status == "failed":
            notes.append(f"{row.id} failed; run it again: orchestrator retry {row.id}")
        elif row.status in ("running", "asks"):
            notes.append(f"{row.id} is running; follow it: orchestrator logs -f {row.id}")
        else:
            gates += _gates(known, row)
    if view.folder == "review":
        gates.append(_review(layout, view))
    if len(left) > MOST:
        notes.append(f"and {len(left) - MOST} more: orchestrator runs {view.id}")
    if not view.rows:
        empty = view.title or "it has no tasks"
        return why.Reasons(view.id, str(view.status), empty, gates, notes=notes)
    summary = f"{view.done} of {len(view.rows)} tasks are done"
    return why.Reasons(view.id, str(view.status), summary, gates, notes=notes)


def _gates(known: world.Known, row: Row) -> list[gates_model.Gate]:
    """The first gate of a task that waits, with the task's name before it."""
    place = scan.locate(known.layout, row.id)
    if place is None:
        return []
    found = why.reasons(known.layout, row.id, *place, known.now, known)
    if found.gates:
        return [replace(found.gates[0], why=f"{row.id}: {found.gates[0].why}")]
    return (
        [gates_model.Gate(gates_model.GateName.RUNNING, f"{row.id}: {found.summary}")]
        if place[0] in WAITING
        else []
    )


def _review(layout: Layout, view: RunView) -> gates_model.Gate:
    words = "its branch waits for a person's decision"
    hint = f"orchestrator approve {view.id}   or reject"
    if contests.known(layout, view.id) is not None:
        ready = [row.id for row in view.rows if row.status == "review"]
        words = "it is a contest: a person takes one of its tasks"
        none = f"orchestrator reject {view.id}   takes none of them"
        hint = f"orchestrator approve {ready[0]}   takes that one" if ready else none
    return gates_model.Gate(gates_model.GateName.REVIEW, words, hint, stuck=True)
