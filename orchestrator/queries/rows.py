"""One task in a list: what can be said of it in a line, wherever it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.files import editing, results
from orchestrator.files.layout import Layout, stem_of
from orchestrator.files.text import one_line
from orchestrator.model import admission, question
from orchestrator.model import gates as gates_model
from orchestrator.model import journal as journal_model
from orchestrator.model.status import Status
from orchestrator.model.units import moment_of, plural, timestamp
from orchestrator.queries import elsewhere, world
from orchestrator.queries import needs as needs_queries
from orchestrator.records import dataclass, field
from orchestrator.tools import activity

if TYPE_CHECKING:
    from orchestrator.model.config import Model
    from orchestrator.model.journal import Journal
    from orchestrator.queries.validity import Judged


@dataclass(slots=True)
class Row:
    """One task in a list. ``detail`` is one clean line that says the most useful thing about it
    now.

    ``started`` and ``ended`` are seconds since the epoch, ``seconds`` a duration, None where it
    does not apply.
    """

    id: str
    status: str
    file: str
    title: str = ""
    agent: str = ""
    tool: str = ""
    model: str = ""
    run: str = ""
    attempt: int | None = None
    started: float | None = None
    ended: float | None = None
    seconds: float | None = None
    timeout: float | None = None
    detail: str = ""
    cost_usd: float | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    where: str = (
        ""  # of a running one: the distributor that has it, and its worker; empty for this machine
    )
    branch: str = ""  # of its own, once an attempt has ended
    insertions: int | None = None  # on that branch, as are the deletions
    deletions: int | None = None
    checks: tuple[str, ...] = ()  # ``tests ✓``

    def as_json(self) -> dict[str, Any]:
        """The row for ``--json``: moments as timestamps, missing values left out."""
        moments = {
            name: timestamp(value)
            for name, value in (("started_at", self.started), ("finished_at", self.ended))
            if value is not None
        }
        plain = {
            "id": self.id,
            "status": self.status,
            "file": self.file,
            "title": self.title,
            "agent": self.agent,
            "tool": self.tool,
            "model": self.model,
            "run": self.run,
            "attempt": self.attempt,
            "duration_s": self.seconds,
            "timeout_s": self.timeout,
            "detail": self.detail,
            "cost_usd": self.cost_usd,
            "usage": dict(self.usage),
            "flags": list(self.flags),
            "where": self.where,
            "branch": self.branch,
            "insertions": self.insertions,
            "deletions": self.deletions,
            "checks": list(self.checks),
        }
        return {
            **{key: value for key, value in plain.items() if value not in (None, "", [], {})},
            **moments,
        }


def running_row(layout: Layout, journal: Journal, now: float, known: world.Known) -> Row:
    row = _claimed(layout, journal, Status.RUNNING)
    attempt = journal.attempt
    if journal.phase is journal_model.Phase.RETRYING:
        row.attempt, row.flags = journal.next_attempt, ("retrying",)
        gates = known.retry_gates(journal, watcher=False)
        wait = max(0.0, journal.last.get("not_before", now) - now)
        row.detail = f"attempt {row.attempt} in {wait:.0f}s"
        others = [gate for gate in gates if gate.name is not gates_model.GateName.RETRY]
        if others:
            row.detail = f"attempt {row.attempt} waits: {others[0].why}"
    elif attempt is not None and journal.phase is journal_model.Phase.STARTED:
        row.started = attempt.started.get("at")
        row.seconds = max(0.0, now - (row.started or now))
        talked = journal.claim.get("mode") == "interactive"
        how = activity.presentation(layout, row.tool)
        progress = activity.glance(
            f"{layout.logs(journal.task_id, attempt.number)}/stdout.log",
            how,
            _model(known, row.model) if how.counts else None,
            session=str(attempt.started.get("session") or ""),
            reads=not talked,
        )
        before = sum(facts.read.get("cost_usd") or 0.0 for facts in journal.attempts[:-1])
        row.detail = f"orchestrator attach {journal.task_id}" if talked else progress.line
        if journal.checking:
            row.detail = f"check {journal.checks[-1].started.get('check', '')}"
        row.cost_usd = before + (progress.cost or 0.0) or None
        row.usage = progress.usage
        row.where = elsewhere.place(attempt)
        if row.where:
            line = f"{row.where}: {row.detail}" if row.detail else f"at {row.where}"
            row.detail = elsewhere.silence(layout, attempt) or line
    elif attempt is not None and journal.phase is journal_model.Phase.DISPATCHED:
        row.where, row.flags = elsewhere.place(attempt), ("queued",)
        row.seconds = max(0.0, now - attempt.dispatched.get("at", now))
        row.detail = f"waiting at {row.where}: pool {attempt.dispatched.get('pool', '')}"
    elif journal.phase is journal_model.Phase.ENDED:
        row.detail = "finishing"
    else:
        row.detail = "starting"
    open_ = next((ask for ask in known.asks if ask.task_id == journal.task_id), None)
    if open_ is not None:
        row.status, row.detail = "asks", one_line(question.headline(open_.question), 200)
    if os.path.exists(layout.cancel_request(journal.task_id)):
        row.flags += ("cancelling",)
        row.detail = row.detail or "stopping"
    return row


def _model(known: world.Known, name: str) -> Model | None:
    """Its prices, to say what a running attempt has cost so far; None if nobody has configured
    them."""
    return known.config.models.get(name) if known.config is not None else None


def _claimed(layout: Layout, journal: Journal, status: Status) -> Row:
    claim = journal.claim
    return Row(
        journal.task_id,
        status.word,
        layout.shown(layout.file(status, claim["file"])),
        title=one_line(claim.get("title") or "", 200),
        agent=journal.acting.get("agent") or claim.get("agent") or "",
        tool=journal.acting.get("tool") or "",
        model=journal.acting.get("model") or "",
        run=claim.get("run") or "",
        attempt=journal.attempt.number if journal.attempt else None,
        timeout=claim.get("timeout"),
    )


def waiting_row(
    layout: Layout, status: Status, name: str, now: float, known: world.Known | None = None
) -> Row:
    """A task in inbox/ or held/: what it waits for, apart from a watcher."""
    known = known or world.Known(layout, now)
    task_id = stem_of(name)
    row = Row(task_id, status.word, layout.shown(layout.file(status, name)))
    judged = known.judge.file(status, name)
    request = judged.request
    if judged.held == editing.WRITTEN:
        row.detail, row.flags = admission.editing_gate(judged.held).why, ("editing",)
        return row
    if judged.problem is not None:
        row.status = "invalid" if status is Status.INBOX else row.status
        row.detail = judged.told
        return row
    if request is None or request.task is None:
        if request is not None and request.run is not None:
            row.title, row.detail = (
                one_line(request.run.title, 200),
                f"run of {plural(len(request.run.members), 'task')}",
            )
        return row
    task = request.task
    row.title, row.agent, row.tool = one_line(task.title, 200), task.agent or "", task.tool or ""
    row.model, row.run = task.model or "", task.run or ""
    if status is not Status.INBOX:
        return row
    gates = known.gates(task, name, watcher=False, judged=judged)
    row.detail = gates[0].why if gates else ""
    if any(gate.stuck for gate in gates):
        row.flags = ("stuck",)
    if judged.held:
        row.flags += ("editing",)
    return row


def invalid_row(layout: Layout, name: str, judged: Judged) -> Row:
    path = layout.shown(layout.file(Status.INBOX, name))
    return Row(stem_of(name), "invalid", path, detail=judged.told)


def finished_row(
    layout: Layout, task_id: str, status: Status, name: str, facts: Mapping[str, Any]
) -> Row:
    """A finished task, from its event or its result."""
    shown = layout.shown(layout.file(status, name))
    if status is Status.ARCHIVE:
        row = Row(task_id, results.ended_as(layout, task_id).word, shown, flags=("archived",))
    else:
        row = Row(task_id, status.word, shown)
    row.agent, row.tool, row.model = (
        str(facts.get(key) or "") for key in ("agent", "tool", "model")
    )
    row.run = str(facts.get("run_id") or facts.get("run") or "")
    row.title = one_line(str(facts.get("title") or ""), 200)
    row.ended = moment_of(facts.get("ts") or facts.get("finished_at"))
    if isinstance(facts.get("duration_ms"), int):
        row.seconds = facts["duration_ms"] / 1000
    elif isinstance(facts.get("duration_s"), (int, float)):
        row.seconds = facts["duration_s"]
    row.cost_usd = facts.get("cost_usd")
    attempts = facts.get("attempt") or len(facts.get("attempts", ())) or None
    row.attempt = attempts
    reason = facts.get("reason") or (
        facts.get("summary") if facts.get("outcome") != "succeeded" else ""
    )
    row.detail = one_line(str(reason or ""), 200)
    row.branch = one_line(str(facts.get("branch") or ""), 200)
    row.insertions, row.deletions = (_count(facts.get(key)) for key in ("insertions", "deletions"))
    row.checks = tuple(needs_queries.checks_of(dict(facts)))
    return row


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None
