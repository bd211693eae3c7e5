"""Tools of which one attempt starts first, alone: after a limit, and where a program's first run
prepares its home.

When a limit's time is over nobody knows whether it is: ten waiting tasks would meet it ten times.
And some programs migrate a database when they first run, which four at once do not survive. The
rest follow when the first attempt has its first answer, has succeeded, or after `PATIENCE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from orchestrator.coordination.life import Life
from orchestrator.model.gates import Lane, Limits
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
from orchestrator.records import dataclass
from orchestrator.tools.specs import ToolSpec

PATIENCE = 60.0  # seconds that the others wait for the first answer
LOOK = 0.5  # seconds between looks for it


@dataclass(slots=True)
class Alone:
    """By tool: when its first attempt began (monotonic; None: not yet)."""

    began: dict[str, float | None] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)  # tools whose first run was seen to

    def begin(self, tool: str) -> None:
        """One attempt of this tool first."""
        self.began[tool] = None

    def ended(self, tool: str, reading: Reading) -> None:
        """An attempt has ended: if it succeeded the tool works, and the rest may start."""
        if reading.outcome is Outcome.SUCCEEDED:
            self.began.pop(tool, None)

    def limited(
        self, limits: Limits, lanes: Iterable[Lane], tools: Mapping[str, ToolSpec]
    ) -> Limits:
        """The limits, with 1 for tools of which one attempt is to start first."""
        for name in {lane.tool for lane in lanes} - self.met:
            self.met.add(name)
            if name in tools and tools[name].first_alone:
                self.begin(name)
        return self.capped(limits)

    def capped(self, limits: Limits) -> Limits:
        """These limits, with 1 for tools of which one attempt is on its way."""
        if not self.began:
            return limits
        ones = {tool: min(1, limits.per_tool.get(tool, 1)) for tool in self.began}
        return replace(limits, per_tool={**limits.per_tool, **ones})

    def look(self, lives: Iterable[Life], now: float) -> None:
        """See whether the first attempts have answered."""
        for life in list(lives) if self.began else ():
            tool = life.route.tool.name
            if life.handle is None or tool not in self.began:
                continue
            began = self.began[tool]
            if began is None:
                self.began[tool] = began = now
            if life.progress is not None:
                life.progress.look()
            answered = life.progress is not None and life.progress.answered
            if answered or now - began >= PATIENCE:
                self.began.pop(tool)

    def next_look(self, now: float) -> list[float]:
        """When to look again."""
        return [now + LOOK] if self.began else []
