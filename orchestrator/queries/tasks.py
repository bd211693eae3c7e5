"""Where every task is and what can be said of it."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.files import (
    asks,
    card,
    editing,
    eventreader,
    journals,
    replies,
    results,
    runrecords,
    scan,
)
from orchestrator.files.layout import Layout, is_draft, stem_of
from orchestrator.files.text import one_line, tail
from orchestrator.model import admission, question
from orchestrator.model import gates as gates_model
from orchestrator.model import journal as journal_model
from orchestrator.model.status import FINISHED, FOLDERS, WAITING, Status
from orchestrator.model.units import moment_of, plural, timestamp, when
from orchestrator.queries import elsewhere, whereabouts, world
from orchestrator.queries import needs as needs_queries
from orchestrator.records import asdict, dataclass, field
from orchestrator.tools import activity

if TYPE_CHECKING:
    from orchestrator.files.requests import Request
    from orchestrator.model.config import Model
    from orchestrator.model.gates import Gate
    from orchestrator.model.hold import Scope
    from orchestrator.model.journal import Journal
    from orchestrator.model.quota import Window
    from orchestrator.queries.needs import Need
    from orchestrator.queries.validity import Judged

RECENT = 5


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


def overview(
    layout: Layout, now: float, most: int = 10, known: world.Known | None = None
) -> Overview:
    """The state of the work directory. Lists names, and opens only what runs, waits in front, or
    just ended.

    ``known`` is a look at it that others share.
    """
    known = known or world.Known(layout, now)
    counts = scan.counts(layout)
    wrong = known.invalid
    inbox = _waiting_names(layout, wrong)
    held = [(Status.HELD, name) for _, name in scan.task_names(layout.folder(Status.HELD))]
    shown = [*[(Status.INBOX, name) for name in inbox[:most]], *held[:most]]
    counts[Status.INBOX] = len(inbox)
    _count_what_runs(layout, counts)
    waiting = [waiting_row(layout, status, name, now, known) for status, name in shown]
    return Overview(
        watcher=known.card,
        counts=counts,
        invalid=[_invalid_row(layout, name, judged) for name, judged in wrong.items()],
        editing=_editing(layout, wrong, waiting),
        running=running(layout, now, known),
        waiting=waiting,
        review=[
            finished_row(layout, task_id, Status.REVIEW, name, results.read(layout, task_id))
            for task_id, name in scan.sorted_names(layout.folder(Status.REVIEW))
        ],
        recent=recent(layout, RECENT, (Status.FAILED,), known.ends),
        more_waiting=len(inbox) + len(held) - len(shown),
        runs=len(runrecords.listed(layout)),
        held=known.held,
        needs=needs_queries.needs_you(layout, now, known),
        quotas=known.quotas,
    )


def _count_what_runs(layout: Layout, counts: dict[Status, int]) -> None:
    """A task that runs is counted as running once, wherever its file has been put, and while it is
    being put back."""
    claimed = whereabouts.running(layout).keys()
    lying = {task_id for task_id, _ in scan.task_names(layout.folder(Status.RUNNING))}
    counts[Status.RUNNING] = len(lying | claimed)
    for task_id in claimed - lying:
        place = scan.locate(layout, task_id)
        if place is not None and place[0] is not Status.RUNNING and place[0] in counts:
            counts[place[0]] = max(0, counts[place[0]] - 1)


def _waiting_names(layout: Layout, wrong: Iterable[str]) -> list[str]:
    skip = set(wrong)
    return sorted(
        name for _, name in scan.task_names(layout.folder(Status.INBOX)) if name not in skip
    )


def _editing(layout: Layout, wrong: Iterable[str], waiting: Iterable[Row]) -> list[str]:
    """What somebody is still at, and what is not there yet though an editor has it open. What is
    wrong counts as invalid."""
    names = scan.names(layout.folder(Status.INBOX))
    open_ = {name[1:-4] for name in names if name.startswith(".") and name.endswith(".swp")}
    open_ |= {name[2:] for name in names if name.startswith(".#")}
    found = {stem_of(name) for name in open_ - set(wrong) if not is_draft(name) and stem_of(name)}
    return sorted(found | {row.id for row in waiting if "editing" in row.flags})


def running(layout: Layout, now: float, known: world.Known | None = None) -> list[Row]:
    """The tasks that are claimed and not finished, with the last line each has printed."""
    known = known or world.Known(layout, now)
    rows = []
    for journal in known.journals:
        if journal.phase not in (journal_model.Phase.FINAL, journal_model.Phase.REQUEUED):
            rows.append(_running_row(layout, journal, now, known))
    return sorted(rows, key=lambda row: row.started or now)


def _running_row(layout: Layout, journal: Journal, now: float, known: world.Known) -> Row:
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
    if open_ := asks.unanswered(layout, journal.task_id):
        row.status, row.detail = "asks", one_line(question.headline(open_[0].question), 200)
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
    if status is Status.HELD:
        return row
    gates = known.gates(task, name, watcher=False)
    row.detail = gates[0].why if gates else ""
    if any(gate.stuck for gate in gates):
        row.flags = ("stuck",)
    if judged.held:
        row.flags += ("editing",)
    return row


def _invalid_row(layout: Layout, name: str, judged: Judged) -> Row:
    path = layout.shown(layout.file(Status.INBOX, name))
    return Row(stem_of(name), "invalid", path, detail=judged.told)


def recent(
    layout: Layout,
    most: int,
    only: tuple[Status, ...] = FINISHED,
    ends: Iterable[Mapping[str, Any]] | None = None,
) -> list[Row]:
    """The tasks that ended last and still lie in one of these folders, from the end of the event
    log (``ends``, if it was read)."""
    rows: list[Row] = []
    seen: set[str] = set()
    for event in eventreader.ends(layout, world.ENDS) if ends is None else ends:
        if len(rows) >= most:
            break
        task_id = event.get("task_id")
        if event.get("event") != "task_finished" or not isinstance(task_id, str) or task_id in seen:
            continue
        seen.add(task_id)
        place = scan.locate(layout, task_id, only)
        if place is not None:
            rows.append(finished_row(layout, task_id, *place, event))
    return rows


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


def listed(
    layout: Layout,
    now: float,
    statuses: tuple[Status, ...] | None,
    most: int | None,
    known: world.Known | None = None,
) -> tuple[list[Row], int]:
    """Rows for ``list`` and how many were left out: everything unfinished, then the newest finished
    tasks.

    ``known`` is a look at the work directory that others share.
    """
    known = known or world.Known(layout, now)
    rows: list[Row] = []
    wanted = statuses or FOLDERS
    if Status.RUNNING in wanted:
        rows += running(layout, now, known)
        claimed = {row.id for row in rows}
        rows += [
            Row(
                task_id,
                "running",
                layout.shown(layout.file(Status.RUNNING, name)),
                detail="not claimed here",
            )
            for task_id, name in sorted(scan.task_names(layout.folder(Status.RUNNING)))
            if task_id not in claimed
        ]
    if Status.INBOX in wanted:
        wrong = known.invalid
        rows += [_invalid_row(layout, name, judged) for name, judged in wrong.items()]
        rows += [
            waiting_row(layout, Status.INBOX, name, now, known)
            for name in _waiting_names(layout, wrong)
        ]
    if Status.HELD in wanted:
        rows += [
            waiting_row(layout, Status.HELD, name, now, known)
            for _, name in sorted(scan.task_names(layout.folder(Status.HELD)))
        ]
    ended = [
        status
        for status in (Status.REVIEW, *FINISHED, Status.ARCHIVE)
        if status in wanted and (statuses or status is not Status.ARCHIVE)
    ]
    found, left_out = _ended(layout, tuple(ended), most)
    return rows + found, left_out


def _ended(layout: Layout, ended: tuple[Status, ...], most: int | None) -> tuple[list[Row], int]:
    """The newest tasks that have ended, and how many were left out.

    What ended last is at the end of the log; only if that does not know enough are the names of all
    looked through.
    """
    count = sum(scan.counts(layout, ended).values())
    newest = recent(layout, count if most is None else min(most, count), ended)
    if most is not None and len(newest) >= min(most, count):
        return newest, count - len(newest)
    names = {
        task_id: (status, name)
        for status in ended
        for task_id, name in scan.task_names(layout.folder(status))
    }
    rest = set(names) - {row.id for row in newest}
    room = len(rest) if most is None else max(0, most - len(newest))
    older = [
        finished_row(layout, task_id, *names[task_id], results.read(layout, task_id))
        for task_id in heapq.nlargest(room, rest)
    ]
    return newest + older, len(rest) - len(older)


def labels_of(layout: Layout, task_id: str) -> set[str]:
    """The labels in a task's file; none if it has gone or cannot be read."""
    place = scan.locate(layout, task_id)
    request = world.request_of(layout, *place) if place is not None else None
    return set(request.task.labels) if request is not None and request.task is not None else set()


