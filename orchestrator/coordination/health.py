"""Whether work can go on: what the disk refuses, and what stops everybody."""

from __future__ import annotations

import asyncio
import os

from orchestrator.coordination.hints import Hints
from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.errors import StoreFault
from orchestrator.files import owners
from orchestrator.files.text import one_line
from orchestrator.model.status import Status
from orchestrator.store import atomic
from orchestrator.store.transitions import Store


class Health:
    """Whether the disk takes writes.  While it does not, nothing is claimed and finishing waits.

    ``turned`` is what it changed to since somebody took it: reasons, and empty words where it works
    again.
    """

    def __init__(self, listener: Listener, hints: Hints) -> None:
        self.fault = ""
        self.turned: list[str] = []
        self._listener, self._hints = listener, hints
        self._fine = asyncio.Event()
        self._fine.set()

    def failed(self, error: Exception) -> None:
        """The disk refused a write."""
        reason = one_line(getattr(error, "strerror", None) or str(error), 160)
        if not self.fault:
            self.fault = reason
            self._fine.clear()
            self._turn(reason)

    def recovered(self) -> None:
        """A trial write went through."""
        if self.fault:
            self.fault = ""
            self._fine.set()
            self._turn("")

    def _turn(self, fault: str) -> None:
        about = About.FAULT if fault else About.FAULT_OVER
        self._listener.hear(Remark(about, "", fault))
        self.turned.append(fault)
        self._hints.stir()

    async def fine(self) -> None:
        """Wait until the disk takes writes."""
        await self._fine.wait()


def takes_writes(store: Store) -> bool:
    """A trial: room for a small task, descriptors, and leave to create files wherever a task needs
    it."""
    layout = store.layout
    held: list[int] = []
    try:
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
    except (OSError, StoreFault):
        return False
    finally:
        for fd in held:
            os.close(fd)
    return True
