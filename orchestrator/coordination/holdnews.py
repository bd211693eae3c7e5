"""What came to be held, and what is not any more: told, and what follows from it."""

from __future__ import annotations

from orchestrator.coordination.alone import Alone
from orchestrator.coordination.card import OwnCard
from orchestrator.coordination.health import Health
from orchestrator.coordination.holds import Holds
from orchestrator.coordination.news import About, Held, Listener, Remark
from orchestrator.model import hold


class HoldNews:
    """Looks at the holds for the loop."""

    def __init__(
        self, holds: Holds, alone: Alone, card: OwnCard, health: Health, listener: Listener
    ) -> None:
        self._holds, self._alone, self._card = holds, alone, card
        self._health, self._listener = health, listener

    def look(self) -> None:
        """What is held now; what is not any more may start, a tool whose limit is over with one
        attempt at first."""
        news = self._holds.look(not self._health.fault)
        for tool in news.over:
            self._alone.begin(tool)
        for tool in news.moved:
            self._listener.hear(Remark(About.TIDIED, "", f"moved parked/{tool} to held/@{tool}"))
        for scope, gate in news.began.items():
            self._listener.hear(Held(hold.words(scope), gate))
        for scope in news.ended:
            self._listener.hear(Remark(About.RELEASED, hold.words(scope)))
        if news.began or news.ended:
            self._card.try_write()
