"""What the watcher's card says of settings, limits and this day's cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator import __version__
from orchestrator.coordination.alone import Alone
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.spending import Today
from orchestrator.model.admission import in_force
from orchestrator.tools.routing import turns


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
