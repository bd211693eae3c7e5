"""Taking over what the settings' files say now: when it counts, and what follows from it."""

from __future__ import annotations

from orchestrator.clock import Clock
from orchestrator.coordination.card import OwnCard
from orchestrator.coordination.changes import Changes
from orchestrator.coordination.news import Listener
from orchestrator.coordination.notes import Notes
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.spending import Spending
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.distributors.registry import Distributors


class Rereading:
    """Tells everybody who goes by the settings that they have changed."""

    def __init__(
        self,
        settings: Settings,
        changes: Changes,
        card: OwnCard,
        notes: Notes,
        spending: Spending,
        waitlist: Waitlist,
        distributors: Distributors,
        listener: Listener,
        clock: Clock,
    ) -> None:
        self.settings, self.changes, self.card = settings, changes, card
        self.notes, self.spending, self.waitlist = notes, spending, waitlist
        self.distributors, self.listener, self.clock = distributors, listener, clock

    def look(self, whole: bool = False) -> None:
        """Take what the settings' files say now; at once if a notification told that they are
        ``whole``."""
        asking = self.changes.asking
        if self.changes.look(self.clock.monotonic(), whole):
            self.read()
        elif asking and not self.changes.asking:  # they are what they were
            self.card.write()

    def read(self) -> None:
        """Take over what orchestrator.yaml, profiles and tool files say now, or tell what they
        would change."""
        asked = self.changes.asking
        changed = self.changes.read(self.listener, self.clock.monotonic())
        if self.changes.asking:
            if not asked:
                self.card.write()
            return
        self.card.settings_read()
        if changed:
            self._follow(changed)
        self.card.write()
        self.changes.settle()

    def warm_up(self) -> None:
        """Have what the waiting tasks will need made ahead."""
        slots = self.settings.config.limits.running
        waiting = max(1, len(self.waitlist.tasks.waiting))
        self.distributors.default.prepare(min(slots, waiting))

    def guides_change(self) -> bool:
        """Whether a person is at a file of instructions, of which no notification tells: what
        starts goes by the whole of it."""
        if not self.changes.acting and self.settings.guides_differ():
            self.look()
        return self.changes.pending and self.settings.guides_differ()

    def _follow(self, changed: list[str]) -> None:
        self.notes.write("settings_changed", summary=", ".join(changed))
        self.spending.limit(self.settings.config.budgets)
        self.waitlist.anew()
        self.warm_up()
