"""Budgets as the watcher keeps them: read from the event log once a day (and at every start), then counted on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from orchestrator.coordination.groups import Groups
from orchestrator.files import spending
from orchestrator.files.layout import Layout
from orchestrator.model.budget import DAY, Budgets, Scope, Spent, closed, warnings
from orchestrator.model.gates import Gate, Lane


class Spending:
    """``warn(scope, text)`` is called once for every soft limit that is passed."""

    def __init__(self, layout: Layout, budgets: Budgets, groups: Groups, clock: Callable[[], float],
                 warn: Callable[[Scope, str], None]) -> None:
        self._layout, self._budgets, self._groups, self._clock, self._warn = layout, budgets, groups, clock, warn
        self._spent = Spent()
        self._warned: set[tuple[Scope, str]] = set()
        self._active = budgets != Budgets()

    def add(self, agent: str, run: str, cost: float | None) -> None:
        """An attempt has ended; its event is in the log, or about to be."""
        if cost:
            self._today()
            self._spent.add(agent, run, cost)
            self._tell()

    def gates(self, lanes: Iterable[Lane]) -> dict[Scope, Gate]:
        """The gates that are closed for these lanes because a budget is spent."""
        limits: dict[str, float | None] = {}
        for lane in lanes:
            run = self._groups.get(lane.run) if lane.run else None
            if run is not None and (run.max_cost is not None or self._budgets.run.hard is not None):
                limits[lane.run] = run.max_cost
                if lane.run not in self._spent.runs:
                    self._spent.runs[lane.run] = spending.of_run(self._layout, lane.run)
        if not self._active and not limits:
            return {}
        self._today()
        return closed(self._budgets, self._spent, limits, (self._clock() // DAY + 1) * DAY)

    def _today(self) -> None:
        day = time.strftime("%Y-%m-%d", time.gmtime(self._clock()))
        if day != self._spent.day:
            runs = self._spent.runs
            self._spent = spending.of_day(self._layout, day) if self._active else Spent(day)
            self._spent.runs = runs
            self._tell()

    def _tell(self) -> None:
        for scope, text in warnings(self._budgets, self._spent).items():
            known = (scope, "" if scope[0] == "run" else self._spent.day)
            if known not in self._warned:
                self._warned.add(known)
                self._warn(scope, text)
