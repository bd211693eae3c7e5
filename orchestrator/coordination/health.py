"""Whether work can go on: what the disk refuses, and what stops everybody."""

from __future__ import annotations

import asyncio
import os
import threading

from orchestrator.clock import Clock
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.errors import InTheWay, StoreFault
from orchestrator.files import owners
from orchestrator.files.text import one_line
from orchestrator.model.status import Status
from orchestrator.store import atomic
from orchestrator.store.transitions import Store

BACK = 10.0  # seconds within which a fault that was over has come back
PAUSE, LONGEST = 1.0, 30.0  # seconds until the next trial then: the first time, and at most


class Health:
    """Whether the disk takes writes.  While it does not, nothing is claimed and finishing waits.

    Where a trial goes through and the same place refuses again, each pause until the next trial is
    twice as long: else people are told of both twice a second, for ever. A disk that fails now and
    then is tried at once, for each trial may be the one that lets work go on.

    ``lasting``: only a person can mend it, and nobody has to wait for that.

    ``turned`` is what it changed to since somebody took it: reasons, and empty words where it works
    again.
    """

    def __init__(self, listener: Listener, hints: Hints, clock: Clock) -> None:
        self.fault, self.lasting = "", False
        self.turned: list[str] = []
        self._listener, self._hints, self._clock = listener, hints, clock
        self._over, self._pause, self._next = -BACK, 0.0, 0.0  # (monotonic) when it was, and is due
        self._last = ""  # the place that refused
        self._fine = asyncio.Event()
        self._fine.set()

    def failed(self, error: Exception) -> None:
        """The disk refused a write."""
        lasting = isinstance(error, InTheWay)
        error = error.__cause__ if isinstance(error.__cause__, OSError) else error
        place, why = _place(error), getattr(error, "strerror", None) or str(error)
        reason = one_line(f"{why} ({place})" if place else why, 160)
        if not self.fault:
            now = self._clock.monotonic()
            again = bool(place) and place == self._last and now - self._over < BACK
            self._last = place
            self._pause = min(max(2 * self._pause, PAUSE), LONGEST) if again else 0.0
            self._next = now + self._pause
            self.fault, self.lasting = reason, lasting
            self._fine.clear()
            self._turn(reason)

    def recovered(self) -> None:
        """A trial write went through."""
        if self.fault:
            self.fault, self.lasting, self._over = "", False, self._clock.monotonic()
            self._fine.set()
            self._turn("")

    @property
    def due(self) -> bool:
        """Whether there is a fault, and it is time for a trial."""
        return bool(self.fault) and self._clock.monotonic() >= self._next

    def _turn(self, fault: str) -> None:
        about = About.FAULT if fault else About.FAULT_OVER
        self._listener.hear(Remark(about, "", fault))
        self.turned.append(fault)
        self._hints.stir()

    async def fine(self) -> None:
        """Wait until the disk takes writes."""
        await self._fine.wait()


def _place(error: Exception) -> str:
    """The file that was to be, where it is not the whole disk that refuses."""
    if not isinstance(error, OSError) or error.errno in atomic.DISK_FAULTS:
        return ""
    name = error.filename2 or error.filename
    return name if isinstance(name, str) else ""


def takes_writes(store: Store) -> bool:
    """A trial: a thread, room for a small task, descriptors, and leave to create files wherever a
    task needs it."""
    layout = store.layout
    held: list[int] = []
    try:
        threading.Thread(target=int, daemon=True).start()
        store.prepare()
        for folder in (
            f"{layout.state}/tmp",
            layout.active,
            layout.folder("logs"),
            layout.folder("results"),
            layout.folder("events"),
            layout.folder(Status.INBOX),
            layout.folder(Status.RUNNING),
            layout.folder(Status.DONE),
        ):
            path = f"{folder}/.probe.{owners.fresh()}"
            held.append(atomic.write_temporary(path, b"\0" * 16384, keep=True))
            atomic.remove(path)
    except (OSError, StoreFault, MemoryError, RuntimeError):  # RuntimeError: there is no thread
        return False
    finally:
        for fd in held:
            os.close(fd)
    return True
