"""Waiting for a person's yes before anything of a project counts: nothing is claimed, adopted or
read meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from orchestrator import __version__
from orchestrator.execution.descendants import boot_id, start_time
from orchestrator.files.text import one_line
from orchestrator.model.units import timestamp
from orchestrator.store import atomic, smallfiles
from orchestrator.store.acceptance import Acceptance
from orchestrator.store.locks import WatcherLock
from orchestrator.store.transitions import Store

PAUSE = 1.0  # seconds between looks, if nobody wakes us
HINT = "look at it, and accept it: orchestrator approve --settings"


def why_of(reasons: Sequence[str]) -> str:
    """What every verb says meanwhile."""
    return one_line("nothing starts: " + "; ".join(reasons), 300)


def text_of(reasons: Sequence[str]) -> str:
    """`why_of`, and what to do."""
    return f"{why_of(reasons)}; {HINT}"


def tell(store: Store, reasons: Sequence[str]) -> None:
    """Leave word for verbs that only read, which cannot review settings, why nothing starts;
    without reasons that is over. A disk that refuses keeps only them from knowing."""
    path = store.layout.refusal
    with suppress(OSError):
        if reasons:
            data = why_of(reasons).encode("utf-8", "replace")
            smallfiles.put(store.layout, path, data, "refusal", sync=False)
        else:
            atomic.remove(path)


def wait_for_yes(store: Store, acceptance: Acceptance) -> None:
    """Return as soon as the settings need no yes (any more). The card says why until then; signals
    end the process."""
    lock = WatcherLock(store.layout)
    lock.acquire()
    woken = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: woken.set())
    started = timestamp(time.time())
    try:
        while reasons := acceptance.review():
            _write_card(store, started, text_of(reasons))
            woken.wait(PAUSE)
            woken.clear()
            acceptance.known = store.establish()
    finally:
        signal.signal(signal.SIGUSR1, before)
        atomic.remove(store.layout.watcher_card)
        lock.release()


def _write_card(store: Store, started: str, text: str) -> None:
    store.card.write(
        {
            "pid": os.getpid(),
            "pid_start": start_time("self"),
            "boot": boot_id(),
            "host": socket.gethostname(),
            "started_at": started,
            "version": __version__,
            "slots": 0,
            "fault": "",
            "settings": text,
            "settings_held": True,
            "settings_wait": True,
            "settings_read": timestamp(time.time()),
            "draining": False,
            "notifications": "",
            "trust": store.trust.folder,
        }
    )
