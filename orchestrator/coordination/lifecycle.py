"""One task's life from the claim to its last folder: attempts, retries, the result.

Everything here survives being cut off at any point: each step is either recorded (journal, event,
rename) or will be repeated by the next watcher, which enters the same code through `Lives.resume`.
"""

from __future__ import annotations

import os
from typing import assert_never

from orchestrator.coordination.attempts import Attempts, HeldBack, Over
from orchestrator.coordination.durable import Durable
from orchestrator.coordination.endedattempts import cancelled
from orchestrator.coordination.finishing import Finishing
from orchestrator.coordination.health import Health
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.holds import Holds
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import Listener
from orchestrator.coordination.nextsteps import REFUSALS, NextSteps, refusals
from orchestrator.coordination.orders import Orders
from orchestrator.coordination.proof import Proof
from orchestrator.coordination.readings import Readings
from orchestrator.coordination.replies import Replies
from orchestrator.coordination.results import Results
from orchestrator.coordination.resuming import Due, Resuming
from orchestrator.coordination.sandboxing import Sandboxes
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.taskevents import TaskEvents
from orchestrator.coordination.tasktrees import TaskTrees
from orchestrator.coordination.taskwork import TaskWork
from orchestrator.coordination.toollimits import ToolLimits
from orchestrator.coordination.understanding import Understanding
from orchestrator.distributors.registry import Distributors
from orchestrator.files.layout import Layout
from orchestrator.model.policy import Retry
from orchestrator.model.status import Outcome
from orchestrator.store.claiming import Claim, Withdrawn
from orchestrator.store.ledger import Entry
from orchestrator.store.recovery import Step
from orchestrator.store.transitions import Store


class Lives:
    """Runs lives: shared by ``watch`` and ``run``, which has no ``holds``: a person asked for
    it."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        distributors: Distributors,
        health: Health,
        listener: Listener,
        hints: Hints,
        holds: Holds | None = None,
    ) -> None:
        self._store, self._health = store, health
        self._events = events = TaskEvents(layout, settings, store)
        self._durable = durable = Durable(store, health)
        self._limits = ToolLimits(layout, settings, store, events, durable, hints)
        self.replies = replies = Replies(layout, settings, store)

        # what an attempt is given, and what is read of it
        self.tasktrees = trees = TaskTrees(layout, settings, store)
        sandboxes = Sandboxes(layout, settings)
        proof = Proof(layout, settings, store, distributors.default, trees, sandboxes)
        work = TaskWork(layout, settings, store, trees, proof)
        orders = Orders(layout, settings, distributors, trees, proof)
        readings = Readings(layout, settings, store, trees)

        # an attempt, and what it comes to
        self._attempts = Attempts(
            layout,
            settings,
            store,
            distributors,
            trees,
            sandboxes,
            orders,
            readings,
            replies,
            events,
            health,
            holds,
            listener,
        )
        self.resuming = Resuming(layout, settings, store, trees, proof, self._attempts, events)
        self.understanding = Understanding(
            layout, settings, store, orders, readings, sandboxes, work, hints
        )

        # what follows
        results = Results(layout, trees, work, events)
        self._steps = NextSteps(layout, settings, store, work, results, replies)
        self._finishing = Finishing(
            layout, settings, store, work, events, results, durable, listener
        )

    async def start(self, life: Life, entry: Entry, claim: Claim | None = None) -> None:
        """A fresh claim (or a due retry): run it until it finishes or has to wait.

        `Withdrawn` if the ``claim`` came to nothing, and then it is undone.
        """
        if not entry.journal.tries and not entry.journal.last.get("renew"):
            await self._claimed(life, entry, claim)
        attempt = await self._attempts.run(life, entry)
        match attempt:
            case Over():
                await self.ended(life, attempt)
            case HeldBack():
                await self._finishing.held_back(life, attempt.entry, attempt.gate)
            case _:
                assert_never(attempt)

    async def _claimed(self, life: Life, entry: Entry, claim: Claim | None) -> None:
        """Commit the claim, which moves the task's file, or tell of one that has moved it."""
        event = self._events.event(
            life,
            "task_claimed",
            entry.journal.next_attempt,
            phase="claim",
            status="running",
            summary=life.route.why,
            **self._events.prompt_if_wanted(life),
        )
        try:
            await self._durable.commit([event], claim=claim)
        except Withdrawn:
            if claim is not None:
                claim.undo()
            raise

    async def resume(self, life: Life, entry: Entry, step: Step) -> None:
        """Go on where a former watcher was cut off."""
        found = await self.resuming.go_on(life, entry, step)
        match found:
            case Due():
                await self.start(life, found.entry)
            case Over():
                await self.ended(life, found)
            case None:
                pass
            case _:
                assert_never(found)

    async def ended(self, life: Life, attempt: Over) -> None:
        """Understand the end and take the step that policy says."""
        entry, reading = await self.understanding.of(life, attempt)
        request = self._store.cancel_request(life.id)
        if request is not None and reading.outcome is not Outcome.SUCCEEDED:
            if request.get("requeue"):
                by = str(request.get("by", ""))
                return await self._finishing.give_back(life, entry, reading, by)
            reading = cancelled(reading, str(request.get("by") or "a person"))
        errno = attempt.end.errno
        if errno and reading.outcome is Outcome.FAILED and refusals(entry.journal) <= REFUSALS:
            # The tool was never executed, and the task is not to blame: once more, when the disk
            # works.
            self._health.failed(OSError(errno, os.strerror(errno)))
            await self._health.fine()
            return await self._finishing.retry(life, entry, reading, Retry(0.0))
        await self._limits.mind(life, reading)
        step = await self._steps.after(life, entry, reading)
        if isinstance(step, Retry):
            return await self._finishing.retry(life, entry, reading, step)
        await self._finishing.finish(life, entry, reading, step)
