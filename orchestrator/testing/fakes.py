"""A clock that moves when told, and a distributor that runs nothing."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from orchestrator.clock import Clock
from orchestrator.distributors.base import ExecutionHandle, Order
from orchestrator.model.attempt import AttemptEnd, end_from
from orchestrator.model.journal import AttemptFacts
from orchestrator.records import dataclass
from orchestrator.store import atomic
from orchestrator.store.ledger import append_record


class FakeClock(Clock):
    """Stands still until it is moved.  ``start`` is the wall clock's first moment."""

    def __init__(self, start: float) -> None:
        self._start, self.elapsed = start, 0.0

    def wall(self) -> float:
        """The start, and what has passed since."""
        return self._start + self.elapsed

    def monotonic(self) -> float:
        """What has passed, counted from a moment of its own."""
        return 1000.0 + self.elapsed

    def move(self, seconds: float) -> None:
        """So many seconds pass."""
        self.elapsed += seconds

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock; no time passes."""
        self._start += seconds


@dataclass(frozen=True, slots=True)
class End:
    """How a fake attempt is to end: ``after`` so many seconds, with this exit ``code`` or ``cause``
    (`AttemptEnd`), having printed ``output``. ``after=None``: it goes on until it is cancelled."""

    after: float | None = 0.1
    code: int = 0
    cause: str = ""
    output: str = ""
    ignores_cancel: bool = False


class FakeDistributor:
    """Ends attempts as planned. It outlives the watchers that use it, as supervisors do, and keeps
    their journals locked.

    As the contract of `distributors.base` says, it writes ``started`` before the attempt counts as
    started and ``exit`` before the watcher hears of the end.

    One that is ``portable`` stands for another machine: its attempts go on when the watcher is
    gone, and hold no lock then.
    """

    def __init__(self, clock: FakeClock, portable: bool = False) -> None:
        self.clock, self.portable = clock, portable
        self.dispatched: list[Order] = []
        self.alive: dict[str, FakeHandle] = {}
        self._plans: dict[str, list[End]] = {}

    def plan(self, task_id: str, *ends: End) -> None:
        """How the next attempts of a task end, one after the other; the last one again and
        again."""
        self._plans[task_id] = list(ends)

    def fault(self) -> str:
        """Nothing ever keeps it from starting attempts."""
        return ""

    def prepare(self, slots: int) -> None:
        """Nothing to warm up."""

    def dispatch(self, order: Order, on_started: Callable[[int], None]) -> ExecutionHandle:
        """Start a fake attempt."""
        self.dispatched.append(order)
        plans = self._plans.setdefault(order.task_id, [End()])
        end = plans.pop(0) if len(plans) > 1 else plans[0]
        handle = FakeHandle(self, order, end)
        self.alive[order.task_id] = handle
        asyncio.get_running_loop().call_soon(on_started, 0)
        return handle

    def adopt(self, facts: AttemptFacts, journal: str) -> ExecutionHandle:
        """Take over what still runs; what does not is lost, unless its end is in the journal."""
        for handle in self.alive.values():
            if handle.order.tag == facts.started.get("tag"):
                handle.attach()
                return handle
        return _Ended(end_from(facts.ended) if facts.ended is not None else AttemptEnd("lost"))

    def reattach(
        self, order: Order, facts: AttemptFacts, on_started: Callable[[int], None]
    ) -> ExecutionHandle:
        """Go on with what runs elsewhere; what does not was never begun, and begins now."""
        for handle in self.alive.values():
            if handle.order.tag == order.tag:
                handle.order = order
                handle.attach()
                return handle
        return self.dispatch(order, on_started)

    def kill(self, task_id: str) -> None:
        """Its supervisor is killed: no end is recorded."""
        self.alive[task_id].lose()

    def close(self) -> None:
        """What runs goes on; what runs elsewhere, without this process's lock."""
        for handle in self.alive.values():
            if self.portable:
                handle.release()


class FakeHandle:
    """A fake attempt."""

    where = ""

    def __init__(self, owner: FakeDistributor, order: Order, end: End) -> None:
        self.order, self._owner, self._plan = order, owner, end
        self._began = owner.clock.monotonic()
        self._result: AttemptEnd | None = None
        self._record(
            {"record": "started", "attempt": order.attempt, "tag": order.tag, **order.facts}
        )
        self.attach()

    def attach(self) -> None:
        """Belong to the loop that runs now: a new watcher has its own."""
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        if self._result is not None:
            self._over.set()
        elif self._plan.after is not None:
            due = self._began + self._plan.after
            self._loop.call_at(due, self._end, self._plan.cause)

    def cancel(self) -> None:
        """Asked to stop: it does, at once, unless it is planned to ignore that."""
        if not self._plan.ignores_cancel:
            self._loop.call_soon(self._end, "cancelled")

    def lose(self) -> None:
        """Its supervisor is gone and has said nothing."""
        self._finish(AttemptEnd("lost"))

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._result is None

    async def wait(self) -> AttemptEnd:
        """How it ended, once it has."""
        await self._over.wait()
        assert self._result is not None
        return self._result

    def _end(self, cause: str) -> None:
        if self._result is not None:
            return
        took = round((self._owner.clock.monotonic() - self._began) * 1000)
        for name, text in (("stdout", self._plan.output), ("stderr", "")):
            path = f"{self.order.run_dir}/{name}.log"
            atomic.write_temporary(path, text.encode(), sync=False)
        code = None if cause else self._plan.code
        number = 15 if cause else None
        self._record(
            {
                "record": "exit",
                "attempt": self.order.attempt,
                "cause": cause,
                "code": code,
                "signal": number,
                "duration_ms": took,
            }
        )
        self._finish(AttemptEnd(cause, code, number, took))

    def _finish(self, end: AttemptEnd) -> None:
        self._result = end
        self._owner.alive.pop(self.order.task_id, None)
        self.release()  # frees the lock: from here on it is known to have ended
        self._over.set()

    def release(self) -> None:
        """Let go of the journal, and so of its lock."""
        if self.order.journal >= 0:
            os.close(self.order.journal)
        self.order = replace(self.order, journal=-1)

    def _record(self, record: dict[str, Any]) -> None:
        record = {**record, "at": self._owner.clock.wall()}
        append_record(self.order.journal, json.loads(json.dumps(record)), sync=False)


class _Ended:
    """An attempt that had ended before anybody could take it over."""

    where = ""

    def __init__(self, end: AttemptEnd) -> None:
        self._end = end

    def cancel(self) -> None:
        """Too late."""

    def is_running(self) -> bool:
        """No."""
        return False

    async def wait(self) -> AttemptEnd:
        """How it ended."""
        return self._end
