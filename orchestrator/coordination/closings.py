"""What is closed for now, whoever waits for it: parked tools, reserved plans, runs that are being judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.clock import Clock
from orchestrator.coordination import reserving
from orchestrator.coordination.groups import Groups
from orchestrator.coordination.life import Life
from orchestrator.coordination.settings import Settings
from orchestrator.files import parked, scan
from orchestrator.files.layout import Layout
from orchestrator.model.admission import ending_gate
from orchestrator.model.gates import Gate
from orchestrator.store.transitions import Store


class Closings:
    """Gates that stand before many tasks at once."""

    def __init__(
        self, layout: Layout, settings: Settings, store: Store, groups: Groups, clock: Clock
    ) -> None:
        self.layout, self.settings, self.store = layout, settings, store
        self.groups, self.clock = groups, clock
        self.parked: dict[str, Gate] = {}  # by tool

    def look(self, writable: bool) -> list[str]:
        """Read ``parked/``; the tools whose time is over, whose files have gone with this."""
        wall = self.clock.wall()
        if writable:
            for again in parked.set_back(self.layout, wall):
                self.store.park(*again)
        self.parked = parked.gates(self.layout, wall)
        over = []
        for name in scan.names(self.layout.folder("parked")) if writable else ():
            tool = name.removesuffix(".yaml")
            if name.endswith(".yaml") and not name.startswith(".") and tool not in self.parked:
                self.store.unpark(tool)
                over.append(tool)
        return over

    @property
    def ends(self) -> Iterator[float]:
        """When (wall clock) each parked tool may start again."""
        return (gate.until for gate in self.parked.values() if gate.until is not None)

    def gates(self, running: Iterable[Life]) -> dict[tuple[str, str], Gate]:
        """All of them, by kind and name."""
        tools = {("tool", tool): gate for tool, gate in self.parked.items()}
        reserved = reserving.gates(self.layout, self.settings.config, self.clock.wall())
        return {**tools, **reserved, **self._endings(running)}

    def _endings(self, running: Iterable[Life]) -> dict[tuple[str, str], Gate]:
        """Runs that stop at a failure start nothing while it is not known yet how one of their tasks has ended."""
        found = {}
        for life in running:
            run = self.groups.get(life.task.run) if life.ending else None
            if run is not None and run.on_failure == "stop":
                found["run", run.id] = ending_gate(life.id)
        return found
