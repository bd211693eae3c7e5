"""Distributors by name: the built-in one, and those that installed packages provide."""

from __future__ import annotations

from importlib.metadata import entry_points

from orchestrator.distributors.base import Distributor
from orchestrator.distributors.direct import DirectDistributor
from orchestrator.errors import Unusable

GROUP = "orchestrator.distributors"


def distributor(name: str) -> Distributor:
    """The distributor of this name; `Unusable` if none is installed."""
    if name == "direct":
        return DirectDistributor()
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            made: Distributor = entry.load()()
            return made
    raise Unusable(
        f"there is no distributor '{name}'",
        "distributor: direct   in orchestrator.yaml is the default",
    )
