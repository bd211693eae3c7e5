"""The worker: takes offers while it has slots, and goes on with what an earlier worker with its
spool folder had."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from itertools import combinations

from orchestrator import __version__, waiting
from orchestrator.coordination.elsewhere.hub import Hub
from orchestrator.coordination.elsewhere.job import Job
from orchestrator.coordination.elsewhere.spool import DISPATCH
from orchestrator.distributors.dispatches import TOPIC, VERSION, worker_topic
from orchestrator.distributors.engines.base import Down, Offer
from orchestrator.errors import Unusable

POLL, POLL_MOST = 2.0, 8.0  # seconds between looks for offers, if nobody says that there are some
SHOWN = 2.0  # seconds between two of a worker's cards
LABELS_MOST = 6
ROOM = 32 << 20  # bytes that the spool folder's disk must have left for one more attempt


def pools_of(tools: list[str], labels: list[str]) -> list[str]:
    """The pools that a worker serves: each of its tools, alone and with every choice of its labels,
    the choosiest first."""
    if len(labels) > LABELS_MOST:
        raise Unusable(f"a worker has at most {LABELS_MOST} labels")
    chosen = [
        choice
        for count in range(len(labels), -1, -1)
        for choice in combinations(sorted(labels), count)
    ]
    return ["+".join((tool, *choice)) for choice in chosen for tool in tools]


class Worker:
    """``tools`` and ``labels`` say which offers it takes, ``slots`` how many at once."""

    def __init__(self, hub: Hub, tools: list[str], labels: list[str], slots: int) -> None:
        self.hub, self.tools, self.labels, self.slots = hub, tools, labels, slots
        self.pools = pools_of(tools, labels)
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._beats = 0
        self._full = ""  # what was told of a disk that takes nothing more
        self.leaving = 0  # 1: nothing more is taken, 2: at once

    async def run(self, until_empty: bool = False) -> None:
        """Serve until told to leave; ``until_empty``: until there is nothing to take and nothing
        runs."""
        loop = asyncio.get_running_loop()
        self._connecting = loop.create_task(self._connect())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # a shell's background may have it ignored
            loop.add_signal_handler(number, self._asked_to_leave)
        await asyncio.to_thread(self.hub.workplace.prepare)
        self.hub.direct.prepare(self.slots)
        for entry in self.hub.spool.entries():
            if not entry.aside:
                self._begin(Job(self.hub, entry, adopted=True))
        await asyncio.wait((self._connecting,))
        if not self._connecting.cancelled():  # else it was told to leave meanwhile
            self._connecting.result()
            self._tell_served()
        showing = asyncio.create_task(self._show())
        try:
            await self._serve(until_empty)
        finally:
            showing.cancel()
            await self._goodbye()

    async def _connect(self) -> None:
        engine = self.hub.engine
        await self.hub.patient(engine.connect)
        await self.hub.patient(lambda: engine.listen(TOPIC, self._offered))
        mine = worker_topic(self.hub.spool.worker)
        await self.hub.patient(lambda: engine.listen(mine, self._word))

    def _tell_served(self) -> None:
        self.hub.tell(f"serving {', '.join(self.pools[:8])} with {self.slots} slots")

    async def _serve(self, until_empty: bool) -> None:
        pause = POLL
        while True:
            self.hub.wake.clear()
            found = False
            if not self.leaving:
                found = await self._fill()
            busy = self._busy()
            if self.leaving > 1 or (self.leaving and not busy):
                return
            if until_empty and not found and not self._tasks:
                return
            woken = await waiting.happened(self.hub.wake, pause)
            pause = POLL if woken else min(pause * 2, POLL_MOST)

    async def _fill(self) -> bool:
        """Take offers while there are slots; whether any was taken."""
        found = False
        if not self._has_room():
            return found
        for pool in self.pools:
            while self._busy() < self.slots and not self.leaving:
                try:
                    offer = await self.hub.engine.pull(pool)
                except Down as error:
                    self.hub.trouble = error.message
                    return found
                if offer is None:
                    break
                found = True
                try:
                    await self._take(offer)
                except OSError as error:  # nobody has it: the broker gives it to another in a while
                    self._tell_full(error.strerror or str(error))
                    return found
        return found

    def _has_room(self) -> bool:
        """Whether one more attempt could have a folder. One that was taken and had no room would
        fail for it, whoever else could have had it."""
        try:
            disk = os.statvfs(self.hub.spool.folder)
        except OSError as error:
            self._tell_full(error.strerror or str(error))
            return False
        if disk.f_bavail * disk.f_frsize < ROOM:
            self._tell_full(f"less than {ROOM >> 20} MiB are left")
            return False
        self._full = ""
        return True

    def _tell_full(self, why: str) -> None:
        if why != self._full:
            self.hub.tell(f"taking nothing until {self.hub.spool.folder} has room: {why}")
        self._full = why

    async def _take(self, offer: Offer) -> None:
        """It is in the spool before it is claimed, and acknowledged when that is decided."""
        engine = self.hub.engine
        if not DISPATCH.match(offer.dispatch):
            await self.hub.patient(lambda: engine.acknowledge(offer))
            return
        try:
            entry = self.hub.spool.create(offer.dispatch, offer.data)
        except FileExistsError:  # it was delivered twice
            await self.hub.patient(lambda: engine.acknowledge(offer))
            return
        job = Job(self.hub, entry, adopted=False)
        self._begin(job)
        await job.decided.wait()
        try:
            await engine.acknowledge(offer)
        except Down:
            pass  # it comes again, and then its record says that it is taken

    def _begin(self, job: Job) -> None:
        dispatch = job.entry.dispatch
        self._jobs[dispatch] = job
        task = asyncio.create_task(self._run(job))
        self._tasks[dispatch] = task

    async def _run(self, job: Job) -> None:
        try:
            await job.run()
        except (
            Exception
        ) as error:  # a bug of ours must not stop the others; its leash ends what runs
            self.hub.tell(f"{job.entry.dispatch}: internal error: {error!r}")
        finally:
            job.busy = False
            job.decided.set()
            self._jobs.pop(job.entry.dispatch, None)
            self._tasks.pop(job.entry.dispatch, None)
            self.hub.wake.set()

    def _busy(self) -> int:
        return sum(job.busy for job in self._jobs.values())

    def _offered(self, pool: str) -> None:
        if pool in self.pools:
            self.hub.wake.set()

    def _word(self, dispatch: str) -> None:
        if dispatch in self._jobs:
            self._jobs[dispatch].wake()

    def _asked_to_leave(self) -> None:
        self._leave_once_more()
        busy = self._busy()
        if self.leaving == 1 and busy:
            self.hub.tell(
                f"taking nothing more; {busy} still running here. Again: leave at once; they go on"
                " under the next worker"
            )
        self.hub.wake.set()

    def _leave_once_more(self) -> None:
        self.leaving += 1
        self._connecting.cancel()  # a broker that is away is waited for no longer

    async def _show(self) -> None:
        """Say who we are, again and again: a card that does not change is that of a worker who is
        gone."""
        while True:
            self._beats += 1
            card = {
                "v": VERSION,
                "version": __version__,
                "name": self.hub.name,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "tools": self.tools,
                "labels": self.labels,
                "pools": self.pools[:100],
                "slots": self.slots,
                "busy": self.slots if self._full else self._busy(),
                "beat": self._beats,
            }
            try:
                await self.hub.engine.show(self.hub.spool.worker, json.dumps(card).encode())
            except Down:
                pass
            await asyncio.sleep(SHOWN)

    async def _goodbye(self) -> None:
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        try:
            await self.hub.engine.show(self.hub.spool.worker, b"")
        except Down:
            pass
        self.hub.direct.close()
        await self.hub.engine.close()
        self.hub.spool.close()
