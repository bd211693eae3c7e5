"""One attempt, from the order to its end: it is made ready, handed to its distributor with the
locked journal, and waited for; or taken over, if a former watcher has begun it.

What its end means is `coordination.understanding`, what follows is `coordination.lifecycle`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, assert_never

from orchestrator.coordination import plans, portable
from orchestrator.coordination.endedattempts import NotUnderstood, end_record, reopened
from orchestrator.coordination.health import Health
from orchestrator.coordination.holds import Holds
from orchestrator.coordination.life import Acting, Life, Starting
from orchestrator.coordination.news import Listener, Started
from orchestrator.coordination.orders import Orders
from orchestrator.coordination.readings import Readings
from orchestrator.coordination.remembering import bind
from orchestrator.coordination.replies import Replies
from orchestrator.coordination.sandboxing import Sandboxes
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.taskevents import TaskEvents
from orchestrator.coordination.tasktrees import TaskTrees
from orchestrator.distributors.base import ExecutionHandle, Order
from orchestrator.distributors.registry import Distributors
from orchestrator.errors import OrchestratorError, StoreFault
from orchestrator.files.layout import Layout
from orchestrator.model.attempt import AttemptEnd
from orchestrator.model.gates import Gate
from orchestrator.model.journal import AttemptFacts, Phase
from orchestrator.records import dataclass
from orchestrator.store import atomic
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store
from orchestrator.tools.activity import Progress
from orchestrator.tools.invocation import NotInstalled


@dataclass(frozen=True, slots=True)
class Over:
    """The attempt has ended. ``entry`` is the task's journal, locked, with the end in it unless the
    attempt was lost."""

    entry: Entry
    end: AttemptEnd


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What came to be held while the attempt was made ready; nothing has started."""

    entry: Entry
    gate: Gate


