"""One dispatch, from its offer to its end, as its watcher sees it.

`QueueHandle` looks at the record and the events again and again: a word from the worker only makes
it look at once. What it finds is always acted upon in the same way, so a watcher that was killed, a
broker that was away and one that lost its data are no cases of their own.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from orchestrator import waiting
from orchestrator.distributors.base import Order
from orchestrator.distributors.dispatches import (
    CANCELLED_UNCLAIMED,
    FINISHED,
    LEFTOVERS,
    LOST,
    OFFERED,
    OVER,
    Nonsense,
    Piece,
    State,
    lost_at,
    piece_from,
    record_name,
    state_from,
    worker_topic,
)
from orchestrator.distributors.engines.base import Down, Record, epoch
from orchestrator.distributors.farm import Farm
from orchestrator.distributors.homecoming import Homecoming
from orchestrator.distributors.incoming import Incoming
from orchestrator.distributors.outgoing import Outgoing
from orchestrator.errors import OrchestratorError
from orchestrator.model.attempt import AttemptEnd
from orchestrator.model.journal import AttemptFacts
from orchestrator.model.units import show_duration
from orchestrator.store.ledger import append_record

LOOK_MOST, LOOK_LEAST = 2.0, 0.1  # seconds between looks, if nobody says a word
RENEWED = 6 * 3600.0  # seconds after which an offer is made anew, so that it does not expire
PARTS = 8  # answers with events that one look reads
HEARD_MOST = 1 << 21  # events of one attempt: ten a second for two days
ASKED_MOST = 8  # times that the code is sent; once is enough, unless a broker loses it
SOON = 1.0  # seconds for which the end waits until its worker was told that all is home


class Ended(Exception):
    """The dispatch is over before anybody had it."""

    def __init__(self, end: AttemptEnd) -> None:
        self.end = end


class QueueHandle:
    """An attempt that was offered, or is about to be. ``facts`` is what a former watcher knew of
    it."""

    def __init__(
        self,
        farm: Farm,
        order: Order,
        on_started: Callable[[int], None],
        facts: AttemptFacts | None = None,
    ) -> None:
        self._farm, self._order, self._on_started = farm, order, on_started
        self._started = facts is not None and bool(facts.started)
        self._worker = str(facts.started.get("worker", "")) if facts else ""  # what it is called
        self._offered_to = _offered_to(facts)
        self._journal = order.journal
        self.dispatch = str(order.portable["dispatch"])
        self._name = record_name(self.dispatch)
        self._wake = asyncio.Event()
        self._end: asyncio.Future[AttemptEnd] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._outgoing = Outgoing(farm, order, self.dispatch)
        self._incoming = Incoming(farm, order, self.dispatch)
        self._homecoming = Homecoming(farm, order, self.dispatch, self._incoming)
        self._cursor, self._told = "", 0
        self._heard = 0  # events
        self._asked = 0  # how often a worker has asked for the code
        self._state = State("")  # as last seen
        self._offered_at = -RENEWED
        self._looked = 0.0  # when the broker answered last
        self._silent = 0.0  # seconds without a beat while it answered
        self._absent = 0.0  # and without a record
        self._overdue = 0.0  # and since it was to end, or has
        # Longer than anything that a worker may still have running without us knowing of it.
        graces = order.interrupt_grace + order.terminate_grace + LEFTOVERS + 1.0
        self._patience = farm.leash + graces + 2 * farm.lease

    # -- as a handle
    # ----------------------------------------------------------------------------------------------

    def begin(self, over: Callable[[], None]) -> None:
        """Follow it; ``over`` is called when there is nothing more to follow."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(lambda _: over())

    def wake(self) -> None:
        """Look at it now."""
        self._wake.set()

    def cancel(self) -> None:
        self.wake()  # the request is a file, which every look sees

    def is_running(self) -> bool:
        return not self._end.done()

    async def wait(self) -> AttemptEnd:
        return await asyncio.shield(self._end)

    @property
    def where(self) -> str:
        name, farm = self._state.name, self._farm
        if farm.trouble:
            return f"{farm.name} does not answer"
        if not self._state.worker:
            if told := farm.offering.where(self.dispatch):
                return f"waiting at {farm.name}: {told}"
            return f"waiting at {farm.name}: pool {self._order.portable['pool']}"
        if self._silent > 2 * farm.lease:
            return f"no word from {name} for {show_duration(self._silent)}"
        return f"on {name} ({farm.name})"

    def release(self) -> None:
        """Let go of the journal, and so of its lock; what runs elsewhere goes on."""
        if self._task is not None:
            self._task.cancel()
        self._close()

    def _close(self) -> None:
        self._incoming.close()
        if self._journal >= 0:
            os.close(self._journal)
        self._journal = -1

    # -- following it
    # ----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        end = await self._until_over()
        self._farm.tell(self.dispatch, "")
        self._close()  # frees the lock: its end is in the journal, or the coordination writes it
        # A watcher that has nothing more to do leaves with the last end: its worker would wait for
        # this word for minutes.
        told = False
        with suppress(TimeoutError):
            told = await waiting.within(SOON, self._homecoming.tell())
        if not self._end.done():
            self._end.set_result(end)
        self._farm.news.set()
        await self._homecoming.forget(told, self._outgoing.left)
        self._farm.offering.over(self.dispatch, end.cause == "lost")

    async def _until_over(self) -> AttemptEnd:
        while True:
            self._wake.clear()
            try:
                if self._cancelled() and not self._offered_to:
                    self._homecoming.record(CANCELLED_UNCLAIMED)
                    return AttemptEnd("cancelled")
                if self._farm.ready.is_set():
                    end = await self._look()
                    self._farm.tell(self.dispatch, "")
                    if end is not None:
                        return end
            except Ended as over:
                return over.end
            except Down as error:
                self._farm.tell(self.dispatch, error.message)
            except (
                OSError
            ) as error:  # this machine's disk: nothing is forgotten, and the next look tries again
                self._farm.tell(self.dispatch, f"this machine: {error.strerror}")
            pause = min(max(self._farm.lease / 2, LOOK_LEAST), LOOK_MOST)
            await waiting.happened(self._wake, pause)

    async def _look(self) -> AttemptEnd | None:
        """Act on the record as it is now; how the attempt ended, if it has."""
        record = await self._farm.engine.read(self._name)
        passed = self._passed()
        state = _understood(record)
        if record is None or state is None:
            await self._without_record(record, passed)
            return None
        self._absent = 0.0
        before, self._state = self._state, state
        alive = state.beat != before.beat or state.state != before.state
        self._silent = 0.0 if alive else self._silent + passed
        if self._overdue or state.cancel or state.state == FINISHED:
            self._overdue += passed
        if state.told != self._told:
            self._told, self._cursor = state.told, ""
        if state.state == LOST:
            return self._lost("was given up by an earlier watcher")
        if state.state == OFFERED:
            await self._while_offered(record, state)
            return None
        self._farm.offering.taken(self.dispatch)
        if state.started and not self._started:
            self._note_start(state)
        if state.state == FINISHED:
            if not (state.done or await self._read_events() or self._is_late):
                return None
            return await self._homecoming.bring(record, state, self._is_late)
        await self._read_events()
        await self._while_running(record, state)
        return None

    @property
    def _is_late(self) -> bool:
        """Whether it is waited for no longer: nobody hears of its worker, or that says for ever that
        it is about to end."""
        return max(self._silent, self._overdue) > self._patience

    def _passed(self) -> float:
        """Seconds since the broker's last answer: no more than a lease counts, for nobody knows
        what happened while it was away."""
        now = time.monotonic()
        passed = min(now - self._looked, self._farm.lease) if self._looked else 0.0
        self._looked = now
        return passed

    def _cancelled(self) -> bool:
        return os.path.exists(self._order.cancel)

    async def _without_record(self, record: Record | None, passed: float) -> None:
        """Nobody has it, unless the broker lost its data, or has nonsense in its place: then whoever
        may have it has time to say so, or has ended by its leash."""
        revision = None if record is None else record.revision
        if self._cancelled() and await self._withdraw(revision):
            raise Ended(AttemptEnd("cancelled"))
        if await self._was_there(record):
            self._cursor = ""
            self._absent += passed
            if self._absent < self._patience:
                return
            if self._ran:
                await self._give_up(
                    revision, "has not said again what it runs since the broker lost its data"
                )
                return
        await self._offer(revision)
        self._absent = 0.0

    async def _was_there(self, record: Record | None) -> bool:
        """Whether the broker may have had the record that it has not now.

        Its epoch is read after the record was not found: if it is still the one that the offer was
        for, nothing was lost in between, so there has never been a record.
        """
        if not self._offered_to:
            return False
        if record is None and not self._state.state and not self._absent:
            self._farm.epoch = await epoch(self._farm.engine)
            return self._farm.epoch != self._offered_to
        return True

    @property
    def _ran(self) -> bool:
        """Whether a worker is known to have had it."""
        return self._started or bool(self._state.worker)

    async def _while_offered(self, record: Record, state: State) -> None:
        if self._cancelled():
            if await self._withdraw(record.revision):
                raise Ended(AttemptEnd("cancelled"))
            return
        if why := self._farm.offering.failed(self.dispatch):
            if await self._withdraw(record.revision, {"cause": "start", "message": why}):
                raise Ended(AttemptEnd("start", message=why))
            return
        if time.monotonic() - self._offered_at > RENEWED:
            # Also after a watcher that was killed between the record and the offer.
            if await self._farm.engine.write(self._name, state.bytes(), record.revision):
                await self._push(await self._envelope())

    async def _while_running(self, record: Record, state: State) -> None:
        if self._is_late:
            silent = f"has not been heard of for {show_duration(self._silent)}"
            stubborn = "was told to end it, and goes on"
            late = silent if self._silent > self._patience else stubborn
            await self._give_up(record.revision, late)
        elif self._cancelled() and not state.cancel:
            wanted = state.but(cancel=True)
            if await self._farm.engine.write(self._name, wanted.bytes(), record.revision):
                await self._farm.engine.notify(worker_topic(state.worker), self.dispatch)
            else:
                self.wake()

    async def _give_up(self, revision: int | None, why: str) -> None:
        """It is waited for no longer; if its worker comes back, the record tells it."""
        lost = State(LOST, self._state.worker, self._state.name)
        if await self._farm.engine.write(self._name, lost.bytes(), revision):
            raise Ended(self._lost(why))
        self.wake()

    def _lost(self, why: str) -> AttemptEnd:
        """What is said of it: ``why`` goes on after its worker's name."""
        worker = lost_at(self._state.name or self._worker, self._farm.name)
        return AttemptEnd("lost", message=f"{worker} {why}; only its logs so far are here")

    async def _withdraw(
        self, revision: int | None, end: Mapping[str, Any] = CANCELLED_UNCLAIMED
    ) -> bool:
        """End what nobody has claimed; False if somebody has by now."""
        withdrawn = State(FINISHED, end=end, done=True)
        done = await self._farm.engine.write(self._name, withdrawn.bytes(), revision)
        if not done:
            self.wake()
            return False
        self._state = withdrawn
        self._homecoming.record(end)
        return True

    # -- offering it
    # ----------------------------------------------------------------------------------------------

    async def _offer(self, revision: int | None) -> None:
        told = await self._envelope()
        state = State(OFFERED)
        self._note_offer()
        if await self._farm.engine.write(self._name, state.bytes(), revision) is None:
            self.wake()  # it is there, after all
            return
        self._state = state
        await self._push(told)

    def _note_offer(self) -> None:
        """Remember which data of the broker has the offer, before it can have it."""
        broker = self._farm.epoch
        if self._offered_to == broker:
            return
        record = {"record": "offered", "attempt": self._order.attempt, "at": time.time()}
        append_record(self._journal, {**record, "broker": broker}, sync=True)
        self._offered_to = broker

    async def _push(self, told: bytes) -> None:
        await self._farm.offering.place(self.dispatch, self._order.portable, told)
        self._offered_at = time.monotonic()

    async def _envelope(self) -> bytes:
        """What is offered; what is too large for it is at the broker already. Raises `Ended` if it
        cannot be made."""
        try:
            return await self._outgoing.envelope()
        except (OrchestratorError, ValueError) as error:
            if isinstance(error, Down):
                raise
            why = getattr(error, "message", None) or str(error)
            end = {"cause": "start", "message": why}
            self._homecoming.record(end)
            raise Ended(AttemptEnd("start", message=why)) from None

    # -- hearing of it
    # ----------------------------------------------------------------------------------------------

    def _note_start(self, state: State) -> None:
        self._started = True
        record = {"record": "started", "attempt": self._order.attempt, "at": time.time(), "tag": self._order.tag, "worker": state.name}  # fmt: skip
        if state.session:
            record |= {"session": state.session, "resumed": False}
        append_record(self._journal, record, sync=True)
        self._farm.news.set()
        self._on_started(0)

    async def _read_events(self) -> bool:
        """Whether all of them are read. One look reads some, and all looks no more than a worker
        sends: who never stops sending keeps nobody from cancelling it, nor it from its end."""
        for _ in range(PARTS):
            part = await self._farm.engine.events(self.dispatch, self._cursor)
            for cursor, data in part:
                try:
                    await self._hear(piece_from(data))
                except Nonsense:
                    pass
                self._cursor = cursor
            self._heard += len(part)
            if not part or self._heard > HEARD_MOST:
                return True
        self.wake()
        return False

    async def _hear(self, piece: Piece) -> None:
        """It prints, or it asks for the commits that it lacks."""
        if piece.log:
            self._incoming.write(piece)
        elif self._asked < ASKED_MOST and not self._started and self._state.state not in OVER:
            await self._outgoing.code(piece.has)
            self._asked += 1
            await self._farm.engine.notify(worker_topic(self._state.worker), self.dispatch)


def _understood(record: Record | None) -> State | None:
    """What a record says; None if there is none, or if nobody who beats writes such a thing."""
    try:
        return None if record is None else state_from(record.value)
    except Nonsense:
        return None


def _offered_to(facts: AttemptFacts | None) -> str:
    """The broker's data that may have the offer (its epoch); empty: nobody can know of it."""
    if facts is None:
        return ""
    # A record of an earlier version does not say: then the broker may have had it.
    return str(facts.dispatched.get("offered", "unknown"))
