"""Waking the watcher: what is approved lies outside the project, where no notification tells of
it."""

from __future__ import annotations

import os
import signal

from orchestrator.errors import Refused
from orchestrator.files import card
from orchestrator.files.layout import Layout


def wake(layout: Layout, now: float) -> bool:
    """Have the watcher look again at what is approved; whether there is one that can be told."""
    found = card.read(layout, now)
    if found is None or not found.alive or not found.here:
        return False
    if not found.settings_read:  # an older one: it would be ended by the signal
        return False
    try:
        os.kill(found.pid, signal.SIGUSR1)
    except OSError:
        return False
    return True


def refuse_other_home(layout: Layout, folder: str, now: float) -> None:
    """`Refused` if the living watcher keeps what it trusts elsewhere: what is approved here would
    not reach it."""
    found = card.read(layout, now)
    if found is not None and found.alive and found.trust and found.trust != folder:
        raise Refused(
            f"the watcher (pid {found.pid}) keeps what it trusts in {found.trust}, and this shell in {folder or 'no folder'}",
            "set XDG_STATE_HOME (or HOME) as it is set for the watcher",
        )
