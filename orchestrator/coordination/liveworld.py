"""The `World` that admission is asked with, filled from what the watcher keeps in memory: what
counts at this moment, with everything that is closed. `queries.world` fills the same one from
files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.clock import Clock
from orchestrator.coordination import reserving
from orchestrator.coordination.alone import Alone
from orchestrator.coordination.groups import Groups
from orchestrator.coordination.health import Health
from orchestrator.coordination.holds import Holds
from orchestrator.coordination.life import Life
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.signals import Signals
from orchestrator.coordination.spending import Spending
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.files.layout import Layout
from orchestrator.model.admission import Watching, World, ending_gate
from orchestrator.model.gates import Gate, InUse, Limits, together
from orchestrator.model.status import Status
from orchestrator.records import dataclass

AGAIN = 1.0  # seconds between looks at a gate that ought to be open


@dataclass(slots=True)
class LiveWorld:
    """Asks the rooms of the watcher what each of them knows. ``use`` is what the running tasks have
    of the limits."""

    layout: Layout
    settings: Settings
    groups: Groups
    waitlist: Waitlist
    running: Mapping[str, Life]
    spending: Spending
    alone: Alone
    holds: Holds
    use: InUse
    health: Health
    signals: Signals
    clock: Clock

    @property
    def limits(self) -> Limits:
        """The configured limits, those of the runs whose tasks wait, and what is closed."""
        lanes = self.waitlist.tasks.ready.lanes
        limits = self.groups.limited(self.settings.config.limits, lanes)
        limits = self.alone.limited(limits, lanes, self.settings.toolbox.tools)
        closed = together(self._endings(), *self.spending.gates(lanes), self._reserved())
        if not closed and not self.holds.gates:
            return limits
        return replace(limits, closed=closed, held=self.holds.gates)

    def seconds_left(self, now: float) -> list[float]:
        """In how many seconds each gate opens that knows when, of those that keep tasks which could
        start; what is over and still closed is looked at again soon."""
        if not len(self.waitlist.tasks.ready):
            return []
        closed = (gate for gates in self.limits.closed.values() for gate in gates)
        left = (gate.until - now for gate in closed if gate.until is not None)
        return [seconds if seconds > 0 else AGAIN for seconds in left]

    @property
    def watching(self) -> Watching:
        """What keeps this watcher from starting anything."""
        return Watching(True, self.health.fault, self.signals.draining)

    def world(self, status_of: Callable[[str], Status | None] | None = None) -> World:
        """What admission depends on; ``status_of`` if that is to be asked anew."""
        known = replace(
            self.waitlist.tasks.world(), limits=self.limits, use=self.use, watching=self.watching
        )
        return replace(known, status_of=status_of) if status_of else known

    def _reserved(self) -> dict[tuple[str, str], Gate]:
        return reserving.gates(self.layout, self.settings.config, self.clock.wall())

    def _endings(self) -> dict[tuple[str, str], Gate]:
        """Runs that stop at a failure start nothing while it is not known yet how one of their
        tasks has ended."""
        found = {}
        for life in self.running.values():
            run = self.groups.get(life.task.run) if life.ending else None
            if run is not None and run.on_failure == "stop":
                found["run", run.id] = ending_gate(life.id)
        return found
