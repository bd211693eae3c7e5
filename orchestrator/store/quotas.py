"""Keeping what tools say of their plans' windows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.files import quotas
from orchestrator.files.layout import Layout
from orchestrator.model.quota import merged, remembered, window_from
from orchestrator.store import smallfiles


def remember(layout: Layout, tool: str, told: Iterable[Mapping[str, Any]], now: float) -> None:
    """Take down what a tool has said just now.  OSError if the disk refuses."""
    windows = [window for item in told if (window := window_from(item, now)) is not None]
    if not windows:
        return
    kept = merged(quotas.of(layout, tool), windows, now)
    history = remembered(quotas.history(layout, tool), windows, now)
    data = {"windows": [window.as_json() for window in kept], "history": history}
    text = json.dumps(data, indent=1).encode() + b"\n"
    smallfiles.put(layout, quotas.path(layout, tool), text, "quota", sync=False)
