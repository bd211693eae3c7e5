"""What the watcher's card says of settings, limits and this day's cost."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator import __version__
from orchestrator.clock import Clock
from orchestrator.coordination.alone import Alone
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.spending import Today
from orchestrator.execution.supervisor import boot_id, start_time
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
        clock: Clock,
    ) -> None:
        self._settings, self._store, self._today = settings, store, today
        self._alone = alone
        self._told: tuple[float, frozenset[str]] = (0.0, frozenset())
        self.settings_read = timestamp(clock.wall())
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

    def write(
        self,
        fault: str,
        draining: bool,
        notifications: str,
        held: Mapping[str, str],
        waits: str,
    ) -> None:
        """Write it anew.  ``notifications``: why there are none; ``held``: what may not start, and why; ``waits``: as `card_facts`.

        OSError if the disk refuses.
        """
        self._today.turn()
        self._told = self._now()
        card = card_facts(self._settings, self._today, self._alone, fault, waits)
        own = {
            "settings_read": self.settings_read,
            "draining": draining,
            "notifications": notifications,
            "held": dict(held),
        }
        self._store.card.write({**self._identity, **card, **own})

    def _now(self) -> tuple[float, frozenset[str]]:
        return self._today.cost, frozenset(self._alone.began)


def card_facts(
    settings: Settings, today: Today, alone: Alone, fault: str, waits: str
) -> dict[str, Any]:
    """``fault``: why the disk takes nothing; ``waits``: why nothing starts before a person has acted."""
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
