"""What admission depends on, found by reading: the same `World` that the watcher fills from memory.

One `Known` is one look at the work directory, taken piece by piece as it is asked for and kept:
every row of one answer is judged by the same facts, and nothing is listed twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.files import (
    asks,
    card,
    documents,
    editing,
    eventreader,
    holds,
    journals,
    opening,
    quotas,
    requests,
    results,
    runrecords,
    scan,
    spending,
)
from orchestrator.files.layout import Layout, stem_of
from orchestrator.files.text import one_line
from orchestrator.model import admission, hold, quota
from orchestrator.model import gates as gates_model
from orchestrator.model import journal as journal_model
from orchestrator.model import place as place_model
from orchestrator.model import task as task_model
from orchestrator.model.budget import Budgets, Spent, spent_gates
from orchestrator.model.status import Status
from orchestrator.model.units import HOUR, show_duration, timestamp
from orchestrator.queries import settings, validity, verdicts
from orchestrator.records import replace

if TYPE_CHECKING:
    from orchestrator.model.config import Config
    from orchestrator.model.gates import Gate, Limits
    from orchestrator.model.hold import Scope
    from orchestrator.model.isolation import Change
    from orchestrator.model.journal import Journal
    from orchestrator.model.quota import Window
    from orchestrator.model.run import Run
    from orchestrator.queries.validity import Judged

JUDGED = 1000  # files of the inbox that one look judges
ENDS = 2000  # lines of the log that are looked at for how tasks ended
FRESH = 5.0  # seconds for which a file is younger than what a watcher is sure to have seen


class Known:
    """One look at a work directory at ``now`` (seconds since the epoch)."""

    def __init__(self, layout: Layout, now: float) -> None:
        self.layout, self.now = layout, now
        self._runs: dict[str, Run | None] = {}
        self._statuses: dict[str, Status | None] = {}
        self._folders = scan.Look()
        self._tasks: dict[Status, list[tuple[str, str]]] = {}

    # -- the answer
    # ----------------------------------------------------------------------------------------------

    def gates(
        self,
        task: task_model.Task,
        name: str,
        watcher: bool = True,
        judged: Judged | None = None,
    ) -> list[Gate]:
        """What keeps a task of the inbox from starting. Without ``watcher``: apart from the watcher
        itself. ``judged``: the file as it was judged in this look, which is not read again."""
        request = requests.Request(task.id, name, documents.Document(""), task=task)
        sha256 = judged.sha256 if judged is not None else ""
        path = self.layout.file("inbox", name)
        ask = admission.Ask(
            task,
            self.in_force.lane(task),
            approval=self.verdicts.of(request, name, sha256).gate,
            editing=judged.held if judged is not None else editing.held(path),
        )
        found = admission.admit(ask, self.world(ask.lane))
        return [gate for gate in found if watcher or gate.name not in admission.PROCESS]

    def retry_gates(self, journal: Journal, watcher: bool = True) -> list[Gate]:
        """What keeps the next attempt of a claimed task from starting."""
        ask = self.asks_again(journal)
        found = admission.admit(ask, self.world(ask.lane))
        return [gate for gate in found if watcher or gate.name not in admission.PROCESS]

    def asks_again(self, journal: Journal) -> admission.Ask:
        """The next attempt of a claimed task, as admission sees it."""
        task = task_model.Task(journal.task_id, run=journal.claim.get("run"))
        retry = admission.Retry(journal.next_attempt, journal.last.get("not_before", self.now))
        return admission.Ask(task, lane_of(journal), retry=retry)

    def world(self, lane: gates_model.Lane) -> admission.World:
        """What the answer for a task of this lane depends on."""
        run = self.run_of(lane.run) if lane.run else None
        return admission.World(
            self.now,
            self.status_of,
            self.run_of,
            self.limits_of([run] if run is not None else []),
            self.use,
            self.watching,
            unmerged=self.unmerged,
        )

    def limits_of(self, runs: Iterable[Run]) -> Limits:
        """The limits for tasks of these runs and of none, with what is held and closed."""
        listed = list(runs)
        per_run = {run.id: run.max_parallel for run in listed if run.max_parallel}
        limits, closed = self.in_force.limits, self._closed(listed)
        return replace(limits, per_run=per_run, held=self.held, closed=closed)

    # -- the facts
    # ----------------------------------------------------------------------------------------------

    def names(self, folder: str) -> list[str]:
        """The names in a folder, which is listed once."""
        return self._folders.names(folder)

    def tasks_in(self, status: Status) -> list[tuple[str, str]]:
        """``(id, file name)`` of the tasks whose files are in this folder, in their order."""
        if status not in self._tasks:
            self._tasks[status] = scan.sorted_names(self.layout.folder(status), self.names)
        return self._tasks[status]

    @cached_property
    def card(self) -> card.Card | None:
        """What the watcher says of itself."""
        return card.read(self.layout, self.now)

    @cached_property
    def watching(self) -> admission.Watching:
        """Whether somebody watches who would start it."""
        found = self.card
        if found is None or not found.alive:
            return admission.Watching(alive=False, settings=self.refusal)
        silent = "" if found.answers else show_duration(found.beat)
        settings = found.settings if found.settings_wait else ""
        return admission.Watching(True, found.fault, found.draining, silent, settings)

    @cached_property
    def refusal(self) -> str:
        """Why the settings kept the last watcher from starting anything; empty if they did not, or
        have changed since."""
        try:
            with opening.open_file(self.layout.refusal) as file:
                told = os.fstat(file.fileno()).st_mtime_ns
                text = file.read(opening.MOST).decode("utf-8", "replace")
        except OSError:
            return ""
        return one_line(text, 400) if (self.settings.changed or 0) <= told else ""

    @cached_property
    def in_force(self) -> admission.InForce:
        """The settings in force: what the living watcher says, else what its next start will
        read."""
        if self.card is not None and self.card.alive and self.card.in_force is not None:
            return self.card.in_force
        return admission.in_force(self.config) if self.config is not None else admission.InForce()

    @cached_property
    def settings(self) -> settings.Settings:
        """The settings as the files have them now."""
        return settings.Settings(self.layout)

    @property
    def config(self) -> Config | None:
        """What is configured; None if that cannot be read."""
        return self.settings.config

    @cached_property
    def journals(self) -> list[Journal]:
        """Of the tasks that are claimed and not finished."""
        return journals.active(self.layout)

    @cached_property
    def use(self) -> gates_model.InUse:
        """The attempts that have a slot. One that has ended has it until its end is judged; one
        that asks a person has only its locks."""
        use, lent = gates_model.InUse(), 0
        asking = {ask.task_id for ask in self.asks}
        for journal in self.journals:
            if journal.phase not in (
                journal_model.Phase.CLAIMED,
                journal_model.Phase.DISPATCHED,
                journal_model.Phase.STARTED,
                journal_model.Phase.ENDED,
            ):
                continue
            if journal.task_id in asking and lent < self.in_force.limits.asking:
                lent += 1
                use.lock(lane_of(journal))
            else:
                use.count(lane_of(journal))
        return use

    @cached_property
    def asks(self) -> list[asks.Ask]:
        """The questions of agents that run and wait for an answer."""
        return asks.unanswered(self.layout)

    @cached_property
    def holds(self) -> list[hold.Hold]:
        """What is held beside single tasks, also what was held until a time that is over."""
        return holds.listed(self.layout, self.names)

    @cached_property
    def held(self) -> dict[Scope, Gate]:
        """The gates of what is held now beside single tasks."""
        return hold.gates(self.holds, self.now)

    @cached_property
    def ends(self) -> list[dict[str, Any]]:
        """How tasks ended lately, the newest first."""
        return list(eventreader.ends(self.layout, ENDS))

    @cached_property
    def quotas(self) -> dict[str, list[Window]]:
        """What tools last said of their plans' windows."""
        return quotas.read(self.layout, self.now)

    @cached_property
    def judge(self) -> validity.Judge:
        """Says whether a file can run as written."""
        return validity.Judge(self.settings)

    @cached_property
    def invalid(self) -> dict[str, Judged]:
        """The files of the inbox, by name, that cannot run as written.

        A watcher that answers has judged what rests: then only what it complained of or an editor
        holds is judged here. Without one every file is, up to `JUDGED` of them.
        """
        names = sorted(name for _, name in self.tasks_in(Status.INBOX))
        if self.watching.answers:
            names = [
                name
                for name in names
                if os.path.exists(self.layout.note(stem_of(name)))
                or editing.in_editor(self.layout.file("inbox", name))
                or _age(self.layout.file(Status.INBOX, name), self.now) < FRESH
            ]
        judged = {name: self.judge.file(Status.INBOX, name) for name in names[:JUDGED]}
        return {name: found for name, found in judged.items() if found.problem is not None}

    def status_of(self, task_id: str) -> Status | None:
        """Where a needed task is."""
        if task_id not in self._statuses:
            self._statuses[task_id] = results.status_of(self.layout, task_id)
        return self._statuses[task_id]

    def unmerged(self, task_id: str) -> Change | None:
        """The change of a done task that nobody has merged."""
        return results.unmerged(self.layout, task_id)

    def run_of(self, run_id: str) -> Run | None:
        """What an accepted run allows; None if there is none of this id."""
        if run_id not in self._runs:
            place = runrecords.place(self.layout, run_id)
            request = request_of(self.layout, *place) if place is not None else None
            self._runs[run_id] = request.run if request is not None else None
        return self._runs[run_id]

    def _closed(self, runs: list[Run]) -> dict[Scope, tuple[Gate, ...]]:
        """All that is closed beside single tasks, for these runs too."""
        endings = (_ending(self.journals, run) for run in runs if run.on_failure == "stop")
        reserve, tools = self.in_force.limits.reserve, self.in_force.tools
        low = quota.reserved(reserve, tools, self.quotas, self.now) if reserve else {}
        return gates_model.together(*endings, *self._spent(runs), low)

    def _spent(self, runs: list[Run]) -> list[dict[Scope, Gate]]:
        """The gates of budgets, by what is counted."""
        budgets = self.in_force.budgets
        limited = [run for run in runs if budgets.limit_run(run)]
        if budgets == Budgets() and not limited:
            return []
        dollars, tokens = self.spent_today
        for run in limited:
            if run.id not in dollars.runs:
                spent = spending.both_of_run(self.layout, run.id)
                dollars.runs[run.id], tokens.runs[run.id] = spent
        begun = self.begun if budgets.paced else ()
        return spent_gates(budgets, (dollars, tokens), limited, begun, self.now)

    @cached_property
    def begun(self) -> list[tuple[float, str]]:
        """When attempts began within the last hour, and of which agents."""
        return spending.begun(self.layout, self.now - HOUR)

    @property
    def spent_budgets(self) -> dict[Scope, tuple[Gate, ...]]:
        """The gates of budgets of the day and of agents that are spent."""
        if not self.watching.alive and not self.settings.may_set("budgets"):
            return {}  # the usual case: nothing has to be read
        return gates_model.together(*self._spent([]))

    @cached_property
    def spent_today(self) -> tuple[Spent, Spent]:
        """In dollars and in tokens."""
        return spending.of_day(self.layout, timestamp(self.now)[:10])

    @cached_property
    def verdicts(self) -> verdicts.Verdicts:
        """What may count without a person's yes."""
        return verdicts.Verdicts(self.layout, self.now, self.in_force, self.settings)


