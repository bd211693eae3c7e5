"""What tools' plans have left for tasks of normal priority alone (`limits.reserve`)."""

from __future__ import annotations

from orchestrator.files import quotas
from orchestrator.files.layout import Layout
from orchestrator.model.config import Config
from orchestrator.model.gates import Gate
from orchestrator.model.quota import reserved


def gates(layout: Layout, config: Config, now: float) -> dict[tuple[str, str], Gate]:
    """The gates that are closed for tasks of low priority, by what tools last said."""
    reserve = config.limits.reserve
    if not reserve:
        return {}
    tools = {name: agent.tool for name, agent in config.agents.items()}
    return reserved(reserve, tools, quotas.read(layout, now), now)