def agent_of(layout: Layout, row: Row) -> str:
    """The agent of a task: who acted, or else whom its file names; empty if neither is known."""
    if row.agent:
        return row.agent
    place = scan.locate(layout, row.id)
    request = world.request_of(layout, *place) if place is not None else None
    return (request.task.agent or "") if request is not None and request.task is not None else ""


SLACK = 3600.0  # seconds by which events may lie outside of what files and journal tell of a task


def _span(
    layout: Layout,
    journal: Journal | None,
    result: Mapping[str, Any],
    status: Status,
    name: str,
    now: float,
) -> tuple[str, str, str]:
    """The day before which nothing can have happened to a task, and the span in which all did, if
    it has ended here.

    Each of its moves gives its file another change time, and what else happens to it is in its
    journal.
    """
    day = _first_day(layout, journal, status, name)
    known = (
        journal is not None and journal.phase is journal_model.Phase.FINAL and "at" in journal.claim
    )
    moments = [journal.claim["at"], journal.last.get("at", 0.0)] if journal and known else []
    try:
        if not moments and journal is None:  # of another clone, or from before .state was removed
            moments = [when(str(result[key])) for key in ("started_at", "finished_at")]
        moved = os.lstat(layout.file(status, name))
    except (OSError, KeyError, ValueError):
        return day, "", ""
    moments = [moment for moment in moments if moment]
    if not moments or status not in (*FINISHED, Status.ARCHIVE):
        return day, "", ""
    began = min(*moments, moved.st_mtime) - SLACK
    ended = max(*moments, moved.st_ctime) + SLACK
    return day, timestamp(began), timestamp(ended) if ended < now else ""


