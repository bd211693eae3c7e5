"""Why a task does not run (yet): every gate between it and its start, found by reading alone."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, assert_never

from orchestrator.files import (
    conflicts,
    editing,
    eventreader,
    journals,
    results,
    scan,
)
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model import admission, run
from orchestrator.model import gates as gates_model
from orchestrator.model import journal as journal_model
from orchestrator.model import question as question_model
from orchestrator.model.status import WAITING, Status
from orchestrator.queries import elsewhere, world
from orchestrator.queries import needs as needs_queries
from orchestrator.records import dataclass, field, replace

if TYPE_CHECKING:
    from orchestrator.model.journal import Journal
    from orchestrator.model.task import Task

# Events after which a task lies somewhere else than before.
MOVES = ("task_requeued", "task_approved", "task_rejected", "task_cancelled")

MOST_NEEDED = 200  # tasks that are looked at for a circle


@dataclass(slots=True)
class Reasons:
    """The answer: ``summary`` in one sentence, the closed ``gates``, and what is open
    (``passed``). ``notes`` are neither: commands to go on with, options to choose from."""

    id: str
    status: str
    summary: str
    gates: list[gates_model.Gate] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def reasons(
    layout: Layout,
    task_id: str,
    status: Status,
    name: str,
    now: float,
    known: world.Known | None = None,
) -> Reasons:
    """Why this task is where it is. ``known`` is a look at the work directory that others share."""
    known = known or world.Known(layout, now)
    match status:
        case Status.INBOX:
            return _waiting(known, task_id, name)
        case Status.HELD:
            return Reasons(task_id, "held", "it is held", [gates_model.in_held_gate(task_id)])
        case Status.RUNNING:
            return _running(known, task_id, journals.of(layout, task_id))
        case Status.REVIEW:
            return _reviewed(layout, task_id, journals.of(layout, task_id))
        case Status.DONE | Status.FAILED | Status.CANCELLED:
            found = results.read(layout, task_id)
            journal = journals.of(layout, task_id)
            rejected = journal.rejected if journal is not None else ""
            how = rejected or found.get("reason") or found.get("outcome") or ""
            return _ended(layout, task_id, status.word, f"{status} ({how})" if how else status)
        case Status.ARCHIVE:
            return _ended(layout, task_id, results.ended_as(layout, task_id).word, status.word)
        case _:
            assert_never(status)


def _ended(layout: Layout, task_id: str, word: str, how: str) -> Reasons:
    again = f"run it again: orchestrator retry {task_id}"
    other = scan.namesake(layout, task_id)
    return Reasons(task_id, word, f"it has ended: {how}", notes=[other or again])


def _reviewed(layout: Layout, task_id: str, journal: Journal | None) -> Reasons:
    """Why a task is in review: what its last attempt came to, or who brought it there."""
    found = results.read(layout, task_id)
    if question := str(found.get("question") or ""):
        return _asked(task_id, "review", question)
    if plan := results.waiting_plan(found):
        then = f"orchestrator approve {task_id}   carries it out; or reply, reject"
        gate = gates_model.Gate(
            gates_model.GateName.REVIEW,
            f"its plan waits for a yes: {one_line(plan)}",
            then,
            stuck=True,
        )
        return Reasons(task_id, "review", "it has planned and changed nothing yet", [gate])
    gate = gates_model.Gate(
        gates_model.GateName.REVIEW,
        _why_there(layout, task_id, found, journal),
        f"orchestrator approve {task_id}   or reject, reply, retry",
        stuck=True,
    )
    if collides := conflicts.told(layout, task_id):
        hint = f"orchestrator reply {task_id} --conflict   gives it back to its own session"
        gate = replace(gate, why=collides, hint=hint)
    notes = needs_queries.checks_of(found)
    if found.get("branch") and found.get("files_changed"):
        notes.append(f"what it changed: orchestrator diff {task_id}")
    return Reasons(task_id, "review", "it waits for a person's decision", [gate], notes=notes)


def _asked(task_id: str, word: str, question: str) -> Reasons:
    """An agent's question, and how to answer it."""
    known = [f"{number} {text}" for number, text in enumerate(question_model.options(question), 1)]
    gate = gates_model.Gate(
        gates_model.GateName.REVIEW,
        f"it asks: {question_model.headline(question)}",
        f"orchestrator reply {task_id} {'NUMBER' if known else chr(34) + '...' + chr(34)}",
        stuck=True,
    )
    return Reasons(task_id, word, "its agent is asking you something", [gate], notes=known)


def _why_there(
    layout: Layout, task_id: str, found: Mapping[str, Any], journal: Journal | None
) -> str:
    last = next(
        (
            event
            for event in reversed(eventreader.about(layout, "task_id", task_id))
            if event.get("status") == "review" or event.get("event") in MOVES
        ),
        {},
    )
    said = str(last.get("summary") or "") if last.get("status") == "review" else ""
    if last.get("event") == "task_finished":
        said = str(found.get("reason") or said)
    if said and said != "succeeded":
        return one_line(said, 300)
    if journal is None:
        return "it was put there by hand, or by git: it has never run on this machine"
    if last:
        return "its file was moved to review/ by hand"
    return str(found.get("reason") or "its file was moved to review/ by hand")


