"""Reading results, and what a finished task means to those that need it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.files import contests, documents, fitting, journals, opening, schemas
from orchestrator.files.eventreader import about
from orchestrator.files.layout import Layout
from orchestrator.files.scan import locate
from orchestrator.model import isolation
from orchestrator.model.status import FINISHED, STATUS_OF_OUTCOME, Outcome, Status

if TYPE_CHECKING:
    from orchestrator.model.isolation import Change
    from orchestrator.model.journal import Journal


def read(layout: Layout, task_id: str) -> dict[str, Any]:
    """The result of a task; empty if it has none or it cannot be read.

    Results are meant for git, so others write them: what does not fit its key's rule in the schema
    counts as missing, and so does a command (``resume``) that this machine has not made itself.
    """
    try:
        found = _read(layout, task_id) or {}
    except OSError:
        return {}
    rules = schemas.schema("result")["properties"]
    fit = {key: value for key, value in found.items() if fitting.fits(rules.get(key, True), value)}
    if "resume" in fit and fit["resume"] not in _commands(layout, task_id):
        del fit["resume"]
    return fit


def _commands(layout: Layout, task_id: str) -> list[object]:
    """The commands that this machine has made to go on in the sessions of a task: a person types
    one as it stands."""
    journal = journals.of(layout, task_id)
    return [attempt.read.get("resume") for attempt in journal.attempts] if journal else []


def _read(layout: Layout, task_id: str) -> dict[str, Any] | None:
    """None if there is a result that says nothing; raises OSError if it cannot be opened."""
    data = documents.parse(opening.read_bytes(layout.result(task_id))).data
    return data if isinstance(data, dict) else None


def status_of(layout: Layout, task_id: str) -> Status | None:
    """Where a needed task is.  One in the archive counts as what it was (`ended_as`)."""
    place = place_of(layout, task_id)
    if place is Status.DONE and is_request(layout, task_id):
        return Status.REVIEW
    return place


def place_of(layout: Layout, task_id: str) -> Status | None:
    """The same for a task without a branch or a plan of which a person could ask something."""
    place = locate(layout, task_id)
    if place is not None and place[0] is Status.ARCHIVE:
        return ended_as(layout, task_id)
    return place[0] if place is not None else None


def waiting_plan(found: Mapping[str, Any]) -> str:
    """The file of the plan that waits for a yes, as a result tells of it; empty if none does."""
    plan = found.get("plan") or {}
    return "" if plan.get("approved") else str(plan.get("file") or "")


def is_request(layout: Layout, task_id: str) -> bool:
    """Whether somebody has put a task from review/ into done/ whose branch is not merged, or whose
    plan is not carried out: that is a request, until it is obeyed."""
    journal = journals.of(layout, task_id)
    if journal is None or journal.last.get("status") != Status.REVIEW:
        return False
    if journal.plan_waits:
        return True
    return _unmerged(journal) is not None


def unmerged(layout: Layout, task_id: str) -> Change | None:
    """The change of a task that is done, here or in the archive, and that is not in its target;
    None if there is none."""
    journal = journals.of(layout, task_id)
    found = _unmerged(journal) if journal is not None else None
    return found if found is not None and status_of(layout, task_id) is Status.DONE else None


def _unmerged(journal: Journal) -> Change | None:
    change = isolation.change_from(journal.change)
    there = change is not None and not change.empty and bool(change.target)
    return change if there and not journal.merged else None


def ended_as(layout: Layout, task_id: str) -> Status:
    """How an archived task had ended.

    Its journal says so: a person may have rejected what had succeeded. In a clone its result does;
    without one that says so (it was cancelled before it ever ran, or a person decided what became
    of it) its events tell. A result that is there and cannot be read proves nothing: such a
    task counts as failed. What competed and was not taken is cancelled: its work is nowhere but on
    its branch.
    """
    contest = contests.of_member(layout, task_id)
    if contest is not None and contest.winner not in ("", task_id):
        return Status.CANCELLED
    journal = journals.of(layout, task_id)
    settled = str(journal.settled.get("status") or "") if journal is not None else ""
    if settled in FINISHED:
        return Status(settled)
    try:
        result = _read(layout, task_id)
    except FileNotFoundError:
        result = {}
    except OSError:
        result = None
    if result is None:
        return Status.FAILED
    outcome = result.get("outcome")
    if outcome in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CANCELLED):
        return STATUS_OF_OUTCOME[Outcome(outcome)]
    decided = {
        "task_cancelled": Status.CANCELLED,
        "task_rejected": Status.FAILED,
        "task_approved": Status.DONE,
    }
    told = [decided.get(str(event.get("event"))) for event in about(layout, "task_id", task_id)]
    last = [status for status in told if status is not None]
    return last[-1] if last else Status.DONE
