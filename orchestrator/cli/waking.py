"""Waking the watcher: what is approved lies outside the project, where no notification tells of it."""

from __future__ import annotations

import os
import signal

from orchestrator.files import card
from orchestrator.files.layout import Layout


def wake(layout: Layout, now: float) -> bool:
    """Have the watcher look again at what is approved; whether there is one that can be told."""
    found = card.read(layout, now)
    if (
        found is None or not found.alive or not found.settings_read
    ):  # an older one: it would be ended by the signal
        return False
    try:
        os.kill(found.pid, signal.SIGUSR1)
    except OSError:
        return False
    return True
