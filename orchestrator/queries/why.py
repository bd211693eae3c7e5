"""Why a task does not run (yet): every gate between it and its start, found by reading alone."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from orchestrator.files import (
    journals,
    results,
    scan,
)
from orchestrator.files.layout import Layout
from orchestrator.model.admission import SLOTS, process_gates
from orchestrator.model.gates import Gate, GateName
from orchestrator.model.journal import Journal, Phase
from orchestrator.model.status import FINISHED, Status
from orchestrator.model.task import Task
from orchestrator.queries.world import Known, request_of


@dataclass(slots=True)
class Reasons:
    """The answer: ``summary`` in one sentence, the closed ``gates``, and what is open (``passed``)."""

    id: str
    status: str
    summary: str
    gates: list[Gate] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)


def reasons(layout: Layout, task_id: str, status: Status, name: str, now: float) -> Reasons:
    """Why this task is where it is."""
    known = Known(layout, now)
    if status is Status.INBOX:
        return _waiting(known, task_id, name)
    if status is Status.HELD:
        gate = Gate(
            GateName.HELD, "it lies in held/", f"orchestrator release {task_id}", stuck=True
        )
        return Reasons(task_id, "held", "it is held", [gate])
    journal = journals.of(layout, task_id)
    if status is Status.RUNNING:
        return _running(known, task_id, journal)
    if status is Status.REVIEW:
        found = results.read(layout, task_id)
        gate = Gate(
            GateName.REVIEW,
            found.get("reason") or "a person decides",
            f"orchestrator approve {task_id}   or reject, or retry",
            stuck=True,
        )
        return Reasons(task_id, "review", "it waits for a person's decision", [gate])
    found = results.read(layout, task_id)
    how = found.get("reason") or found.get("outcome") or ""
    return Reasons(
        task_id,
        results.ended_as(layout, task_id).word if status is Status.ARCHIVE else status.word,
        f"it has ended: {status}" + (f" ({how})" if how and status in FINISHED else ""),
        passed=[f"run it again: orchestrator retry {task_id}"],
    )


def _running(known: Known, task_id: str, journal: Journal | None) -> Reasons:
    if journal is None:
        gate = Gate(
            GateName.FOREIGN,
            "it was never claimed on this machine",
            "the watcher will put it into review/",
            stuck=True,
        )
        return Reasons(task_id, "running", "its file lies in running/, but nothing runs", [gate])
    if journal.phase is Phase.RETRYING:
        gates = known.retry_gates(journal)
        summary = "an attempt failed and another one follows"
        if not gates:
            gates = [Gate(GateName.RETRY, f"attempt {journal.next_attempt} is about to start")]
        return Reasons(task_id, "running", summary, gates)
    if journal.phase is Phase.ENDED:
        return Reasons(
            task_id,
            "running",
            "its attempt has ended and is about to be recorded",
            process_gates(known.watching),
        )
    return Reasons(
        task_id,
        "running",
        "it is running",
        passed=[f"to follow it: orchestrator logs -f {task_id}"],
    )


def _waiting(known: Known, task_id: str, name: str) -> Reasons:
    layout = known.layout
    judged = known.judge.file(Status.INBOX, name)
    request = judged.request
    if judged.problem is not None or request is None:
        return Reasons(
            task_id,
            "invalid",
            "it cannot run as written",
            [
                Gate(
                    GateName.INVALID,
                    judged.told or "its file is gone",
                    f"orchestrator validate {layout.shown(layout.file('inbox', name))}",
                    stuck=True,
                )
            ],
        )
    verdict = known.verdict(request, name)
    if request.run is not None:
        return Reasons(
            task_id,
            "waiting",
            f"it waits: {verdict.gate.why}"
            if verdict.gate
            else "it is a run that has not been accepted yet",
            [*([verdict.gate] if verdict.gate else []), *process_gates(known.watching)],
            [verdict.source] if verdict.source else [],
        )
    assert request.task is not None
    task = request.task
    gates = known.gates(task, name)
    passed = []
    names = {gate.name for gate in gates}
    if task.needs and GateName.NEEDS not in names:
        passed.append(f"everything it needs is done: {', '.join(task.needs)}")
    if task.not_before is not None and GateName.NOT_BEFORE not in names:
        passed.append("its time has come")
    if verdict.source:
        passed.append(verdict.source)
    ahead = _ahead(layout, task, name) if names & SLOTS else 0
    if ahead:
        passed.append(f"{ahead} before it by priority and age")
    summary = (
        "nothing holds it: it is about to start"
        if not gates
        else f"it waits: {gates[0].why}"
        if len(gates) == 1
        else f"it waits for {len(gates)} things"
    )
    return Reasons(task_id, "waiting", summary, gates, passed)


def _ahead(layout: Layout, task: Task, name: str) -> int:
    """How many files of the inbox come before this one; counted among the first thousand."""
    mine = (task.rank, os.stat(layout.file(Status.INBOX, name)).st_mtime_ns, task.id)
    before = 0
    for _, other in scan.task_names(layout.folder(Status.INBOX))[:1000]:
        request = request_of(layout, Status.INBOX, other)
        if request is not None and request.task is not None and other != name:
            rank = (
                request.task.rank,
                os.stat(layout.file(Status.INBOX, other)).st_mtime_ns,
                request.task.id,
            )
            before += rank < mine
    return before