class Attempts:
    """Attempts of claimed tasks. Without ``holds`` nothing holds them back."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        distributors: Distributors,
        tasktrees: TaskTrees,
        sandboxes: Sandboxes,
        orders: Orders,
        readings: Readings,
        replies: Replies,
        events: TaskEvents,
        health: Health,
        holds: Holds | None,
        listener: Listener,
    ) -> None:
        self._layout, self._settings, self._store = layout, settings, store
        self._distributors, self._tasktrees, self._sandboxes = distributors, tasktrees, sandboxes
        self._orders, self._readings, self._replies = orders, readings, replies
        self._events, self._health, self._holds = events, health, holds
        self._listener = listener

    # -- a new one
    # ----------------------------------------------------------------------------------------------

    async def run(self, life: Life, entry: Entry) -> Over | HeldBack:
        """The task's next attempt. `NotUnderstood` if its journal is spoilt by the end."""
        life.stage = Starting()
        life.attempt = number = entry.journal.next_attempt
        life.records = list(entry.records)
        ready = await self._made_ready(life, entry)
        match ready:
            case Order():
                end = await self._acted(life, replace(ready, journal=entry.detach()))
                return Over(await self._reopened(life, number, end), end)
            case Gate():
                return HeldBack(entry, ready)
            case AttemptEnd():
                self._record_end(entry, number, ready)
                return Over(entry, ready)
            case _:
                assert_never(ready)

    async def _made_ready(self, life: Life, entry: Entry) -> Order | Gate | AttemptEnd:
        """Its order; or what is held by now, or the end of an attempt that cannot start. A disk
        that refuses is waited out."""
        while True:
            try:
                return await self._order(life, entry)
            except Exception as error:  # it concerns this task only, which must come to an end
                if not _by_the_disk(error):
                    return _cannot_start(error)
                self._health.failed(error)
                await self._health.fine()

    async def _order(self, life: Life, entry: Entry) -> Order | Gate:
        """All that its tool is to find: what people said, the tree, secrets, the sandbox. Offered,
        if it is to run elsewhere."""
        run_dir = self._layout.logs(life.id, life.attempt)
        self._replies.at_start(entry)
        bind(self._layout, life)
        if life.planning or plans.wanted(life.task, life.route, entry.journal):
            plans.narrow(life)
        await self._tasktrees.ready(life, entry)
        await self._orders.fetch(life)
        order = await self._sandboxes.around(life, self._orders.order(life, entry, run_dir))
        await self._readings.before(life, run_dir)
        if (held := self._held(life)) is not None:
            return held
        if order.portable:
            self._offer(life, entry, order)
        return order

    def _held(self, life: Life) -> Gate | None:
        """What came to be held while the attempt was prepared: a tree and its setup may take
        minutes."""
        if self._holds is None or self._store.cancel_request(life.id) is not None:
            return None
        return self._holds.closed(life.lane)

    def _offer(self, life: Life, entry: Entry, order: Order) -> None:
        """From here on the attempt may run elsewhere, whatever becomes of this process."""
        record = portable.record(order, self._store.clock.wall())
        entry.append(record, sync=True)
        life.records.append(record)
        at = {"phase": "attempt", "status": "running", "summary": portable.words(record)}
        offered = self._events.event(life, "attempt_dispatched", order.attempt, **at)
        self._store.log.commit([offered])

    async def _acted(self, life: Life, order: Order) -> AttemptEnd:
        life.began = asyncio.get_running_loop().time()
        distributor = self._distributors.at(life.route.place.name)
        handle = distributor.dispatch(order, self._started(life, order))
        life.stage = Acting(handle)
        return await handle.wait()

    def _started(self, life: Life, order: Order) -> Callable[[int], None]:
        """What follows when the tool of an attempt has been started."""

        def started(_: int) -> None:
            if isinstance(life.stage, Acting):
                life.stage = Acting(life.stage.handle, self._progress(life, order.facts))
            begun = {"record": "started", "attempt": order.attempt, "tag": order.tag}
            life.records.append(begun | {"at": self._store.clock.wall()})
            summary = os.path.basename(order.argv[0]) if order.argv else life.where
            self._store.log.commit([self._events.started(life, order.attempt, summary)])
            self._listener.hear(Started(life))

        return started

    def _progress(self, life: Life, started: Mapping[str, Any]) -> Progress:
        """What the log of its attempt tells, and its program's own log; only the latter if people
        have its terminal."""
        return Progress(
            f"{self._layout.logs(life.id, life.attempt)}/stdout.log",
            life.route.tool.presentation,
            self._settings.config.models.get(life.route.model or ""),
            secrets=self._orders.secrets(life),
            session=str(started.get("session") or ""),
            reads=life.route.mode != "interactive",
        )

    async def _reopened(self, life: Life, number: int, end: AttemptEnd) -> Entry:
        """The journal after an attempt, with the lock and with the attempt's end."""
        entry = await reopened(self._store, life.id, life.records)
        journal = entry.journal
        if journal.phase is Phase.BLOCKED:  # spoilt while the attempt ran, perhaps by the attempt
            entry.close()
            raise NotUnderstood(life.id)
        if not (journal.attempt and journal.attempt.number == number and journal.attempt.ended):
            self._record_end(entry, number, end)
        return entry

    def _record_end(self, entry: Entry, number: int, end: AttemptEnd) -> None:
        """An end that no supervisor could record: it was killed, or never began."""
        entry.append(end_record(number, end, self._store.clock.wall()), sync=True)

    # -- one that a former watcher has begun
    # ----------------------------------------------------------------------------------------------

    def adopted(self, life: Life, entry: Entry, facts: AttemptFacts) -> ExecutionHandle:
        """An attempt of this machine, whether or not its supervisor is still there."""
        handle = self._distributors.default.adopt(facts, entry.path)
        return self._taken_over(life, entry, handle)

    async def reattached(self, life: Life, entry: Entry) -> Over:
        """An attempt that was offered elsewhere: whoever has it is asked, never this machine's
        locks."""
        facts = entry.journal.attempt
        assert facts is not None
        life.records = list(entry.records)
        run_dir = self._layout.logs(life.id, facts.number)
        config, journal = self._settings.config, entry.detach()
        order = portable.again(self._layout, config, facts, run_dir, journal)
        entry.close()
        distributor = self._distributors.at(facts.where)
        handle = distributor.reattach(order, facts, self._started(life, order))
        end = await self._taken_over(life, entry, handle).wait()
        return Over(await self._reopened(life, facts.number, end), end)

    def _taken_over(self, life: Life, entry: Entry, handle: ExecutionHandle) -> ExecutionHandle:
        """It is this watcher's now; a request to stop it counts."""
        attempt = entry.journal.attempt
        life.stage = Acting(handle, self._progress(life, attempt.started if attempt else {}))
        if self._store.cancel_request(life.id) is not None:
            handle.cancel()
        return handle


def _by_the_disk(error: Exception) -> bool:
    """Whether it will be different when the disk works again."""
    if isinstance(error, StoreFault):
        return True
    return isinstance(error, OSError) and error.errno in atomic.DISK_FAULTS


def _cannot_start(error: Exception) -> AttemptEnd:
    """The end of an attempt that came to nothing before its tool did."""
    known = isinstance(error, OrchestratorError | OSError)
    cause = "not_installed" if isinstance(error, NotInstalled) else "start"
    return AttemptEnd(cause, message=str(error) if known else f"internal error: {error!r}")