def _running(known: world.Known, task_id: str, journal: Journal | None) -> Reasons:
    if journal is None:
        gate = gates_model.Gate(
            gates_model.GateName.FOREIGN,
            "it was never claimed on this machine",
            "the watcher will move it to review/",
            stuck=True,
        )
        return Reasons(
            task_id, "running", "its file is in running/, but nothing is running", [gate]
        )
    if journal.phase is journal_model.Phase.RETRYING:
        gates = known.retry_gates(journal)
        summary = "an attempt failed and another one follows"
        if not gates:
            gates = [
                gates_model.Gate(
                    gates_model.GateName.RETRY, f"attempt {journal.next_attempt} is about to start"
                )
            ]
        return Reasons(task_id, "running", summary, gates)
    if journal.phase is journal_model.Phase.ENDED:
        return Reasons(
            task_id,
            "running",
            "its attempt has ended and is about to be recorded",
            admission.process_gates(known.watching),
        )
    if asked := next((ask for ask in known.asks if ask.task_id == task_id), None):
        return _asked(task_id, "asks", asked.question)
    attempt = journal.attempt
    if attempt is not None and attempt.where and attempt.ended is None:
        summary, gates = elsewhere.waits(known.layout, attempt, journal.phase, known.now)
        following = [f"follow it: orchestrator logs -f {task_id}"]
        return Reasons(task_id, "running", summary, gates, notes=following)
    return Reasons(
        task_id,
        "running",
        "it is running",
        notes=[f"follow it: orchestrator logs -f {task_id}"],
    )


def _waiting(known: world.Known, task_id: str, name: str) -> Reasons:
    layout = known.layout
    judged = known.judge.file(Status.INBOX, name)
    request = judged.request
    if judged.held == editing.WRITTEN:
        gate = admission.editing_gate(judged.held)
        gates = [gate, *admission.process_gates(known.watching)]
        return Reasons(task_id, "waiting", f"it waits: {gate.why}", gates)
    if judged.problem is not None or request is None:
        return Reasons(
            task_id,
            "invalid",
            "it cannot run as written",
            [
                gates_model.Gate(
                    gates_model.GateName.INVALID,
                    judged.told or "its file is gone",
                    "orchestrator validate"
                    f" {shlex.quote(layout.shown(layout.file('inbox', name)))}",
                    stuck=True,
                )
            ],
        )
    verdict = known.verdicts.of(request, name)
    if request.run is not None:
        return Reasons(
            task_id,
            "waiting",
            (
                f"it waits: {verdict.gate.why}"
                if verdict.gate
                else "it is a run that has not been accepted yet"
            ),
            [*([verdict.gate] if verdict.gate else []), *admission.process_gates(known.watching)],
            [verdict.source] if verdict.source else [],
        )
    assert request.task is not None
    task = request.task
    gates = known.gates(task, name)
    passed = []
    names = {gate.name for gate in gates}
    if task.needs and gates_model.GateName.NEEDS not in names:
        passed.append(f"everything it needs is done: {', '.join(task.needs)}")
    if task.not_before is not None and gates_model.GateName.NOT_BEFORE not in names:
        passed.append("its time has come")
    if verdict.source:
        passed.append(verdict.source)
    ahead = _ahead(known, task, name) if names & admission.SLOTS else 0
    summary = _summary(gates)
    circle = _circle(layout, task) if gates_model.GateName.NEEDS in names else []
    if circle:
        summary = f"it waits for itself: {run.way_round(circle)}"
    notes = [f"{ahead} before it by priority and age"] if ahead else []
    return Reasons(task_id, "waiting", summary, gates, passed, notes)


def _summary(gates: Sequence[gates_model.Gate]) -> str:
    if not gates:
        return "nothing holds it: it is about to start"
    if len(gates) == 1:
        return f"it waits: {gates[0].why}"
    return f"it waits for {len(gates)} things"


def _circle(layout: Layout, task: Task) -> list[str]:
    """The circle in which this task waits for itself, over other waiting tasks; empty if there is
    none."""
    needs, todo = {task.id: tuple(task.needs)}, list(task.needs)
    while todo and len(needs) < MOST_NEEDED:
        needed = todo.pop()
        place = scan.locate(layout, needed, WAITING)
        request = world.request_of(layout, *place) if place and needed not in needs else None
        if request is not None and request.task is not None:
            needs[needed] = tuple(request.task.needs)
            todo += request.task.needs
    found = run.cycle(needs)
    return found if task.id in found else []


def _ahead(known: world.Known, task: Task, name: str) -> int:
    """How many tasks that wait for a slot only come before this one; counted among the first
    thousand files."""
    layout = known.layout
    mine = (task.rank, os.stat(layout.file(Status.INBOX, name)).st_mtime_ns, task.id)
    before = 0
    for _, other in known.tasks_in(Status.INBOX)[:1000]:
        request = world.request_of(layout, Status.INBOX, other)
        if request is not None and request.task is not None and other != name:
            rank = (
                request.task.rank,
                os.stat(layout.file(Status.INBOX, other)).st_mtime_ns,
                request.task.id,
            )
            before += rank < mine and _waits_for_a_slot(known, request.task, other)
    return before


def _waits_for_a_slot(known: world.Known, task: Task, name: str) -> bool:
    return all(gate.name in admission.SLOTS for gate in known.gates(task, name))
