"""What is closed for now, whoever waits for it: reserved plans, runs that are being judged."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.clock import Clock
from orchestrator.coordination import reserving
from orchestrator.coordination.groups import Groups
from orchestrator.coordination.life import Life
from orchestrator.coordination.settings import Settings
from orchestrator.files.layout import Layout
from orchestrator.model.admission import ending_gate
from orchestrator.model.gates import Gate


class Closings:
    """Gates that stand before many tasks at once."""

    def __init__(self, layout: Layout, settings: Settings, groups: Groups, clock: Clock) -> None:
        self.layout, self.settings = layout, settings
        self.groups, self.clock = groups, clock

    def gates(self, running: Iterable[Life]) -> dict[tuple[str, str], Gate]:
        """All of them, by kind and name."""
        reserved = reserving.gates(self.layout, self.settings.config, self.clock.wall())
        return {**reserved, **self._endings(running)}

    def _endings(self, running: Iterable[Life]) -> dict[tuple[str, str], Gate]:
        """Runs that stop at a failure start nothing while it is not known yet how one of their tasks has ended."""
        found = {}
        for life in running:
            run = self.groups.get(life.task.run) if life.ending else None
            if run is not None and run.on_failure == "stop":
                found["run", run.id] = ending_gate(life.id)
        return found
