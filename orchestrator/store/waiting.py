"""Waiting for the lock on a journal: adopting an attempt is nothing else.

The kernel frees the lock when the supervisor closes the journal or dies, in whatever container or
PID namespace it lives. What the journal says is believed, and appended to, only by who holds its
lock.
"""

from __future__ import annotations

import fcntl
import os
import threading
from concurrent.futures import Future

from orchestrator.files import opening
from orchestrator.store.appending import is_named
from orchestrator.store.ledger import Entry


def when_free(path: str) -> Future[Entry | None]:
    """The journal, open and locked, once nobody works on its task; None if it was put away or
    removed meanwhile.

    A thread of its own waits, for hours if need be; it ends with the process.
    """
    future: Future[Entry | None] = Future()
    threading.Thread(target=_wait, args=(path, future), name="lock", daemon=True).start()
    return future


def _wait(path: str, future: Future[Entry | None]) -> None:
    try:
        entry = _locked(path)
    except OSError as error:
        if future.set_running_or_notify_cancel():
            future.set_exception(error)
        return
    if future.set_running_or_notify_cancel():
        future.set_result(entry)
    elif entry is not None:
        entry.close()


def _locked(path: str) -> Entry | None:
    try:
        fd = opening.descriptor(path, os.O_RDWR | os.O_APPEND)
    except FileNotFoundError:
        return None
    entry = Entry(path, fd, [], closed=False)
    fcntl.flock(fd, fcntl.LOCK_EX)
    if not is_named(fd, path):
        entry.close()
        return None
    entry.refresh()
    return entry
