"""One task's life from the claim to its last folder: attempts, retries, the result.

Everything here survives being cut off at any point: each step is either recorded (journal, event,
rename) or will be repeated by the next watcher, which enters the same code through `Life.resume`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, assert_never

from orchestrator.coordination import plans, portable, remembering
from orchestrator.coordination.durable import Durable
from orchestrator.coordination.endedattempts import (
    NotUnderstood,
    cancelled,
    end_record,
    reopened,
    retry_due,
)
from orchestrator.coordination.finishing import Finishing
from orchestrator.coordination.health import Health
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.holds import Holds
from orchestrator.coordination.life import Acting, Between, Departed, Ending, Life, Starting
from orchestrator.coordination.news import (
    Listener,
    Started,
)
from orchestrator.coordination.nextsteps import REFUSALS, NextSteps, refusals
from orchestrator.coordination.orders import Orders
from orchestrator.coordination.proof import Proof
from orchestrator.coordination.readings import Readings
from orchestrator.coordination.replies import Replies
from orchestrator.coordination.results import Results
from orchestrator.coordination.sandboxing import Sandboxes
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.taskevents import TaskEvents
from orchestrator.coordination.tasktrees import TaskTrees
from orchestrator.coordination.taskwork import TaskWork
from orchestrator.coordination.toollimits import ToolLimits
from orchestrator.distributors.base import ExecutionHandle, Order
from orchestrator.distributors.registry import Distributors
from orchestrator.errors import OrchestratorError, StoreFault
from orchestrator.execution import masking
from orchestrator.files.bounds import of_task
from orchestrator.files.layout import Layout
from orchestrator.model.attempt import AttemptEnd, end_from
from orchestrator.model.config import Config
from orchestrator.model.gates import Gate
from orchestrator.model.journal import AttemptFacts, Phase
from orchestrator.model.policy import Retry
from orchestrator.model.result import (
    Reading,
)
from orchestrator.model.status import Outcome
from orchestrator.model.units import timestamp
from orchestrator.model.usage import counted
from orchestrator.store import atomic
from orchestrator.store.claiming import Claim, Withdrawn
from orchestrator.store.ledger import Entry
from orchestrator.store.recovery import Step, step_of
from orchestrator.store.transitions import Store
from orchestrator.store.waiting import when_free
from orchestrator.tools import secrecy
from orchestrator.tools.activity import Progress
from orchestrator.tools.invocation import (
    NotInstalled,
)
from orchestrator.tools.routing import bounded


class Lives:
    """Runs lives: shared by ``watch`` and ``run``."""

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
        self.layout, self.settings, self.store = layout, settings, store
        self.holds = holds  # none in `run`, which is asked for by a person
        self.distributors, self.health = distributors, health
        self.listener, self.hints = listener, hints
        # What attempts that ended said, until it is counted.
        self.spent: list[tuple[Life, Reading]] = []
        self.tasktrees = TaskTrees(layout, settings, store)
        self.sandboxes = Sandboxes(layout, settings, self.tasktrees)
        self.proof = Proof(
            layout, settings, store, distributors.default, self.tasktrees, self.sandboxes
        )
        self.taskwork = TaskWork(layout, settings, store, self.tasktrees, self.proof)
        self.orders = Orders(layout, settings, distributors, self.tasktrees, self.proof)
        self.readings = Readings(layout, settings, store, self.tasktrees)
        self.events = TaskEvents(layout, settings, store)
        self.replies = Replies(layout, settings, store)
        self.durable = Durable(store, health)
        self.limits = ToolLimits(layout, settings, store, self.events, self.durable, hints)
        results = Results(layout, self.tasktrees, self.taskwork, self.events)
        self.steps = NextSteps(layout, settings, store, self.taskwork, results, self.replies)
        self.finishing = Finishing(
            layout, settings, store, self.taskwork, self.events, results, self.durable, listener
        )

    @property
    def config(self) -> Config:
        """What is configured now."""
        return self.settings.config

    # -- entering
    # ----------------------------------------------------------------------------------------------

    def life_of(self, entry: Entry) -> Life:
        """The life of a task that was claimed before, from the frozen text in its journal."""
        life = remembering.life_of(self.settings, entry, self.store.clock)
        self.tasktrees.known(life, entry)
        self._bound(life)
        attempt = entry.journal.attempt
        if attempt is not None and attempt.planned and not attempt.read:
            plans.narrow(life)
        return life

    def _bound(self, life: Life) -> None:
        """Nothing of a task that an attempt in a sandbox has dropped is looser than what that
        attempt had."""
        bounds = of_task(self.layout, life.task)
        if bounds is not None:
            life.chain = tuple(bounded(route, bounds) for route in life.chain)
            life.route = bounded(life.route, bounds)

    def _progress(self, life: Life, started: Mapping[str, Any]) -> Progress:
        """What the log of its attempt tells, and its program's own log; only the latter if people
        have its terminal."""
        return Progress(
            f"{self.layout.logs(life.id, life.attempt)}/stdout.log",
            life.route.tool.presentation,
            self.config.models.get(life.route.model or ""),
            secrets=self.orders.secrets(life),
            session=str(started.get("session") or ""),
            reads=life.route.mode != "interactive",
        )

    def _taken_over(self, life: Life, entry: Entry, handle: ExecutionHandle) -> ExecutionHandle:
        """An attempt that a former watcher began is this one's now; a request to stop it counts."""
        attempt = entry.journal.attempt
        life.stage = Acting(handle, self._progress(life, attempt.started if attempt else {}))
        if self.store.cancel_request(life.id) is not None:
            handle.cancel()
        return handle

    def retry_due(self, entry: Entry) -> float:
        """When (monotonic) the attempt that a former watcher announced is due."""
        return retry_due(entry.journal.last, self.store.clock)

    async def start(self, life: Life, entry: Entry, claim: Claim | None = None) -> None:
        """A fresh claim (or a due retry): run it until it finishes or has to wait.

        `Withdrawn` if the ``claim`` came to nothing, and then it is undone.
        """
        if not entry.journal.tries and not entry.journal.last.get("renew"):
            event = self.events.event(
                life,
                "task_claimed",
                entry.journal.next_attempt,
                phase="claim",
                status="running",
                summary=life.route.why,
                **self.events.prompt_if_wanted(life),
            )
            try:
                await self.durable.commit([event], claim=claim)
            except Withdrawn:
                if claim is not None:
                    claim.undo()
                raise
        life.stage = Starting()
        await self._attempt(life, entry)

    async def resume(self, life: Life, entry: Entry, step: Step) -> None:
        """Go on where a former watcher was cut off."""
        facts = entry.journal.attempt
        if facts is not None and "at" in facts.started:
            self._retell_start(life, facts)
        match step:
            case Step.ADOPT:
                await self._adopt(life, entry)
            case Step.START:
                await self.start(life, entry)
            case Step.RETRY:
                life.stage = Between(self.retry_due(entry))
                entry.close()
            case Step.FINISH:
                await self._finish(life, entry)
            case Step.REATTACH:
                await self._reattach(life, entry)
            case Step.LOST:
                await self._lost(life, entry)
            case _:
                assert_never(step)

    async def _finish(self, life: Life, entry: Entry) -> None:
        """Its end is in the journal, and nobody has seen to it."""
        facts = entry.journal.attempt
        assert facts is not None and facts.ended is not None
        await self.ended(life, entry, end_from(facts.ended))

    async def _lost(self, life: Life, entry: Entry) -> None:
        """Nobody works on it any more, and there is no end: of a check, or of the attempt."""
        facts = entry.journal.attempt
        assert facts is not None
        if not entry.journal.checking:
            handle = self.distributors.default.adopt(facts, entry.path)
            return await self.ended(life, entry, await self._taken_over(life, entry, handle).wait())
        assert facts.ended is not None
        again = await self.proof.resume(life, entry, adopted=False)
        if again is not None:
            await self.ended(life, again, end_from(facts.ended))

    def _retell_start(self, life: Life, facts: AttemptFacts) -> None:
        """A watcher that is killed right after a start may not have told of it; told again, it is
        the same event."""
        summary = life.where or life.route.tool.name
        moment = timestamp(facts.started["at"])
        self.store.log.note(self.events.started(life, facts.number, summary, ts=moment))

    async def _adopt(self, life: Life, entry: Entry) -> None:
        """Somebody works on it: wait for the lock, and go by what the journal says then."""
        facts = entry.journal.attempt
        number = facts.number if facts is not None else entry.journal.next_attempt
        summary = "its supervisor was still at work"
        adopted = self.events.event(
            life, "task_adopted", number, phase="attempt", status="running", summary=summary
        )
        self.store.log.commit([adopted])
        if facts is not None and facts.ended is None:
            self._taken_over(life, entry, self.distributors.default.adopt(facts, entry.path))
        entry.close()
        free = await asyncio.wrap_future(when_free(entry.path))
        life.stage = Starting()
        if free is None:
            life.stage = Departed()  # somebody else (orchestrator run) has finished it
            return
        step = step_of(self.store, free)
        if step is not None:
            life.attempt = free.journal.attempt.number if free.journal.attempt else 0
            await self.resume(life, free, step)

    # -- one attempt
    # --------------------------------------------------------------------------------------------

    async def _attempt(self, life: Life, entry: Entry) -> None:
        life.attempt = number = entry.journal.next_attempt
        life.records = [entry.journal.claim]
        run_dir = self.layout.logs(life.id, number)
        try:
            self.replies.at_start(entry)
            self._bound(life)
            if life.planning or plans.wanted(life.task, life.route, entry.journal):
                plans.narrow(life)
            await self.tasktrees.ready(life, entry)
            await self.orders.fetch(life)
            order = await self.sandboxes.around(life, self.orders.order(life, entry, run_dir))
            await self.readings.before(life, run_dir)
            held = self._held(life)
            if order.portable and held is None:
                self._offer(life, entry, order)
        except (
            Exception
        ) as error:  # whatever it is, it concerns this task only, and the task must come to an end
            if isinstance(error, StoreFault) or (
                isinstance(error, OSError) and error.errno in atomic.DISK_FAULTS
            ):
                self.health.failed(error)
                await self.health.fine()
                return await self._attempt(life, entry)
            known = isinstance(error, (OrchestratorError, OSError))
            cause = "not_installed" if isinstance(error, NotInstalled) else "start"
            end = AttemptEnd(cause, message=str(error) if known else f"internal error: {error!r}")
            self._record_end(entry, number, end)
        else:
            if held is not None:
                return await self.finishing.held_back(life, entry, held)
            order = replace(order, journal=entry.detach())
            end = await self._execute(life, order)
            entry = await self._reopened(life, number, end)
        await self.ended(life, entry, end)

    def _held(self, life: Life) -> Gate | None:
        """What came to be held while the attempt was prepared: a tree and its setup may take
        minutes."""
        if self.holds is None or self.store.cancel_request(life.id) is not None:
            return None
        return self.holds.closed(life.lane)

    async def _reopened(self, life: Life, number: int, end: AttemptEnd) -> Entry:
        """The journal after an attempt, with the lock and with the attempt's end."""
        entry = await reopened(self.store, life.id, life.records)
        journal = entry.journal
        if journal.phase is Phase.BLOCKED:  # spoilt while the attempt ran, perhaps by the attempt
            entry.close()
            raise NotUnderstood(life.id)
        if not (journal.attempt and journal.attempt.number == number and journal.attempt.ended):
            self._record_end(entry, number, end)
        return entry

    def _offer(self, life: Life, entry: Entry, order: Order) -> None:
        """From here on the attempt may run elsewhere, whatever becomes of this process."""
        record = portable.record(order, self.store.clock.wall())
        entry.append(record, sync=True)
        life.records.append(record)
        at = {"phase": "attempt", "status": "running", "summary": portable.words(record)}
        self.store.log.commit([self.events.event(life, "attempt_dispatched", order.attempt, **at)])

    async def _reattach(self, life: Life, entry: Entry) -> None:
        """An attempt that a former watcher has offered elsewhere: whoever has it is asked, never
        this machine's locks."""
        facts = entry.journal.attempt
        assert facts is not None
        life.records = [entry.journal.claim, facts.dispatched]
        run_dir = self.layout.logs(life.id, facts.number)
        order = portable.again(self.layout, self.config, facts, run_dir, entry.detach())
        entry.close()
        distributor = self.distributors.at(facts.where)
        handle = distributor.reattach(order, facts, self._started(life, order))
        end = await self._taken_over(life, entry, handle).wait()
        await self.ended(life, await self._reopened(life, facts.number, end), end)

    async def _execute(self, life: Life, order: Order) -> AttemptEnd:
        life.began = asyncio.get_running_loop().time()
        distributor = self.distributors.at(life.route.place.name)
        handle = distributor.dispatch(order, self._started(life, order))
        life.stage = Acting(handle)
        return await handle.wait()

    def _started(self, life: Life, order: Order) -> Callable[[int], None]:
        """What follows when the tool of an attempt has been started."""

        def started(_: int) -> None:
            if isinstance(life.stage, Acting):
                life.stage = Acting(life.stage.handle, self._progress(life, order.facts))
            begun = {"record": "started", "attempt": order.attempt, "tag": order.tag}
            life.records.append(begun | {"at": self.store.clock.wall()})
            summary = os.path.basename(order.argv[0]) if order.argv else life.where
            self.store.log.commit([self.events.started(life, order.attempt, summary)])
            self.listener.hear(Started(life))

        return started

    def rewrite(self, lives: Iterable[Life]) -> None:
        """Make the journals anew that somebody has removed, from what is remembered of them."""
        for life in lives:
            if life.records and not os.path.exists(self.layout.journal(life.id)):
                entry = self.store.ledger.create(life.id, life.records[0])
                for record in life.records[1:]:
                    entry.append(record)
                entry.close()

    def _record_end(self, entry: Entry, number: int, end: AttemptEnd) -> None:
        """An end that no supervisor could record: it was killed, or never began."""
        entry.append(end_record(number, end, self.store.clock.wall()), sync=True)

    # -- after it
    # ----------------------------------------------------------------------------------------------

    async def ended(self, life: Life, entry: Entry, end: AttemptEnd) -> None:
        """Understand the end and take the step that policy says."""
        entry, reading = await self._understood(life, entry, end)
        request = self.store.cancel_request(life.id)
        if request is not None and reading.outcome is not Outcome.SUCCEEDED:
            if request.get("requeue"):
                by = str(request.get("by", ""))
                return await self.finishing.give_back(life, entry, reading, by)
            reading = cancelled(reading, str(request.get("by") or "a person"))
        if end.errno and reading.outcome is Outcome.FAILED and refusals(entry.journal) <= REFUSALS:
            # The tool was never executed, and the task is not to blame: once more, when the disk
            # works.
            self.health.failed(OSError(end.errno, os.strerror(end.errno)))
            await self.health.fine()
            return await self.finishing.retry(life, entry, reading, Retry(0.0))
        await self.limits.mind(life, reading)
        step = await self.steps.after(life, entry, reading)
        if isinstance(step, Retry):
            return await self.finishing.retry(life, entry, reading, step)
        await self.finishing.finish(life, entry, reading, step)

    async def _understood(self, life: Life, entry: Entry, end: AttemptEnd) -> tuple[Entry, Reading]:
        """What the attempt comes to, with its checks; the entry is another one if a check ran."""
        facts = entry.journal.attempt
        if end.cause == "lost" and (facts is None or facts.ended is None):
            self._record_end(entry, life.attempt, end)
        life.stage = Ending(life.progress)
        if facts is not None and "at" in facts.started:  # else it was never given any
            await self.orders.fetch_to_mask(life)
        run_dir = self.layout.logs(life.id, life.attempt)
        if end.cause == "lost":
            secrets, limit = self.orders.secrets(life), self.config.log_limit
            await asyncio.to_thread(masking.finish, run_dir, secrets, limit)
        reading = await self.readings.understood(life, entry, run_dir, end)
        reading = secrecy.masked(reading, self.orders.secrets(life))
        life.stage = Ending()
        if not entry.journal.checks or entry.journal.checks[-1].number != life.attempt:
            life.cost += reading.cost_usd or 0.0  # else it was counted before a check of it ran
            life.tokens += counted(reading.usage)
            self.spent.append((life, reading))
            self.hints.stir()  # it acts no more: settings that have changed since are a person's
        told = await self.sandboxes.after(run_dir)
        reading = replace(reading, warnings=(*reading.warnings, *told))
        entry, reading = await self.taskwork.judged(life, entry, reading, run_dir)
        open_ones = self.orders.unmasked(life)
        reading = replace(reading, warnings=(*reading.warnings, *open_ones))
        reading = secrecy.masked(reading, life.secrets)  # names that an agent chose are in it now
        return entry, plans.understood(self.layout, life, reading)
