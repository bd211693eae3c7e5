"""One dispatch on its worker: claimed, run under this machine's supervisors, told of, and kept
until its watcher has all of it."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from typing import Any

from orchestrator import waiting
from orchestrator.coordination.elsewhere.hub import Hub
from orchestrator.coordination.elsewhere.lease import Gone, Lease, Wish
from orchestrator.coordination.elsewhere.sending import Sending
from orchestrator.coordination.elsewhere.spool import Entry
from orchestrator.coordination.elsewhere.workorder import order_of
from orchestrator.coordination.elsewhere.workplace import NoPlace
from orchestrator.distributors import packing
from orchestrator.distributors.base import ExecutionHandle
from orchestrator.distributors.dispatches import (
    CODE_MOST,
    FILES_MOST,
    FINISHED,
    PROMPT_MOST,
    RUNNING,
    Nonsense,
    Piece,
    blob,
    opened,
    watcher_topic,
)
from orchestrator.distributors.engines.base import KEPT, Down
from orchestrator.files import opening
from orchestrator.files.lockstate import locked
from orchestrator.model.attempt import AttemptEnd, end_from
from orchestrator.model.journal import AttemptFacts
from orchestrator.tools.invocation import NotInstalled

LOOK = 0.2  # seconds between looks at what was printed
PATIENCE = 60.0  # seconds, or the leash if that is longer, for what was sent beside the order
ENDED_BY_US = ("cancelled", "start")  # how an attempt ends that is cancelled, whenever that is
AFTER = 5.0  # seconds between looks whether the watcher has all of it
NAMES_MOST = 1 << 24  # bytes of the names of what was lent


class Job:
    """A dispatch. ``busy`` is whether it takes a slot; `run` ends when there is nothing more to do
    for it."""

    def __init__(self, hub: Hub, entry: Entry, adopted: bool) -> None:
        self.hub, self.entry, self.adopted = hub, entry, adopted
        self.told: dict[str, Any] = {}
        self.busy = True
        self.decided = asyncio.Event()  # whether it is ours
        self._lease = Lease(hub, entry)
        self._sending = Sending(hub, entry, self._lease, self.told)
        self._start: dict[str, Any] = {}  # when it began, and its session, for the record

    def wake(self) -> None:
        """Look at the record, or for what was asked for, now."""
        self._lease.woken.set()

    def depart(self) -> None:
        """Its machine is wanted for something else: the attempt is ended, and counts as lost."""
        self.entry.depart()
        self._lease.stop()

    async def run(self) -> None:
        """Everything, from the claim to the watcher's last word."""
        try:
            self.told.update(opened(self.entry.order()))
        # a worker was killed before it was whole: nothing was claimed, and the offer comes again
        except OSError:
            self.entry.remove()
            return
        except Nonsense as error:
            await self._refuse(error.message)
            return
        try:
            await self._take()
            self.decided.set()
            end = await self._ended()
            self.hub.wake.set()  # a slot is free
            self.hub.tell(f"{self.told['task']}: {_words(end)}")
            await self._until_home(end)
        except Gone:
            self.busy = False
            self._leave()

    async def _refuse(self, why: str) -> None:
        self.busy = False
        await self._lease.refuse(why)
        self.hub.tell(f"{self.entry.dispatch}: refused: {why}")
        self.entry.remove()

    async def _take(self) -> None:
        await self._lease.take()
        if not self.adopted:
            self.hub.tell(f"{self.told['task']}: taken")
        await self.hub.patient(self._lease.hold)
        await self._notify()

    async def _ended(self) -> AttemptEnd:
        """How it ended, once the record says so, too; the record is held meanwhile."""
        beating = asyncio.create_task(self._lease.beat(self.told["lease"]))
        try:
            end = await self._attempt()
            asked = self._lease.state.cancel
            if self.entry.departed and not asked and end.cause in ENDED_BY_US:
                end = replace(end, cause="lost", message="its job was ended")
            await self._finish(end)
            return end
        finally:
            self.busy = False
            beating.cancel()

    def _leave(self) -> None:
        """Nothing has run: nothing is kept.  Something has: it is kept, and told."""
        if not self.entry.begun:
            self.entry.remove()
            return
        self.entry.set_aside()
        task = self.told.get("task", self.entry.dispatch)
        self.hub.tell(
            f"{task}: its watcher had given up on it; its work is kept in {self.entry.folder}"
        )

    # -- doing it
    # ----------------------------------------------------------------------------------------------

    async def _known(self) -> AttemptFacts | None:
        """What a former worker began; None if it began nothing. It may have been killed after a
        supervisor had the journal, and before that wrote the first word into it."""
        while self.entry.facts() is None and locked(self.entry.journal):
            await asyncio.sleep(LOOK)
        return self.entry.facts()

    async def _attempt(self) -> AttemptEnd:
        facts = await self._known()
        if facts is not None and not self._lease.state.started:
            known = facts.started
            self._start = {"started": known.get("at", 0.0), "session": known.get("session", "")}
        if facts is not None and facts.ended is not None:
            return end_from(facts.ended)
        if facts is not None:
            handle = self.hub.direct.adopt(facts, self.entry.journal)
            self._sending.given = packing_names(self.entry)
            return await self._followed(handle)
        try:
            await self._prepare()
            folder = await asyncio.to_thread(self.hub.workplace.ready, self.entry, self.told)
            await self._place_given()
            order = await asyncio.to_thread(
                order_of,
                self.told,
                self.hub.config,
                self.hub.tools,
                self.entry,
                self.hub.root,
                folder,
            )
        except Gone:
            raise
        except (
            Exception
        ) as error:  # it concerns this dispatch only, and its watcher must hear of it
            cause = "not_installed" if isinstance(error, NotInstalled) else "start"
            why = getattr(error, "message", None) or str(error) or repr(error)
            hint = getattr(error, "hint", "")
            return AttemptEnd(
                cause, message=f"{self.hub.name}: {why}{f' - {hint}' if hint else ''}"
            )
        if self._lease.gone:
            raise Gone
        journal = self.entry.locked(self.told["task"])
        from_start = asyncio.Event()
        session = str(order.facts.get("session", ""))

        def began(_: int) -> None:
            self._start = {"started": time.time(), "session": session}
            from_start.set()

        handle = self.hub.direct.dispatch(replace(order, journal=journal), began)
        told = asyncio.create_task(self._tell_start(from_start))
        try:
            return await self._followed(handle)
        finally:
            told.cancel()

    async def _tell_start(self, started: asyncio.Event) -> None:
        """Soon; an attempt that ends sooner tells of both at once."""
        await started.wait()
        while True:
            try:
                await self._lease.hold(state=RUNNING, **self._start)
                await self._notify()
                return
            except (Down, OSError):
                await asyncio.sleep(LOOK)
            except Gone:
                return

    async def _prepare(self) -> None:
        """Have what the order leaves out: a large prompt, and commits that are not here."""
        if self.told.get("prompt") is None:
            data = await self._load("prompt", PROMPT_MOST)
            self.told["prompt"] = data.decode("utf-8", "replace")
        if not await asyncio.to_thread(self.hub.workplace.lacks, self.told["code"]):
            return
        has = await asyncio.to_thread(self.hub.workplace.has)
        asking = Piece(has=tuple(has))
        await self.hub.patient(lambda: self.hub.engine.append(self.entry.dispatch, asking.bytes()))
        await self._notify()
        data = await self._load("code", CODE_MOST)
        if not data:
            raise NoPlace("the watcher cannot send the code: it is too large, or gone")
        await asyncio.to_thread(
            self.hub.workplace.take, self.entry, self.told["code"]["commit"], data
        )

    async def _load(self, what: str, most: int) -> bytes:
        """A blob, once it is there. Raises `NoPlace` after a while, or when it is to be
        cancelled."""
        end = time.monotonic() + max(PATIENCE, self.told["leash"])
        name = blob(self.entry.dispatch, what)
        while time.monotonic() < end:
            self._lease.woken.clear()
            data = await self.hub.patient(lambda: self.hub.engine.load(name, most))
            if data is not None:
                return data
            if self._lease.gone:
                raise Gone
            if os.path.exists(self.entry.cancel):
                raise NoPlace("cancelled before it began")
            await self._pause(LOOK)
        raise NoPlace(f"its {what} did not arrive")

    async def _place_given(self) -> None:
        if not self.told.get("given"):
            return
        data = await self._load("given", FILES_MOST * 2)
        place = self.hub.workplace.place
        self._sending.given = await asyncio.to_thread(place, self.entry, self.told, data)
        save_names(self.entry, self._sending.given)

    async def _followed(self, handle: ExecutionHandle) -> AttemptEnd:
        """How it ends; what it prints is sent meanwhile."""
        self._lease.handle = handle
        ended = asyncio.ensure_future(handle.wait())
        if os.path.exists(self.entry.cancel):
            handle.cancel()
        while not ended.done():
            if not self._lease.gone:
                try:
                    if await self._sending.printed():
                        await self._notify()
                except (Down, OSError):
                    pass
            await asyncio.wait((ended,), timeout=LOOK)
            if self._lease.woken.is_set() and not self._lease.gone:
                self._lease.woken.clear()
                try:
                    await self._lease.hold()
                except (Down, OSError, Gone):
                    pass
        end = await ended
        if self._lease.gone:
            raise Gone
        return end

    # -- telling its end
    # ----------------------------------------------------------------------------------------------

    async def _finish(self, end: AttemptEnd) -> None:
        """Everything is at the broker before the record says that it is finished."""
        lease = self._lease
        lease.ending = True
        told = -1
        while told != lease.state.told or lease.state.state != FINISHED:
            told = lease.state.told
            try:
                document = await self._sending.everything(end)
                if told == lease.state.told:
                    await lease.hold(state=FINISHED, end=document, **self._start)
            except (Down, OSError):
                await self._pause(min(1.0, self.told["lease"]))
        await self._notify()

    async def _until_home(self, end: AttemptEnd) -> None:
        """Until the watcher has all of it; what it asks for again is sent again. After a week
        nobody asks any more."""
        last = time.time() + KEPT
        while time.time() < last:
            self._lease.woken.clear()
            try:
                wish = await self._lease.wish()
                if wish is Wish.NOTHING:
                    break
                if wish is Wish.AGAIN:
                    await self._finish(end)
            except (Down, OSError):
                pass
            await self._pause(AFTER)
        await asyncio.to_thread(self.hub.workplace.forget, self.entry)
        self.entry.remove()

    # -- small things
    # ----------------------------------------------------------------------------------------------

    async def _notify(self) -> None:
        try:
            await self.hub.engine.notify(watcher_topic(self.told["project"]), self.entry.dispatch)
        except Down:
            pass  # the watcher looks by itself

    async def _pause(self, seconds: float) -> None:
        await waiting.happened(self._lease.woken, seconds)


def save_names(entry: Entry, names: list[str]) -> None:
    """Remember what was lent, for a worker that takes over."""
    packing.place(entry.folder, "given", "\0".join(names).encode())


def packing_names(entry: Entry) -> list[str]:
    """What `save_names` remembered."""
    try:
        data = opening.read_bytes(f"{entry.folder}/given", NAMES_MOST)
    except OSError:
        return []
    return [name for name in data.decode("utf-8", "replace").split("\0") if name]


def _words(end: AttemptEnd) -> str:
    if end.cause:
        return f"{end.cause}{f': {end.message}' if end.message else ''}"
    return f"ended with {end.code}" if end.signal is None else f"ended by signal {end.signal}"