def lane_of(journal: Journal) -> gates_model.Lane:
    """What the limits count a claimed task as."""
    acting = journal.acting
    claim = journal.claim
    return gates_model.Lane(
        acting.get("agent") or "",
        acting.get("tool") or "",
        claim.get("run") or "",
        tuple(claim.get("locks") or ()),
        bool(claim.get("low")),
        place_model.place_from(str(acting.get("on") or "")).lane,
    )


def request_of(layout: Layout, status: Status | str, name: str) -> requests.Request | None:
    """The parsed file of a task, without a check against the schema; None if it cannot be read."""
    path = layout.file(status, name)
    try:
        return requests.load(path, stem_of(name), requests.read(path).raw)
    except (OSError, requests.Unreadable):
        return None


def _ending(active: Iterable[Journal], run: Run) -> dict[Scope, Gate]:
    """The gate of a run of which an attempt has ended: it is not known yet how its task has."""
    for journal in active:
        ended = journal.phase is journal_model.Phase.ENDED
        if ended and journal.claim.get("run") == run.id:
            return {("run", run.id): admission.ending_gate(journal.task_id)}
    return {}


def _age(path: str, now: float) -> float:
    """Seconds since a file was written; endless if it is gone."""
    try:
        return now - os.lstat(path).st_mtime
    except OSError:
        return float("inf")
