"""The state of a work directory at a glance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.files import card, results, runrecords, scan
from orchestrator.files.layout import Layout, is_draft, stem_of
from orchestrator.model.status import ASIDE, Status
from orchestrator.model.units import timestamp
from orchestrator.queries import needs as needs_queries
from orchestrator.queries import tasks, whereabouts, world
from orchestrator.queries.rows import Row, finished_row, invalid_row, waiting_row
from orchestrator.records import asdict, dataclass, field

if TYPE_CHECKING:
    from orchestrator.model.gates import Gate
    from orchestrator.model.hold import Scope
    from orchestrator.model.quota import Window
    from orchestrator.queries.needs import Need

RECENT = 5


@dataclass(slots=True)
class Overview:
    """What ``status`` shows."""

    watcher: card.Card | None
    counts: dict[Status, int]
    invalid: list[Row]
    editing: list[str]
    running: list[Row]
    waiting: list[Row]
    review: list[Row]
    recent: list[Row]
    more_waiting: int = 0
    runs: int = 0
    in_slots: int = (
        0  # attempts that have one: a retry that waits and a question that is open lend it
    )
    budget_usd: float | None = None  # of the day, if somebody watches
    held: dict[Scope, Gate] = field(default_factory=dict)  # beside single tasks
    needs: list[Need] = field(default_factory=list)
    quotas: dict[str, list[Window]] = field(default_factory=dict)  # by tool

    def as_json(self) -> dict[str, Any]:
        """For ``--json``, and for the page."""
        return {
            "watcher": asdict(self.watcher) if self.watcher else None,
            "counts": {
                **{status.word: count for status, count in self.counts.items()},
                "invalid": len(self.invalid),
                "editing": len(self.editing),
                "runs": self.runs,
            },
            "slots_in_use": self.in_slots,
            "needs": [need.as_json() for need in self.needs],
            "running": [row.as_json() for row in self.running],
            "waiting": [row.as_json() for row in self.waiting],
            "review": [row.as_json() for row in self.review],
            "ended": [row.as_json() for row in self.recent],
            "invalid": [row.as_json() for row in self.invalid],
            "editing": self.editing,
            "held": [
                {
                    "what": kind or "all",
                    "name": name or None,
                    "why": gate.why,
                    "until": timestamp(gate.until) if gate.until else None,
                }
                for (kind, name), gate in self.held.items()
            ],
            "quota": [
                {
                    "tool": tool,
                    "window": window.name,
                    "used": window.used,
                    "resets": timestamp(window.resets) if window.resets else None,
                    "seen": timestamp(window.seen),
                }
                for tool, windows in self.quotas.items()
                for window in windows
            ],
        }


def of(layout: Layout, now: float, most: int = 10, known: world.Known | None = None) -> Overview:
    """The state of the work directory. Lists names, and opens only what runs, waits in front, or
    just ended.

    ``known`` is a look at it that others share.
    """
    known = known or world.Known(layout, now)
    counts = scan.counts(layout, names=known.names)
    wrong = known.invalid
    inbox = tasks.waiting_names(known)
    held = [(status, name) for status in ASIDE for _, name in known.tasks_in(status)]
    shown = [*[(Status.INBOX, name) for name in inbox[:most]], *held[:most]]
    counts[Status.INBOX] = len(inbox)
    _count_what_runs(known, counts)
    waiting = [waiting_row(layout, status, name, now, known) for status, name in shown]
    return Overview(
        watcher=known.card,
        counts=counts,
        invalid=[invalid_row(layout, name, judged) for name, judged in wrong.items()],
        editing=_editing(known, waiting),
        running=tasks.running(layout, now, known),
        waiting=waiting,
        review=[
            finished_row(layout, task_id, Status.REVIEW, name, results.read(layout, task_id))
            for task_id, name in known.tasks_in(Status.REVIEW)
        ],
        recent=tasks.recent(layout, RECENT, (Status.FAILED,), known.ends),
        more_waiting=len(inbox) + len(held) - len(shown),
        runs=len(runrecords.listed(layout)),
        held=known.held,
        needs=needs_queries.needs_you(layout, now, known),
        quotas=known.quotas,
        in_slots=known.use.running,
        budget_usd=known.in_force.budgets.day.hard if known.watching.alive else None,
    )


def _count_what_runs(known: world.Known, counts: dict[Status, int]) -> None:
    """A task that runs is counted as running once, wherever its file has been put, and while it is
    being put back."""
    claimed = whereabouts.running(known.journals).keys()
    lying = {task_id for task_id, _ in known.tasks_in(Status.RUNNING)}
    counts[Status.RUNNING] = len(lying | claimed)
    for task_id in claimed - lying:
        place = scan.locate(known.layout, task_id)
        if place is not None and place[0] is not Status.RUNNING and place[0] in counts:
            counts[place[0]] = max(0, counts[place[0]] - 1)


def _editing(known: world.Known, waiting: Iterable[Row]) -> list[str]:
    """What somebody is still at, and what is not there yet though an editor has it open. What is
    wrong counts as invalid."""
    names = known.names(known.layout.folder(Status.INBOX))
    open_ = {name[1:-4] for name in names if name.startswith(".") and name.endswith(".swp")}
    open_ |= {name[2:] for name in names if name.startswith(".#")}
    found = {
        stem_of(name) for name in open_ - set(known.invalid) if not is_draft(name) and stem_of(name)
    }
    return sorted(found | {row.id for row in waiting if "editing" in row.flags})
