"""Starting what is due and has a slot, the most urgent first."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.clock import Clock
from orchestrator.coordination import remembering
from orchestrator.coordination.changes import Changes
from orchestrator.coordination.claiming import Claiming
from orchestrator.coordination.health import Health
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.holds import Holds
from orchestrator.coordination.life import Life
from orchestrator.coordination.liveworld import LiveWorld
from orchestrator.coordination.rereading import Rereading
from orchestrator.coordination.runningtasks import RunningTasks
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.signals import Signals
from orchestrator.coordination.stateguard import StateGuard
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.model.choice import Candidate, choose
from orchestrator.model.gates import limit_gates

BATCH = 16  # tasks started in one pass, so that ends and keys are noticed in between


class Starts:
    """``once``: only what can start now does.  ``over``: that was all, and nothing more starts."""

    def __init__(
        self,
        settings: Settings,
        running: Mapping[str, Life],
        waitlist: Waitlist,
        liveworld: LiveWorld,
        holds: Holds,
        claiming: Claiming,
        runningtasks: RunningTasks,
        rereading: Rereading,
        changes: Changes,
        health: Health,
        state: StateGuard,
        signals: Signals,
        hints: Hints,
        clock: Clock,
    ) -> None:
        self.settings, self.running, self.waitlist = settings, running, waitlist
        self.liveworld, self.holds = liveworld, holds
        self.claiming, self.runningtasks = claiming, runningtasks
        self.rereading, self.changes = rereading, changes
        self.health, self.state, self.signals = health, state, signals
        self.hints, self.clock = hints, clock
        self.once = False
        self.over = False

    def look(self) -> None:
        """Start as many as fit."""
        self._line_up_retries()
        if not self._may() or not len(self.waitlist.tasks.ready) or self.rereading.guides_change():
            return
        for candidate in self._chosen(BATCH):
            if self.holds.changed():
                self.hints.stir()  # the next pass looks what is held now
                break
            if not self._may():
                break
            self._start(candidate)

    def more(self) -> bool:
        """Whether something could start in the next pass."""
        return bool(len(self.waitlist.tasks.ready)) and self._may() and bool(self._chosen(1))

    def next_look(self) -> list[float]:
        """When (monotonic) the next attempts are due."""
        return [
            life.retry_at
            for life in self.running.values()
            if life.retry_at is not None and life.id not in self.waitlist.tasks.ready
        ]

    def _may(self) -> bool:
        if self.once and self.waitlist.resting:
            return False  # files that still rest are part of what can start now
        kept = (
            self.signals.draining
            or self.signals.leave
            or self.health.fault
            or self.state.problem
            or self.changes.asking
        )
        return not kept and not self.over

    def _chosen(self, most: int) -> list[Candidate]:
        return choose(
            self.waitlist.tasks.ready.lanes, self.liveworld.limits, self.liveworld.use, most
        )

    def _line_up_retries(self) -> None:
        now, ready = self.clock.monotonic(), self.waitlist.tasks.ready
        for life in self.running.values():
            due = life.retry_at is not None and life.retry_at <= now
            if due and life.id not in ready:
                remembering.route_again(self.settings, life)
                ready.add(Candidate(life.task.rank, life.submitted, life.id, life.lane))

    def _start(self, candidate: Candidate) -> None:
        self.waitlist.tasks.ready.remove(candidate.id)
        life = self.running.get(candidate.id)
        if life is None:
            self._claim(candidate)
        elif limit_gates(candidate.lane, self.liveworld.limits, self.liveworld.use):
            self.waitlist.tasks.ready.add(candidate)  # what began just now leaves no room for it
        else:
            self.runningtasks.start_again(life)

    def _claim(self, candidate: Candidate) -> None:
        begun = self.claiming.begin(
            self.waitlist.tasks.waiting[self.waitlist.tasks.names[candidate.id]]
        )
        if begun is not None:
            self.runningtasks.start(*begun)
