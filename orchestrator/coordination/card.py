"""What the watcher's card says of settings, limits and this day's cost."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import Any

from orchestrator import __version__
from orchestrator.clock import Clock
from orchestrator.coordination.alone import Alone
from orchestrator.coordination.changes import Changes
from orchestrator.coordination.health import Health
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.holds import Holds
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.signals import Signals
from orchestrator.coordination.spending import Today
from orchestrator.coordination.stateguard import StateGuard
from orchestrator.execution.descendants import boot_id, start_time
from orchestrator.model.admission import in_force
from orchestrator.model.units import timestamp
from orchestrator.store.transitions import Store
from orchestrator.tools.routing import turns


class OwnCard:
    """``.state/watcher.json``: who watches, what is in force, what this day has cost."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        today: Today,
        alone: Alone,
        health: Health,
        signals: Signals,
        holds: Holds,
        hints: Hints,
        changes: Changes,
        state: StateGuard,
        clock: Clock,
    ) -> None:
        self._settings, self._store, self._today = settings, store, today
        self._alone, self._health, self._signals = alone, health, signals
        self._holds, self._hints = holds, hints
        self._changes, self._state, self._clock = changes, state, clock
        self._told: tuple[float, frozenset[str]] = (0.0, frozenset())
        self._settings_read = timestamp(clock.wall())
        # Found out once: on the day when nothing can be opened the card must still be written.
        self._identity = {
            "pid": os.getpid(),
            "pid_start": start_time("self"),
            "boot": boot_id(),
            "host": socket.gethostname(),
            "started_at": timestamp(clock.wall()),
            "trust": store.trust.folder,
        }

    @property
    def stale(self) -> bool:
        """Whether it says less than is known: of the day's cost, of tools that begin alone."""
        return self._now() != self._told

    def settings_read(self) -> None:
        """What the settings' files say was taken over at this moment."""
        self._settings_read = timestamp(self._clock.wall())

    def write(self) -> None:
        """Write it anew.  OSError if the disk refuses."""
        self._today.turn()
        self._told = self._now()
        waits = self._state.problem or self._changes.asking
        card = card_facts(self._settings, self._today, self._alone, self._health.fault, waits)
        own = {
            "settings_read": self._settings_read,
            "draining": self._signals.draining,
            "notifications": self._hints.silent,
            "held": self._holds.facts(),
        }
        self._store.card.write({**self._identity, **card, **own})

    def try_write(self) -> None:
        """Write it anew; a disk that refuses is a fault."""
        try:
            self.write()
        except OSError as error:
            self._health.failed(error)

    def beat(self) -> None:
        """Say that the watcher lives; a heartbeat that cannot be written is a fault."""
        try:
            self._store.card.beat()
        except OSError as error:
            self._health.failed(error)

    def _now(self) -> tuple[float, frozenset[str]]:
        return self._today.cost, frozenset(self._alone.began)


def card_facts(
    settings: Settings, today: Today, alone: Alone, fault: str, waits: str
) -> dict[str, Any]:
    """``fault``: why the disk takes nothing; ``waits``: why nothing starts before a person has
    acted."""
    config = settings.config
    force = in_force(config, turns(config, settings.toolbox.tools))
    force = replace(force, limits=alone.capped(force.limits))
    return {
        "version": __version__,
        "slots": config.limits.running,
        "in_force": force.as_json(),
        "fault": fault,
        "settings": waits or settings.problem,
        "settings_wait": bool(waits),
        "settings_held": settings.held,
        "today": {
            "day": today.day,
            "cost_usd": round(today.cost, 6),
            "tokens": today.tokens,
        },
    }
