"""Budgets as the watcher keeps them: read from the event log once a day (and at every start), then
counted on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence

from orchestrator import waiting
from orchestrator.clock import Clock
from orchestrator.coordination.groups import Groups
from orchestrator.coordination.life import Life
from orchestrator.errors import MACHINE
from orchestrator.files import spending
from orchestrator.files.layout import Layout
from orchestrator.model.budget import (
    DOLLARS,
    TOKENS,
    Budgets,
    Running,
    Scope,
    Spent,
    file_limits,
    overrun,
    passed,
    spent_gates,
    warnings,
)
from orchestrator.model.gates import Gate, Lane
from orchestrator.model.result import Reading
from orchestrator.model.run import Run
from orchestrator.model.units import HOUR, timestamp
from orchestrator.model.usage import counted

AGAIN = 5.0  # seconds until a machine that refused is asked again


class Today:
    """What this day (of UTC, as budgets have it) has cost: what the log had when the watcher
    started, and what has ended since."""

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self._layout, self._clock = layout, clock
        self._since = timestamp(clock.wall())
        self.day, self.cost, self.tokens = self._since[:10], 0.0, 0

    def before(self) -> tuple[str, float, int]:
        """Day, dollars and tokens that the log had. Takes a while on a busy day: not for the
        loop."""
        return (self._since[:10], *spending.totals(self._layout, self._since[:10], self._since))

    def include(self, day: str, cost: float, tokens: int) -> None:
        """Count what the log had, if it is still that day."""
        self.turn()
        if day == self.day:
            self.cost, self.tokens = self.cost + cost, self.tokens + tokens

    async def load(self) -> None:
        """Count what the log had, once it is read; the loop goes on meanwhile."""
        while True:
            try:
                return self.include(*await waiting.beside(self.before))
            except OSError as error:
                if error.errno not in MACHINE:
                    raise
            await asyncio.sleep(AGAIN)

    def add(self, cost: float | None, usage: Mapping[str, int]) -> None:
        """An attempt has ended."""
        self.turn()
        self.cost += cost or 0.0
        self.tokens += usage.get("input", 0) + usage.get("output", 0)

    def turn(self) -> None:
        """A new day begins with nothing."""
        day = timestamp(self._clock.wall())[:10]
        if day != self.day:
            self.day, self.cost, self.tokens = day, 0.0, 0


class Spending:
    """``passed`` are the soft limits that were passed since somebody took them, each once: scope
    and words."""

    def __init__(
        self,
        layout: Layout,
        budgets: Budgets,
        groups: Groups,
        clock: Clock,
    ) -> None:
        self._layout, self._budgets = layout, budgets
        self._groups, self._clock = groups, clock
        self.passed: list[tuple[Scope, str]] = []
        self._spent, self._tokens = Spent(), Spent()
        self._begun: list[tuple[float, str]] | None = None  # of the last hour; None: not read yet
        self._warned: set[tuple[Scope, str]] = set()
        self._active = budgets != Budgets()

    def limit(self, budgets: Budgets) -> None:
        """From now on these are the budgets."""
        if budgets == self._budgets:
            return
        if not self._active:
            self._spent.day = (
                ""  # so far only what ended here was counted: the log knows the whole day
            )
        self._budgets, self._active = budgets, budgets != Budgets()
        self._begun = None
        self._warned.clear()

    def add(self, agent: str, run: str, cost: float | None, tokens: int) -> None:
        """An attempt has ended; its event is in the log, or about to be."""
        if cost or tokens:
            self._today()
            self._spent.add(agent, run, cost or 0.0)
            self._tokens.add(agent, run, tokens)
            self._tell()

    def count(self, life: Life, reading: Reading) -> None:
        """As `add`, and what the task has cost so far."""
        agent, run = life.route.agent.name, life.task.run or ""
        self.add(agent, run, reading.cost_usd, counted(reading.usage))
        if reading.cost_usd:
            self.task(life.id, life.cost)

    def begins(self, agent: str) -> None:
        """An attempt begins now."""
        if self._budgets.paced:
            self._recent().append((self._clock.wall(), agent))

    def _recent(self) -> list[tuple[float, str]]:
        since = self._clock.wall() - HOUR
        if self._begun is None:
            self._begun = spending.begun(self._layout, since)
        self._begun = [item for item in self._begun if item[0] > since]
        return self._begun

    def gates(self, lanes: Iterable[Lane]) -> list[dict[Scope, Gate]]:
        """The gates that are closed for these lanes because a budget is spent, by what is
        counted."""
        runs = self._limited({lane.run for lane in lanes})
        if not self._active and not runs:
            return []
        self._today()
        begun = self._recent() if self._budgets.paced else ()
        spent = (self._spent, self._tokens)
        return spent_gates(self._budgets, spent, runs, begun, self._clock.wall())

    def task(self, task_id: str, cost: float) -> None:
        """An attempt of this task has ended; ``cost`` is that of all its attempts."""
        soft = self._budgets.task.soft
        if (
            soft is not None
            and cost >= soft
            and (known := (("task", task_id), "")) not in self._warned
        ):
            self._warned.add(known)
            self.passed.append((known[0], passed(f"task {task_id}", cost, soft)))

    def overrun(self, dollars: Sequence[Running], tokens: Sequence[Running]) -> dict[str, str]:
        """Those of the running attempts that a hard limit ends, and why; the same attempts in both
        units."""
        if not self._budgets.cancel or not dollars:
            return {}
        self._today()
        runs = self._limited({item.run for item in dollars})
        budgets, of_files = self._budgets, (file_limits(runs, DOLLARS), file_limits(runs, TOKENS))
        found = overrun(budgets, self._tokens, of_files[1], tokens, TOKENS)
        return found | overrun(budgets, self._spent, of_files[0], dollars, DOLLARS)

    def _limited(self, run_ids: Iterable[str]) -> list[Run]:
        """Those of these runs that have a limit; from now on it is counted what they have cost."""
        limited = []
        for run_id in run_ids:
            run = self._groups.get(run_id) if run_id else None
            if run is None or not self._budgets.limit_run(run):
                continue
            limited.append(run)
            if run.id not in self._spent.runs:
                spent = spending.both_of_run(self._layout, run.id)
                self._spent.runs[run.id], self._tokens.runs[run.id] = spent
        return limited

    def _today(self) -> None:
        day = time.strftime("%Y-%m-%d", time.gmtime(self._clock.wall()))
        if day != self._spent.day:
            runs = self._spent.runs, self._tokens.runs
            self._spent, self._tokens = Spent(day), Spent(day)
            if self._active:
                self._spent, self._tokens = spending.of_day(self._layout, day)
            self._spent.runs, self._tokens.runs = runs
            self._tell()

    def _tell(self) -> None:
        for scope, text in warnings(self._budgets, self._spent).items():
            known = (scope, "" if scope[0] == "run" else self._spent.day)
            if known not in self._warned:
                self._warned.add(known)
                self.passed.append((scope, text))
