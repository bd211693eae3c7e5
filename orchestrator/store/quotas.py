"""Keeping what tools say of their plans' windows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.files import quotas
from orchestrator.files.layout import Layout
from orchestrator.model.quota import merged, remembered, window_from
from orchestrator.store.trusting import write_json


def remember(layout: Layout, tool: str, told: Iterable[Mapping[str, Any]], now: float) -> None:
    """Take down what a tool has said just now.  OSError if the disk refuses."""
    windows = [window for item in told if (window := window_from(item, now)) is not None]
    if not windows:
        return
    os.makedirs(f"{layout.state}/quota", mode=0o700, exist_ok=True)
    kept = merged(quotas.of(layout, tool), windows, now)
    history = remembered(quotas.history(layout, tool), windows, now)
    data = {"windows": [window.as_json() for window in kept], "history": history}
    write_json(quotas.path(layout, tool), data, sync=False)
