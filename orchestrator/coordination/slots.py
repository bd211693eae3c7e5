"""The slots of this watcher: running tasks take one, and lend it while they wait for a person."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.coordination.life import Life
from orchestrator.model.gates import InUse, Limits, limit_gates


class Slots:
    """``use`` is what the running tasks have of the limits."""

    def __init__(self) -> None:
        self.use = InUse()

    def take(self, life: Life) -> None:
        """Its attempt begins."""
        life.takes_slot(self.use)

    def leave(self, life: Life) -> bool:
        """Its attempt is over; whether something is free now."""
        return life.leaves_slot(self.use)

    def lend(self, asking: Iterable[Life], most: int) -> bool:
        """Of the tasks that wait for a person so many do without a slot; whether something is free
        now."""
        waiting = list(asking)
        without = sum(not life.in_slot for life in waiting)
        lenders = [life for life in waiting if life.in_slot][: max(0, most - without)]
        for life in lenders:
            life.lends_slot(self.use)
        return bool(lenders)

    def back(self, life: Life, limits: Limits, at_any_cost: bool) -> bool:
        """Give an attempt its slot back that goes on now; False if none is free."""
        if life.in_slot:
            return True
        if limit_gates(life.to_count, limits, self.use) and not at_any_cost:
            return False
        life.takes_slot(self.use)
        return True
