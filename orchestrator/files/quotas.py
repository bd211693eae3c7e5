"""Reading what tools last said of their plans' windows: ``.state/quota/<tool>.json``."""

from __future__ import annotations

import json

from orchestrator.files import opening, scan
from orchestrator.files.layout import Layout
from orchestrator.model import quota


def read(layout: Layout, now: float) -> dict[str, list[quota.Window]]:
    """The windows that count, by tool.  A file that cannot be understood says nothing."""
    found = {}
    for name in sorted(scan.names(f"{layout.state}/quota")):
        tool, _, suffix = name.rpartition(".")
        if suffix == "json" and tool and not tool.startswith("."):
            windows = [window for window in of(layout, tool) if window.counts(now)]
            if windows:
                found[tool] = windows
    return found


def of(layout: Layout, tool: str) -> list[quota.Window]:
    """Everything that this tool last said."""
    try:
        data = json.loads(opening.read_bytes(path(layout, tool)))
        return [
            quota.Window(
                str(item["name"]),
                float(item["used"]),
                float(item["seen"]),
                None if item["resets"] is None else float(item["resets"]),
            )
            for item in data["windows"]
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def path(layout: Layout, tool: str) -> str:
    """Where it is kept."""
    return f"{layout.state}/quota/{tool}.json"