def _first_day(layout: Layout, journal: Journal | None, status: Status, name: str) -> str:
    """The day before which nothing can have happened to a task: that of its file or of its first
    claim."""
    moments = [
        facts.started["at"]
        for facts in (journal.attempts if journal else ())
        if "at" in facts.started
    ]
    moments += [journal.claim["at"]] if journal and "at" in journal.claim else []
    try:
        moments.append(os.lstat(layout.file(status, name)).st_mtime)
    except OSError:
        pass
    return timestamp(min(moments) - 86400)[:10] if moments else ""


@dataclass(slots=True)
class Story:
    """Everything ``show`` tells of one task."""

    row: Row
    request: Request | None
    result: Mapping[str, Any]
    journal: Journal | None
    note: str
    history: Sequence[Mapping[str, Any]]
    text: str = ""
    prompt: str = ""
    untold: Sequence[str] = ()  # replies that its agent has not been told of yet, as files


def story(layout: Layout, task_id: str, status: Status, name: str, now: float) -> Story:
    """The whole story of one task: its file, its journal, its result, its events."""
    request = world.request_of(layout, status, name)
    journal = journals.of(layout, task_id)
    found = results.read(layout, task_id)
    if status is Status.RUNNING and journal is not None and journal.claim:
        row = _running_row(layout, journal, now, world.Known(layout, now))
    elif status in WAITING:
        known = world.Known(layout, now)
        judged = known.judge.file(status, name)
        if judged.problem is not None and status is Status.INBOX:
            row = _invalid_row(layout, name, judged)
        else:
            row = waiting_row(layout, status, name, now, known)
    else:
        row = finished_row(layout, task_id, status, name, found)
    task = request.task if request else None
    if task is not None:
        row.title = row.title or one_line(task.title, 200)
    span = _span(layout, journal, found, status, name, now)
    history = eventreader.about(layout, "task_id", task_id, *span)
    note = tail(layout.note(task_id), 1 << 16) if row.status == "invalid" else ""
    return Story(
        row,
        request,
        found,
        journal,
        note,
        history,
        text=request.document.text if request else "",
        prompt=task.prompt if task else "",
        untold=[
            layout.shown(layout.file(folder, name))
            for folder, name in replies.names_of(layout, task_id)
        ],
    )
