"""Why a task does not run (yet): every gate between it and its start, found by reading alone."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from orchestrator.files import (
    card,
    configuration,
    journals,
    jsonlines,
    parked,
    results,
    scan,
    spending,
)
from orchestrator.files.layout import Layout
from orchestrator.files.requests import Unreadable, read
from orchestrator.model.budget import DAY, Budgets, closed
from orchestrator.model.config import Config
from orchestrator.model.gates import Gate, InUse, Lane, Limits, limit_gates, own_gates
from orchestrator.model.journal import Journal, Phase
from orchestrator.model.status import FINISHED, Status
from orchestrator.model.task import Task
from orchestrator.model.units import timestamp
from orchestrator.queries.tasks import request_of


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
    if status is Status.INBOX:
        return _waiting(layout, task_id, name, now)
    if status is Status.HELD:
        gate = Gate("held", "it was parked in held/", f"orchestrator release {task_id}", stuck=True)
        return Reasons(task_id, "held", "a person parked it", [gate])
    journal = journals.of(layout, task_id)
    if status is Status.RUNNING:
        return _running(layout, task_id, journal, now)
    if status is Status.REVIEW:
        found = results.read(layout, task_id)
        gate = Gate(
            "review",
            found.get("reason") or "a person decides",
            f"orchestrator approve {task_id}   or reject, or retry",
            stuck=True,
        )
        return Reasons(task_id, "review", "it waits for a person's decision", [gate])
    found = results.read(layout, task_id)
    how = found.get("reason") or found.get("outcome") or ""
    return Reasons(
        task_id,
        str(status),
        f"it has ended: {status}" + (f" ({how})" if how and status in FINISHED else ""),
        passed=[f"to run it again: orchestrator retry {task_id}"],
    )


def _running(layout: Layout, task_id: str, journal: Journal | None, now: float) -> Reasons:
    if journal is None:
        gate = Gate(
            "foreign",
            "it was never claimed on this machine",
            "the watcher will put it into review/",
            stuck=True,
        )
        return Reasons(task_id, "running", "its file lies in running/, but nothing runs", [gate])
    if journal.phase is Phase.RETRYING:
        due = journal.last.get("not_before", now)
        gate = Gate(
            "retry",
            f"attempt {journal.next_attempt} follows in {max(0.0, due - now):.0f} s",
            until=due,
        )
        return Reasons(task_id, "running", "an attempt failed and another one follows", [gate])
    watcher = card.read(layout, now)
    if journal.phase is Phase.ENDED:
        gates = [] if watcher and watcher.alive else [_no_watcher()]
        return Reasons(
            task_id, "running", "its attempt has ended and is about to be recorded", gates
        )
    return Reasons(
        task_id, "running", "it is running", passed=[f"to look on: orchestrator logs -f {task_id}"]
    )


def _waiting(layout: Layout, task_id: str, name: str, now: float) -> Reasons:
    request = request_of(layout, Status.INBOX, name)
    if os.path.exists(layout.note(task_id)) or request is None or request.errors:
        first = request.errors[0] if request is not None and request.errors else None
        with_place = (
            f"{first.line}:{first.column} {first.message}" if first else "its note says why"
        )
        note = _first_line(layout.note(task_id)) or with_place
        return Reasons(
            task_id,
            "invalid",
            "it cannot be run as it is",
            [
                Gate(
                    "invalid",
                    note,
                    f"orchestrator validate {layout.shown(layout.file('inbox', name))}",
                    stuck=True,
                )
            ],
        )
    if request.run is not None:
        watcher = card.read(layout, now)
        return Reasons(
            task_id,
            "inbox",
            "it is a run that has not been accepted yet",
            [] if watcher and watcher.alive else [_no_watcher()],
        )
    assert request.task is not None
    task = request.task
    config = configuration.load_config(layout)
    gates = own_gates(
        task,
        lambda need: results.status_of(layout, need),
        now,
        approved=_approved(layout, config, task_id, name),
        run_stopped=_run_stopped(layout, task),
    )
    if _being_edited(layout, name):
        gates.insert(0, Gate("editing", "it is open in an editor", "save and close it"))
    passed = [
        text
        for closed, text in (
            (
                "needs",
                f"everything it needs is done: {', '.join(task.needs)}" if task.needs else "",
            ),
            ("not_before", "its time has come" if task.not_before is not None else ""),
        )
        if text and closed not in {gate.name for gate in gates}
    ]
    watcher = card.read(layout, now)
    if watcher is None or not watcher.alive:
        gates.append(_no_watcher())
    elif watcher.fault:
        gates.append(Gate("store", f"the watcher claims nothing: {watcher.fault}"))
    elif watcher.draining:
        gates.append(
            Gate(
                "draining", "the watcher is draining: it starts no more tasks", "orchestrator watch"
            )
        )
    lane, use, limits = _lanes(layout, config, task, now)
    gates += limit_gates(lane, limits, use)
    ahead = (
        _ahead(layout, task, name)
        if any(gate.name in ("running", "agent", "tool", "run") for gate in gates)
        else 0
    )
    if ahead:
        passed.append(f"{ahead} before it by priority and age")
    summary = (
        "nothing holds it: it is about to start"
        if not gates
        else f"it waits: {gates[0].why}"
        if len(gates) == 1
        else f"it waits for {len(gates)} things"
    )
    return Reasons(task_id, "inbox", summary, gates, passed)


def _no_watcher() -> Gate:
    return Gate("watcher", "no watcher is running", "orchestrator watch", stuck=True)


def _lanes(layout: Layout, config: Config, task: Task, now: float) -> tuple[Lane, InUse, Limits]:
    agent = task.agent or config.default_agent
    tool = task.tool or (config.agents[agent].tool if agent in config.agents else agent)
    use = InUse()
    for journal in journals.active(layout):
        if journal.phase in (Phase.CLAIMED, Phase.STARTED):
            claim = journal.claim
            use.count(
                Lane(claim.get("agent") or "", claim.get("tool") or "", claim.get("run") or "")
            )
    limits = config.limits
    run = _run_of(layout, task)
    if run is not None and run.max_parallel:
        limits = Limits(
            limits.running, limits.per_agent, limits.per_tool, {run.id: run.max_parallel}
        )
    now_closed: dict[tuple[str, str], Gate] = {
        ("tool", name): gate for name, gate in parked.gates(layout, now).items()
    }
    if config.budgets != Budgets() or (run is not None and run.max_cost is not None):
        spent = spending.of_day(layout, timestamp(now)[:10])
        if run is not None:
            spent.runs[run.id] = spending.of_run(layout, run.id)
        now_closed |= closed(
            config.budgets,
            spent,
            {run.id: run.max_cost} if run is not None else {},
            (now // DAY + 1) * DAY,
        )
    return Lane(agent, tool, task.run or ""), use, replace(limits, closed=now_closed)


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


def _run_of(layout: Layout, task: Task):
    if task.run:
        for run_id, name in scan.runs(layout):
            if run_id == task.run:
                request = request_of(layout, "runs", name)
                return request.run if request is not None else None
    return None


def _run_stopped(layout: Layout, task: Task) -> str:
    run = _run_of(layout, task)
    if run is None or run.on_failure != "stop":
        return ""
    for member in run.members:
        if results.status_of(layout, member) is Status.FAILED:
            return f"run {run.id} stopped: {member} failed"
    return ""


def _approved(layout: Layout, config: Config, task_id: str, name: str) -> bool:
    """Whether git may have brought the file and nobody here has vouched for it."""
    if config.from_git == "run" or not _in_git(layout.root):
        return True
    import hashlib  # here: only a task that waits in a git repository pays for these
    import subprocess

    try:
        listed = subprocess.run(
            ["git", "-C", layout.root, "ls-files", "--", f"work/inbox/{name}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return True
    if not listed.strip():
        return True
    try:
        digest = hashlib.sha256(read(layout.file(Status.INBOX, name)).raw).hexdigest()
    except (OSError, Unreadable):
        return True
    return any(
        record.get("id") == task_id and record.get("sha256") == digest
        for record in jsonlines.read(layout.approvals)[0]
    )


def _in_git(folder: str) -> bool:
    while not os.path.exists(os.path.join(folder, ".git")):
        if folder == os.path.dirname(folder):
            return False
        folder = os.path.dirname(folder)
    return True


def _being_edited(layout: Layout, name: str) -> bool:
    return os.path.lexists(layout.file("inbox", f".{name}.swp")) or os.path.lexists(
        layout.file("inbox", f".#{name}")
    )


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""
