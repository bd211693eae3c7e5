"""What workers on other machines say of themselves, as the watcher leaves it for readers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from orchestrator.files import jsonlines, opening
from orchestrator.files.layout import Layout

ENDING = ".workers.json"


def workers_file(layout: Layout, name: str) -> str:
    """Where it is, for the distributor of this name."""
    return f"{layout.state}/queues/{name}{ENDING}"


def read(layout: Layout) -> dict[str, Mapping[str, Any]]:
    """By distributor: ``workers`` by id, and what is wrong with its ``broker`` (empty: nothing).
    Empty without a watcher."""
    found: dict[str, Mapping[str, Any]] = {}
    try:
        names = sorted(os.listdir(f"{layout.state}/queues"))
    except OSError:
        return found
    for name in names:
        if not name.endswith(ENDING):
            continue
        try:
            told = jsonlines.loads(opening.read_bytes(f"{layout.state}/queues/{name}"))
        except (OSError, ValueError):
            continue
        if isinstance(told, dict) and isinstance(told.get("workers"), dict):
            found[name.removesuffix(ENDING)] = told
    return found
