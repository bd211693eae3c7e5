"""Slots of attempts that wait for a person: lent to others, and given back."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.coordination.asking import Asking
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.life import Life
from orchestrator.coordination.liveworld import LiveWorld
from orchestrator.coordination.signals import Signals
from orchestrator.coordination.slots import Slots


class Lending:
    """Who of the ``running`` does without a slot."""

    def __init__(
        self,
        running: Mapping[str, Life],
        slots: Slots,
        asking: Asking,
        liveworld: LiveWorld,
        signals: Signals,
        hints: Hints,
    ) -> None:
        self._running, self._slots, self._asking = running, slots, asking
        self._liveworld, self._signals, self._hints = liveworld, signals, hints

    def lend(self) -> None:
        """Attempts that wait for a person give their slots back, so many of them as may."""
        waiting = (life for life in self._running.values() if self._asking.waits(life))
        if self._slots.lend(waiting, self._liveworld.limits.asking):
            self._hints.stir()

    def back(self, life: Life) -> bool:
        """Whether an attempt that could go on has a slot again."""
        return self._slots.back(life, self._liveworld.limits, self._signals.draining)
