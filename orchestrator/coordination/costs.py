"""What attempts cost: counted when they have ended, looked at while they run, told when a soft
limit is passed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.coordination.accounting import so_far
from orchestrator.coordination.alone import Alone
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.coordination.notes import Notes
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.spending import Spending, Today
from orchestrator.model.budget import Scope
from orchestrator.model.result import Reading

LOOK = 1.0  # seconds between looks at what running attempts have cost, where a budget ends them


class Costs:
    """Goes by the budgets that are configured now."""

    def __init__(
        self,
        settings: Settings,
        running: Mapping[str, Life],
        spending: Spending,
        today: Today,
        alone: Alone,
        notes: Notes,
        listener: Listener,
    ) -> None:
        self.settings, self.running = settings, running
        self.spending, self.today, self.alone = spending, today, alone
        self.notes, self.listener = notes, listener
        self._due = 0.0

    def count(self, ended: Iterable[tuple[Life, Reading]]) -> None:
        """Count these attempts, and tell of the limits that are passed."""
        for life, reading in ended:
            self.alone.ended(life.route.tool.name, reading)
            self.today.add(reading.cost_usd, reading.usage)
            self.spending.count(life, reading)
        passed, self.spending.passed = self.spending.passed, []
        for scope, text in passed:
            self._tell(scope, text)

    def overrun(self, now: float) -> Mapping[str, str]:
        """Ids of the running tasks that are to be stopped now (monotonic) because a budget is
        spent, and why."""
        if not self._matter or now < self._due:
            return {}
        self._due = now + LOOK
        return self.spending.overrun(*so_far(self.running.values()))

    def next_look(self) -> list[float]:
        """When (monotonic) to look again."""
        return [self._due] if self._matter else []

    @property
    def _matter(self) -> bool:
        """Whether a budget may end what runs."""
        return self.settings.config.budgets.cancel and bool(self.running)

    def _tell(self, scope: Scope, text: str) -> None:
        kind, name = scope
        about = {"agent": {"agent": name}, "run": {"run_id": name}}.get(kind, {})
        said = {"attempt": self.today.day, "phase": "budget", "summary": text, **about}
        self.notes.write("budget_exceeded", f"budget/{'-'.join(scope)}", **said)
        self.listener.hear(Remark(About.BUDGET, name, text))
