"""A worker that an engine starts for one dispatch: ``orchestrator worker --once DISPATCH``.

The engine may start it twice, on two machines, or again after it was killed: the dispatch is
claimed at most once, and whoever comes later leaves. So that two of them on machines with one home
directory never share a spool folder, each machine has its own, by its name and its boot: what a
machine had before it was started anew cannot run any more, and nobody else may judge that.
"""

from __future__ import annotations

import asyncio
import math
import os
import time

from orchestrator import waiting
from orchestrator.coordination.elsewhere.hub import Hub
from orchestrator.coordination.elsewhere.worker import Worker
from orchestrator.distributors.dispatches import (
    OFFERED,
    Nonsense,
    State,
    once_pool,
    record_name,
    state_from,
)
from orchestrator.distributors.engines.base import ACK_WAIT, Down
from orchestrator.execution.descendants import boot_id
from orchestrator.store import atomic

LOOK = 0.5  # seconds between looks for the offer, and whether its watcher has all of it
PATIENCE = 2 * ACK_WAIT  # seconds for an offer that another has pulled, and has not claimed
SEEN = 10.0  # seconds for an offer that is not there at all
LINGERS = (
    300.0  # seconds for the watcher to take what is at the broker; then it takes that without us
)
LEAVES = 5.0  # seconds for the same if we are told to leave


def spool_of(base: str, host: str, dispatch: str) -> str:
    """The spool folder of a dispatch on this machine."""
    return f"{base}/once/{host}-{boot_id()[:8]}/{dispatch}"


class Once(Worker):
    """Serves one dispatch, and leaves when its watcher has all of it."""

    def __init__(self, hub: Hub, dispatch: str) -> None:
        super().__init__(hub, [], [], 1)
        self.dispatch = dispatch
        self.pools = [once_pool(dispatch)]
        self._told_to_leave = 0.0

    async def run(self, until_empty: bool = True) -> None:
        """Serve it, whatever comes of it. Raises `Down` if the broker cannot be reached for long:
        an engine's machine is not ours."""
        try:
            await waiting.within(LINGERS, self.hub.patient(self.hub.engine.connect))
        except TimeoutError:
            await self.hub.engine.close()
            raise Down(self.hub.trouble) from None
        await super().run(until_empty)

    def _tell_served(self) -> None:
        self.hub.tell(f"looking for {self.dispatch}")

    async def _serve(self, until_empty: bool) -> None:
        began = time.monotonic()
        while not self._tasks and not self.leaving:
            if await self._fill():
                break
            why = await self._why_not(time.monotonic() - began)
            if why:
                self.hub.tell(why)
                return
            await self._look()
        ended = 0.0
        while self._tasks and self.leaving < 2:
            if not ended and not self._busy():
                ended = time.monotonic()
            left = min(ended + LINGERS, self._told_to_leave + LEAVES if self.leaving else math.inf)
            if ended and time.monotonic() > left:
                self.hub.tell(f"what it did is at the broker, and kept in {self.hub.spool.folder}")
                return
            await self._look()

    async def _look(self) -> None:
        self.hub.wake.clear()
        await waiting.happened(self.hub.wake, LOOK)

    async def _why_not(self, waited: float) -> str:
        """Why nothing is left to be done; empty while the offer may still come to us."""
        try:
            record = await self.hub.engine.read(record_name(self.dispatch))
        except Down:
            return ""
        if record is None:
            return "" if waited < SEEN else "there is no such offer, or no longer"
        try:
            state = state_from(record.value)
        except Nonsense:
            state = State("")
        if state.state == OFFERED:
            return "" if waited < PATIENCE else "somebody else has pulled the offer"
        return (
            f"{state.name or 'its watcher'} has it already ({state.state}); nothing is left to be"
            " done"
        )

    def _asked_to_leave(self) -> None:
        """Whoever started us wants the machine back: it is ended, its watcher hears of it at once,
        and decides."""
        self._leave_once_more()
        if self.leaving == 1:
            self._told_to_leave = time.monotonic()
            for job in self._jobs.values():
                if job.busy:
                    job.depart()
                job.wake()
            if self._busy():
                self.hub.tell("told to leave: ending the attempt. Again: leave at once")
        self.hub.wake.set()

    async def _goodbye(self) -> None:
        await super()._goodbye()
        folder = self.hub.spool.folder
        if not self.hub.spool.entries():
            await asyncio.to_thread(atomic.remove_tree, folder)
            for empty in (os.path.dirname(folder), os.path.dirname(os.path.dirname(folder))):
                try:
                    os.rmdir(empty)
                except OSError:
                    break
