"""What is held beside single tasks, as the watcher goes by it: looked at when a file comes or goes,
and when a time is over."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field

from orchestrator.clock import Clock
from orchestrator.files import holds
from orchestrator.files.layout import Layout
from orchestrator.model import hold
from orchestrator.model.gates import Gate, Lane, held_gates
from orchestrator.model.hold import SLACK, Scope
from orchestrator.records import dataclass
from orchestrator.store import holding
from orchestrator.store.transitions import Store
from orchestrator.tools.specs import of_account

ON_CARD = 12


@dataclass(frozen=True, slots=True)
class News:
    """What changed since the last look: what is held now, what is not any more, and what was moved
    from ``parked/``."""

    began: Mapping[Scope, Gate] = field(default_factory=dict)
    ended: tuple[Scope, ...] = ()
    over: tuple[
        str, ...
    ] = ()  # tools whose time has come: nobody knows yet whether their limit is gone
    moved: tuple[str, ...] = ()


class Holds:
    """The holds of one work directory.  ``gates`` are those that are closed."""

    def __init__(self, layout: Layout, store: Store, clock: Clock) -> None:
        self.layout, self.store, self.clock = layout, store, clock
        self.gates: dict[Scope, Gate] = {}
        self._folders: tuple[str, ...] = ()
        self._stamps: tuple[int, ...] = ()

    def changed(self) -> bool:
        """Whether a file has come or gone since the last look: no notification is quick enough to
        be waited for before a start."""
        return self._stamps != tuple(map(_changed_at, self._folders))

    def look(self, writable: bool = True) -> News:
        """Look at the files. If the disk is ``writable``, what is over goes, and what a clock set
        back is written anew."""
        now = self.clock.wall()
        self._folders = (self.layout.folder(holds.HELD), holds.shared_folder(self.layout))
        self._stamps = tuple(map(_changed_at, self._folders))
        moved = holding.adopt_parked(self.layout) if writable else []
        listed, over = holds.listed(self.layout), list[str]()
        for item in listed if writable else ():
            end = item.ends(now)
            if item.over(now):
                if holding.lift(self.layout, item.scope, only=item):
                    self._released(item.scope, now)
                    over += [item.scope[1]] if item.scope[0] == "tool" else []
            elif end is not None and item.since is not None and item.since > now + SLACK:
                common = item.scope[0] == "tool" and of_account(item.scope[1])
                holding.place(self.layout, item.scope, now, end, item.reason, common)
        before, self.gates = self.gates, hold.gates(listed, now)
        began = {
            scope: gate
            for scope, gate in self.gates.items()
            if scope not in before or before[scope].why != gate.why
        }
        ended = tuple(scope for scope in before if scope not in self.gates)
        return News(began, ended, tuple(over), tuple(moved))

    def due(self, now: float) -> bool:
        """Whether the time of one of them is over, or their files are not what they were."""
        if self.changed():
            return True
        return any(gate.until is not None and gate.until <= now for gate in self.gates.values())

    def closed(self, lane: Lane) -> Gate | None:
        """What is held at this very moment, of what an attempt needs that is about to begin; None
        if it may."""
        gates = holds.gates(self.layout, self.clock.wall()) if self.changed() else self.gates
        return next(iter(held_gates(lane, gates)), None)

    def seconds_left(self, now: float) -> list[float]:
        """In how many seconds each of them is over."""
        return [gate.until - now for gate in self.gates.values() if gate.until is not None]

    def facts(self) -> dict[str, str]:
        """For the card: what is held, and why; no more of it than a card has room for."""
        shown = list(self.gates.items())[:ON_CARD]
        return {hold.words(scope): gate.why for scope, gate in shown}

    def _released(self, scope: Scope, now: float) -> None:
        self.store.log.commit(
            [holding.event(self.store.log, "hold_released", scope, now, "its time is over")]
        )


def _changed_at(folder: str) -> int:
    """When a name in a folder came or went, in nanoseconds; 0 if there is no such folder."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0
