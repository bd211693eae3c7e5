"""Reading what tools last said of their plans' windows: ``.state/quota/<tool>.json``."""

from __future__ import annotations

from orchestrator.files import jsonlines, opening, scan
from orchestrator.files.layout import Layout
from orchestrator.model import quota


def read(layout: Layout, now: float) -> dict[str, list[quota.Window]]:
    """The windows that count, by tool.  A file that cannot be understood says nothing."""
    found = {}
    for tool in tools(layout):
        windows = [window for window in of(layout, tool) if window.counts(now)]
        if windows:
            found[tool] = windows
    return found


def of(layout: Layout, tool: str) -> list[quota.Window]:
    """Everything that this tool last said."""
    try:
        data = jsonlines.loads(opening.read_bytes(path(layout, tool)))
        return [
            quota.Window(
                str(item["name"]),
                float(item["used"]),
                float(item["seen"]),
                None if item["resets"] is None else float(item["resets"]),
            )
            for item in data["windows"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def history(layout: Layout, tool: str) -> quota.History:
    """How much of its windows this tool has said was used, over the last days."""
    try:
        data = jsonlines.loads(opening.read_bytes(path(layout, tool)))
        return {
            str(name): [(float(moment), float(used)) for moment, used in points]
            for name, points in dict(data.get("history", {})).items()
            if points
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def tools(layout: Layout) -> list[str]:
    """The tools that have said something."""
    found = (name.rpartition(".") for name in sorted(scan.names(f"{layout.state}/quota")))
    return [tool for tool, _, suffix in found if suffix == "json" and tool and tool[0] != "."]


def path(layout: Layout, tool: str) -> str:
    """Where it is kept."""
    return f"{layout.state}/quota/{tool}.json"
