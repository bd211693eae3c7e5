"""Where an attempt is executed: ``on: farm`` of a task, an agent or a tool, or ``on: farm+gpu`` for
workers with that label.

Pure. ``direct`` is this machine. A task may only choose among what ``distributors`` in
orchestrator.yaml names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.records import asdict, dataclass, field

if TYPE_CHECKING:
    from orchestrator.model.config import Config


@dataclass(frozen=True, slots=True)
class Place:
    """A distributor, and the labels that a worker must have."""

    name: str = "direct"
    labels: tuple[str, ...] = ()

    @property
    def lane(self) -> str:
        """What the limits count it as: empty for a slot of this machine."""
        return "" if self.name == "direct" else self.name

    def pool(self, tool: str) -> str:
        """The pool of workers that may have an attempt of this tool: ``claude``, ``claude+gpu``."""
        return "+".join((tool, *self.labels))

    def __str__(self) -> str:
        return "+".join((self.name, *self.labels))


DIRECT = Place()


def place_from(text: str) -> Place:
    """The place that ``farm`` or ``farm+gpu+big`` means; labels are sorted."""
    name, *labels = text.split("+")
    return Place(name or "direct", tuple(sorted(set(filter(None, labels)))))


@dataclass(frozen=True, slots=True)
class Places:
    """What says where: by agent, by tool, and for everything else."""

    default: str = "direct"
    agents: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)

    def of(self, asked: str, agent: str, tool: str) -> Place:
        """The place of an attempt: what the task asks for, else its agent, else its tool, else the
        default."""
        said = asked or self.agents.get(agent) or self.tools.get(tool) or self.default
        return place_from(said)

    def as_json(self) -> dict[str, Any]:
        """For the watcher's card."""
        return asdict(self)


def places_of(config: Config) -> Places:
    """What a configuration says."""
    agents = {name: agent.on for name, agent in config.agents.items() if agent.on}
    default = config.distributor if config.distributor in config.distributors else "direct"
    return Places(default, agents, config.tool_places)


def places_from(data: Mapping[str, Any]) -> Places:
    """The inverse of `Places.as_json`; the default for anything that an older watcher wrote."""
    return Places(
        str(data.get("default", "direct")),
        dict(data.get("agents", {})),
        dict(data.get("tools", {})),
    )
