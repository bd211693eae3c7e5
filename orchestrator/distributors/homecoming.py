"""The end of one dispatch: what its worker has is brought home and recorded; then its worker and
the broker hear that they need keep nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from orchestrator.distributors.base import Order
from orchestrator.distributors.dispatches import (
    BLOBS,
    FINISHED,
    LOGS,
    UNKNOWN,
    Nonsense,
    State,
    blob,
    lost_at,
    record_name,
    state_from,
    worker_topic,
)
from orchestrator.distributors.engines.base import Down, Record
from orchestrator.distributors.farm import Farm
from orchestrator.distributors.home import NotHome
from orchestrator.distributors.incoming import Incoming
from orchestrator.model.attempt import AttemptEnd, end_from
from orchestrator.model.units import show_duration
from orchestrator.store.ledger import append_record

ASKED_MOST = 3  # how often what is missing of an end is asked for again


class Homecoming:
    """``home`` says whether all of it is here, or nothing has to come."""

    def __init__(self, farm: Farm, order: Order, dispatch: str, incoming: Incoming) -> None:
        self._farm, self._order, self._dispatch = farm, order, dispatch
        self._name, self._incoming = record_name(dispatch), incoming
        self.home = False
        self._asked = 0  # how often, for what is missing
        self._ready_to_ask = 0.0  # when (monotonic) to ask again

    async def bring(self, record: Record, state: State, late: bool) -> AttemptEnd | None:
        """Bring home what there is, then record the end; None while something is still missing, and
        it is not too ``late`` for that."""
        # It was brought home, or withdrawn, by a watcher that was killed before it could say so
        # here.
        if state.done:
            return self._recorded(state.end, name=state.name)
        end = dict(state.end)
        try:
            missing = await self._incoming.missing(end)
        except NotHome as error:
            why = f"the work from {state.name} was not accepted: {error.message}"
            return self._recorded(end | {"cause": "not_home", "message": why}, home=False)
        except Down as error:
            if not late:
                raise
            missing = [f"all of it ({error.message})"]
        if missing and self._asked < ASKED_MOST:
            await self._ask_again(record, state)
            return None
        if missing and not late:
            return None
        if missing:
            why = f"{', '.join(missing)} did not arrive from {state.name}"
            end |= {"cause": "not_home", "message": why}
        return self._recorded(end, home=not missing, name=state.name)

    async def _ask_again(self, record: Record, state: State) -> None:
        if time.monotonic() < self._ready_to_ask:
            return
        self._asked += 1
        self._ready_to_ask = time.monotonic() + self._farm.lease
        again = state.but(again=state.again + 1)
        await self._farm.engine.write(self._name, again.bytes(), record.revision)
        await self._farm.engine.notify(worker_topic(state.worker), self._dispatch)

    def _recorded(self, end: Mapping[str, Any], home: bool = True, name: str = "") -> AttemptEnd:
        if end["cause"] in UNKNOWN:  # the coordination records it
            self.home = home
            return AttemptEnd("lost", message=self._lost(end, name))
        self.record(end, home)
        return end_from({"record": "exit", **end})

    def _lost(self, end: Mapping[str, Any], name: str) -> str:
        """What its worker says of an end that nobody can account for."""
        why = "says that its supervisor there was killed"
        if end["cause"] == "leash":
            leash = show_duration(self._farm.leash)
            why = f"ended it after {leash} (the leash) without the broker"
        elif end.get("message"):
            why = f"says: {end['message']}"
        return f"{lost_at(name, self._farm.name)} {why}; what it had done until then has come back"

    def record(self, end: Mapping[str, Any], home: bool = True) -> None:
        """Write the end into the journal. What is not ``home`` stays with its worker."""
        record = {"record": "exit", "attempt": self._order.attempt, "at": time.time(), **end}
        for name in (*LOGS, "work", "made"):
            record.pop(name, None)
        append_record(self._order.journal, record, sync=True)
        self.home = home

    async def tell(self) -> bool:
        """Say that all of it is home; whether it is, and that is said."""
        try:
            state = await self._say_done()
            if state is not None and state.worker:
                await self._farm.engine.notify(worker_topic(state.worker), self._dispatch)
        except (Down, Nonsense, OSError):
            return False
        return state is not None

    async def _say_done(self) -> State | None:
        """Write that all of it is home; the record as it was. None if there is none, or if it is
        not home."""
        while self.home:  # a last beat of its worker may come between
            record = await self._farm.engine.read(self._name)
            if record is None:
                return None
            state = state_from(record.value)
            if state.state != FINISHED or state.done:
                return state
            end = {"cause": state.end["cause"]}
            done = State(FINISHED, state.worker, state.name, end=end, done=True)
            if await self._farm.engine.write(self._name, done.bytes(), record.revision):
                return state
        return None

    async def forget(self, told: bool, code: bool) -> None:
        """The broker and the worker need keep nothing, once they are ``told`` that all is home; nor
        we the ``code`` that was left for it. If they do not hear of it, both forget it in a
        week."""
        try:
            if code:
                await asyncio.to_thread(self._farm.home.end, self._dispatch)
            if told or await self.tell():
                names = [blob(self._dispatch, what) for what in BLOBS]
                await self._farm.engine.drop(self._dispatch, names)
        except (Down, OSError):
            pass
