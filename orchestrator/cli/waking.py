"""Waking the watcher: what is approved lies outside the project, where no notification tells of
it."""

from __future__ import annotations

import os
import signal
import time

from orchestrator.errors import Refused
from orchestrator.files import card
from orchestrator.files.layout import Layout
from orchestrator.store.acceptance import Acceptance

PATIENCE = 10.0  # seconds for a watcher to read its settings


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
    if found is not None and found.alive and found.trust != folder:
        raise Refused(
            f"the watcher (pid {found.pid}) keeps what it trusts in {found.trust or 'no folder'},"
            f" and this shell in {folder or 'no folder'}",
            "set XDG_STATE_HOME (or HOME) as it is set for the watcher",
        )


def able_to_read(layout: Layout, now: float) -> card.Card | None:
    """The living watcher, which can be told to read its settings; None if there is none.

    Raises `Refused` if there is one that cannot be told.
    """
    found = card.read(layout, now)
    if found is None or not found.alive:
        return None
    if not found.settings_read:  # it would be ended by the signal
        raise Refused(
            f"the watcher (pid {found.pid}) is version {found.version}, which cannot do that",
            "stop it and start it again",
        )
    if not found.here:
        raise Refused(
            f"the watcher (pid {found.pid} on {found.host}) runs in another container",
            "run it there",
        )
    return found


def until_read(layout: Layout, before: card.Card, acceptance: Acceptance) -> None:
    """Have this watcher read the settings that are accepted now, and wait until it has.

    Raises `Refused` if it finds something wrong with them, or does not answer.
    """
    wake(layout, time.time())
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = card.read(layout, time.time())
        if found is None or not found.alive:
            return  # the next one reads them at its start
        if has_read(found, before, acceptance):
            if found.settings:
                raise Refused(found.settings, "orchestrator validate")
            return
        time.sleep(0.02)
    raise Refused(f"the watcher (pid {before.pid}) does not answer", "orchestrator doctor")


def has_read(found: card.Card, before: card.Card, acceptance: Acceptance) -> bool:
    """Whether the watcher has read the settings since they were accepted.

    It may have been reading them a moment before, on its own: then it holds what is accepted by
    now, and reads again.
    """
    if found.settings_read == before.settings_read:
        return False
    return not (found.settings_held and acceptance.equal())
