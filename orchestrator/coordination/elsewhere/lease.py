"""The record of a dispatch at the broker, as far as it is this worker's.

It is held by beats, each a compare-and-set; only a beat that succeeded touches the leash. So
whoever has lost the record, or the broker, has its attempt ended by the supervisor, whatever
becomes of this process.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

from orchestrator.coordination.elsewhere.hub import Hub
from orchestrator.coordination.elsewhere.spool import Entry, boottime
from orchestrator.distributors.base import ExecutionHandle
from orchestrator.distributors.dispatches import (
    CLAIMED,
    FINISHED,
    LOST,
    OFFERED,
    OVER,
    RUNNING,
    Nonsense,
    State,
    record_name,
    state_from,
)
from orchestrator.distributors.engines.base import Down, Record


class Gone(Exception):
    """The dispatch is not ours any more."""


class Wish(Enum):
    """What its watcher wants of an attempt that has ended."""

    NOTHING = "nothing"  # all of it is home
    AGAIN = "again"  # all of it, once more
    TIME = "time"  # it is still bringing it home


class Lease:
    """``state`` is what the record says, as last read or written here; ``gone`` whether it is
    somebody else's. ``handle`` is the attempt that ends once it is, or once the watcher asks for
    its end. ``ending`` is whether we have begun to tell how it ended. ``woken`` is set when the
    record, or what was asked for, is to be looked at now."""

    def __init__(self, hub: Hub, entry: Entry) -> None:
        self.state = State("")
        self.gone = False
        self.ending = False
        self.handle: ExecutionHandle | None = None
        self.woken = asyncio.Event()
        self._hub, self._entry = hub, entry
        self._name = record_name(entry.dispatch)
        self._revision: int | None = None
        self._holding = asyncio.Lock()

    # -- having it
    # ----------------------------------------------------------------------------------------------

    async def take(self) -> None:
        """Claim it; or, after a worker that was killed, have it still.  Raises `Gone`."""
        record = await self._hub.patient(self._read)
        state = state_of(record)
        begun = self._entry.begun
        if state is None and begun:  # the broker lost its data: say it again
            self.state = State(RUNNING, self._hub.spool.worker, self._hub.name, told=1)
            await self._say_again()
        elif record is None or state is None:
            raise Gone
        elif self._is_ours(state):
            self.state, self._revision = state, record.revision
        elif state.state == OFFERED and not begun:
            await self._claim(record.revision)
        else:
            raise Gone

    def _is_ours(self, state: State) -> bool:
        """Whether it says that we have it, and that its watcher has not all of it."""
        if state.worker != self._hub.spool.worker:
            return False
        return state.state not in OVER or (state.state == FINISHED and not state.done)

    async def _claim(self, offered: int) -> None:
        touched = boottime()
        claimed = State(CLAIMED, self._hub.spool.worker, self._hub.name, beat=1)
        revision = await self._hub.patient(lambda: self._write(claimed, offered))
        if revision is not None:
            self.state, self._revision = claimed, revision
            self._entry.touch(touched)
            return
        # Another worker was faster, or it was withdrawn; or it was us, and the answer was lost.
        record = await self._hub.patient(self._read)
        state = state_of(record)
        if record is None or state is None or state.state in OVER or not self._is_ours(state):
            raise Gone
        self.state, self._revision = state, record.revision

    async def refuse(self, why: str) -> None:
        """Nobody here understands the order: its watcher hears why, if nobody else has it."""
        record = await self._hub.patient(self._read)
        state = state_of(record)
        if record is not None and state is not None and state.state == OFFERED:
            end = {"cause": "start", "message": f"{self._hub.name}: {why}"}
            refused = State(FINISHED, self._hub.spool.worker, self._hub.name, end=end)
            await self._hub.patient(lambda: self._write(refused, record.revision))

    # -- keeping it
    # ----------------------------------------------------------------------------------------------

    async def beat(self, lease: float) -> None:
        """Hold it, four times a lease (seconds), until it is gone."""
        while True:
            await asyncio.sleep(lease / 4)
            try:
                await self.hold()
            except (Down, OSError):
                continue  # the leash runs
            except Gone:
                return

    async def hold(self, **changes: Any) -> None:
        """One beat, with what has changed.  Raises `Gone` once it is somebody else's, or over."""
        async with self._holding:
            if self.gone:
                raise Gone
            if not await self._beat_once(changes):
                await self._read_again()
                if not await self._beat_once(changes):
                    raise Down("the record changes faster than it is read")

    async def _beat_once(self, changes: dict[str, Any]) -> bool:
        """Whether the record was still as we knew it."""
        touched = boottime()
        wanted = self.state.but(beat=self.state.beat + 1, **changes)
        revision = await self._write(wanted, self._revision)
        if revision is None:
            return False
        self.state, self._revision = wanted, revision
        self._entry.touch(touched)
        return True

    async def _read_again(self) -> None:
        """Somebody else has written the record: the watcher, who asks for something, or nobody: it
        is lost."""
        record = await self._read()
        if record is None:
            await self._say_again()
            return
        state = state_of(record)
        if state is None or state.worker != self._hub.spool.worker or state.state == LOST:
            self._lose()
            raise Gone
        if state.state == FINISHED and self.state.state != FINISHED:
            ours = self.ending  # our own write, whose answer was lost
            if not ours or state.done:
                self._lose()
                raise Gone
        self._revision = record.revision
        self.state = self.state.but(
            cancel=state.cancel,
            beat=max(state.beat, self.state.beat),
            again=state.again,
            done=state.done,
        )
        if state.cancel:
            self.stop()

    async def _say_again(self) -> None:
        """The broker lost its data: record, logs and all else from the first."""
        fresh = self.state.but(told=self.state.told + 1)
        revision = await self._hub.patient(lambda: self._write(fresh, None))
        if revision is None:
            self._lose()
            raise Gone
        self.state, self._revision = fresh, revision

    def _lose(self) -> None:
        """It is not ours any more: no two attempts of a task are ever alive together."""
        self.gone = True
        self.stop()
        self.woken.set()

    def stop(self) -> None:
        """Ask for the end of its attempt."""
        self._entry.stop()
        if self.handle is not None:
            self.handle.cancel()

    # -- after its end
    # ----------------------------------------------------------------------------------------------

    async def wish(self) -> Wish:
        """What the watcher wants now; if it wants all of it again, the record says that it runs.
        Raises `Gone`, and `Down`."""
        record = await self._read()
        state = state_of(record)
        if record is None:  # the broker lost its data
            self.state = self.state.but(state=RUNNING)
            await self._say_again()
            return Wish.AGAIN
        if state is None or state.state == LOST or state.worker != self._hub.spool.worker:
            raise Gone
        if state.done:
            return Wish.NOTHING
        if state.again == self.state.again:
            return Wish.TIME
        self._revision = record.revision
        self.state = state.but(state=RUNNING, told=state.told + 1)
        return Wish.AGAIN

    # -- the broker
    # ----------------------------------------------------------------------------------------------

    async def _read(self) -> Record | None:
        return await self._hub.engine.read(self._name)

    async def _write(self, state: State, revision: int | None) -> int | None:
        """The new revision; None if the record is another than that of ``revision``."""
        return await self._hub.engine.write(self._name, state.bytes(), revision)


def state_of(record: Record | None) -> State | None:
    """What it says; None if it says nothing that we understand."""
    if record is None:
        return None
    try:
        return state_from(record.value)
    except Nonsense:
        return None
