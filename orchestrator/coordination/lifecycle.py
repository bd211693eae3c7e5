"""One task's life from the claim to its last folder: attempts, retries, the result.

Everything here survives being cut off at any point: each step is either recorded (journal, event, rename) or will
be repeated by the next watcher, which enters the same code through `Life.resume`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.coordination import answering, chaining, plans, portable, questions, remembering
from orchestrator.coordination.accounting import (
    probes,
    too_expensive,
)
from orchestrator.coordination.grounds import Grounds
from orchestrator.coordination.health import Health
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.holds import Holds
from orchestrator.coordination.life import Acting, Between, Departed, Ended, Ending, Life, Starting
from orchestrator.coordination.news import (
    About,
    Finished,
    Listener,
    Remark,
    Requeued,
    Retrying,
    Started,
)
from orchestrator.coordination.orders import Orders
from orchestrator.coordination.proof import Proof, reds
from orchestrator.coordination.readings import Readings
from orchestrator.coordination.records import Records
from orchestrator.coordination.replies import Replies
from orchestrator.coordination.results import Results
from orchestrator.coordination.retold import (
    NotUnderstood,
    cancelled,
    disk_refused,
    end_record,
    reopened,
    retry_due,
)
from orchestrator.coordination.sandboxing import Sandboxes
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.works import Works
from orchestrator.distributors.base import ExecutionHandle, Order
from orchestrator.distributors.registry import Distributors
from orchestrator.errors import OrchestratorError, StoreFault
from orchestrator.execution import masking
from orchestrator.files.bounds import of_task
from orchestrator.files.layout import Layout
from orchestrator.model.attempt import AttemptEnd, end_from
from orchestrator.model.config import Config
from orchestrator.model.failure import OTHER, Kind, kind
from orchestrator.model.gates import Gate
from orchestrator.model.journal import AttemptFacts, Phase
from orchestrator.model.policy import Finish, Retry, decide, held_until
from orchestrator.model.result import (
    Reading,
)
from orchestrator.model.status import STATUS_OF_OUTCOME, Outcome, Status
from orchestrator.model.units import timestamp
from orchestrator.model.usage import counted
from orchestrator.store import atomic, holding
from orchestrator.store import plans as storedplans
from orchestrator.store.claiming import Claim, Withdrawn
from orchestrator.store.eventlog import Event, NewFile
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
from orchestrator.tools.specs import of_account

REFUSALS = 5  # attempts of a task that the disk may refuse before that counts as the task's failure


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
        self.grounds = Grounds(layout, settings, store)
        self.sandboxes = Sandboxes(layout, settings, self.grounds)
        self.proof = Proof(
            layout, settings, store, distributors.default, self.grounds, self.sandboxes
        )
        self.works = Works(layout, settings, store, self.grounds, self.proof)
        self.orders = Orders(layout, settings, distributors, self.grounds, self.proof)
        self.readings = Readings(layout, settings, store, self.grounds)
        self.records = Records(layout, settings, store)
        self.results = Results(layout, self.grounds, self.works, self.records)
        self.replies = Replies(layout, settings, store)
        self.blocked: dict[str, int] = {}  # by tool: limits met since its last answer

    @property
    def config(self) -> Config:
        """What is configured now."""
        return self.settings.config

    # -- entering -----------------------------------------------------------------------------------------------

    def life_of(self, entry: Entry) -> Life:
        """The life of a task that was claimed before, from the frozen text in its journal."""
        life = remembering.life_of(self.settings, entry, self.store.clock)
        self.grounds.known(life, entry)
        self._bound(life)
        attempt = entry.journal.attempt
        if attempt is not None and attempt.planned and not attempt.read:
            plans.narrow(life)
        return life

    def _bound(self, life: Life) -> None:
        """Nothing of a task that an attempt in a sandbox has dropped is looser than what that attempt had."""
        bounds = of_task(self.layout, life.task)
        if bounds is not None:
            life.chain = tuple(bounded(route, bounds) for route in life.chain)
            life.route = bounded(life.route, bounds)

    def _progress(self, life: Life) -> Progress | None:
        """What the log of its attempt tells; nothing if people have its terminal."""
        if life.route.mode == "interactive":
            return None
        return Progress(
            f"{self.layout.logs(life.id, life.attempt)}/stdout.log",
            life.route.tool.presentation,
            self.config.models.get(life.route.model or ""),
            secrets=self.orders.secrets(life),
        )

    def _taken_over(self, life: Life, handle: ExecutionHandle) -> ExecutionHandle:
        """An attempt that a former watcher began is this one's now; a request to stop it counts."""
        life.stage = Acting(handle, self._progress(life))
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
            event = self.records.event(
                life,
                "task_claimed",
                entry.journal.next_attempt,
                phase="claim",
                status="running",
                summary=life.route.why,
                **self.records.prompt_if_wanted(life),
            )
            try:
                await self._durable([event], claim=claim)
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
        if step is Step.ADOPT:
            await self._adopt(life, entry)
        elif step is Step.START:
            await self.start(life, entry)
        elif step is Step.RETRY:
            life.stage = Between(self.retry_due(entry))
            entry.close()
        elif step is Step.FINISH:
            assert facts is not None and facts.ended is not None
            await self.ended(life, entry, end_from(facts.ended))
        elif step is Step.REATTACH:
            await self._reattach(life, entry)
        elif entry.journal.checking:
            assert facts is not None and facts.ended is not None
            again = await self.proof.resume(life, entry, adopted=False)
            if again is not None:
                await self.ended(life, again, end_from(facts.ended))
        else:
            assert facts is not None
            handle = self.distributors.default.adopt(facts, entry.path)
            await self.ended(life, entry, await self._taken_over(life, handle).wait())

    def _retell_start(self, life: Life, facts: AttemptFacts) -> None:
        """A watcher that is killed right after a start may not have told of it; told again, it is the same event."""
        summary = life.where or life.route.tool.name
        moment = timestamp(facts.started["at"])
        self.store.log.note(self.records.started(life, facts.number, summary, ts=moment))

    async def _adopt(self, life: Life, entry: Entry) -> None:
        """Somebody works on it: wait for the lock, and go by what the journal says then."""
        facts = entry.journal.attempt
        number = facts.number if facts is not None else entry.journal.next_attempt
        summary = "its supervisor was still at work"
        adopted = self.records.event(
            life, "task_adopted", number, phase="attempt", status="running", summary=summary
        )
        self.store.log.commit([adopted])
        if facts is not None and facts.ended is None:
            self._taken_over(life, self.distributors.default.adopt(facts, entry.path))
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

    # -- one attempt --------------------------------------------------------------------------------------------

    async def _attempt(self, life: Life, entry: Entry) -> None:
        life.attempt = number = entry.journal.next_attempt
        life.records = [entry.journal.claim]
        run_dir = self.layout.logs(life.id, number)
        try:
            self.replies.at_start(entry)
            self._bound(life)
            if life.planning or plans.wanted(life.task, life.route, entry.journal):
                plans.narrow(life)
            await self.grounds.ready(life, entry)
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
                return await self._held_back(life, entry, held)
            order = replace(order, journal=entry.detach())
            end = await self._execute(life, order)
            entry = await self._reopened(life, number, end)
        await self.ended(life, entry, end)

    def _held(self, life: Life) -> Gate | None:
        """What came to be held while the attempt was prepared: a tree and its setup may take minutes."""
        if self.holds is None or self.store.cancel_request(life.id) is not None:
            return None
        return self.holds.closed(life.lane)

    async def _held_back(self, life: Life, entry: Entry, held: Gate) -> None:
        """It begins after the release.  A task that has not run at all waits in the inbox again; its tree stays."""
        if entry.journal.phase is not Phase.CLAIMED:
            life.attempt = entry.journal.next_attempt - 1
            life.stage = Between(self.store.clock.monotonic())
            entry.close()
            return
        now = self.store.clock.wall()
        said = {"phase": "claim", "status": "inbox", "summary": f"not started: {held.why}"}
        step = f"{life.attempt}.{int(now * 1000)}"  # it may happen again before its first attempt
        event = self.store.log.event(
            "task_requeued", life.id, step, task_id=life.id, run_id=life.task.run, **said
        )
        await self._durable([event])
        await self._settled(lambda: self.store.requeue(entry, held.why))
        life.stage = Ended(Status.INBOX)
        self.listener.hear(Requeued(life, held.why))

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
        self.store.log.commit([self.records.event(life, "attempt_dispatched", order.attempt, **at)])

    async def _reattach(self, life: Life, entry: Entry) -> None:
        """An attempt that a former watcher has offered elsewhere: whoever has it is asked, never this machine's locks."""
        facts = entry.journal.attempt
        assert facts is not None
        life.records = [entry.journal.claim, facts.dispatched]
        run_dir = self.layout.logs(life.id, facts.number)
        order = portable.again(self.layout, self.config, facts, run_dir, entry.detach())
        entry.close()
        distributor = self.distributors.at(facts.where)
        handle = distributor.reattach(order, facts, self._started(life, order))
        end = await self._taken_over(life, handle).wait()
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
                life.stage = Acting(life.stage.handle, self._progress(life))
            begun = {"record": "started", "attempt": order.attempt, "tag": order.tag}
            life.records.append(begun | {"at": self.store.clock.wall()})
            summary = os.path.basename(order.argv[0]) if order.argv else life.where
            self.store.log.commit([self.records.started(life, order.attempt, summary)])
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

    # -- after it ---------------------------------------------------------------------------------------------------

    async def ended(self, life: Life, entry: Entry, end: AttemptEnd) -> None:
        """Understand the end and take the step that policy says."""
        entry, reading = await self._understood(life, entry, end)
        request = self.store.cancel_request(life.id)
        if request is not None and reading.outcome is not Outcome.SUCCEEDED:
            if request.get("requeue"):
                return await self._give_back(life, entry, reading, str(request.get("by", "")))
            reading = cancelled(reading, str(request.get("by") or "a person"))
        refusals = sum(disk_refused(facts) for facts in entry.journal.attempts)
        if end.errno and reading.outcome is Outcome.FAILED and refusals <= REFUSALS:
            # The tool was never executed, and the task is not to blame: once more, when the disk works.
            self.health.failed(OSError(end.errno, os.strerror(end.errno)))
            await self.health.fine()
            return await self._retry(life, entry, reading, Retry(0.0))
        await self._mind_limit(life, reading)
        step = self._decided(life, entry, reading, refusals)
        if isinstance(step, Finish):
            step = await self._destination(life, entry, reading, step)
        if isinstance(step, Retry):
            return await self._retry(life, entry, reading, step)
        await self._finish(life, entry, reading, step)

    async def _understood(self, life: Life, entry: Entry, end: AttemptEnd) -> tuple[Entry, Reading]:
        """What the attempt comes to, with its checks; the entry is another one if a check ran."""
        facts = entry.journal.attempt
        if end.cause == "lost" and (facts is None or facts.ended is None):
            self._record_end(entry, life.attempt, end)
        life.stage = Ending(life.progress)
        await self.orders.fetch_to_mask(life)
        run_dir = self.layout.logs(life.id, life.attempt)
        if end.cause == "lost":
            await asyncio.to_thread(masking.finish, run_dir, self.orders.secrets(life))
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
        entry, reading = await self.works.judged(life, entry, reading, run_dir)
        return entry, plans.understood(self.layout, life, reading)

    async def _mind_limit(self, life: Life, reading: Reading) -> None:
        """Hold the tool if it has met its limit; one that succeeds has met none."""
        if _failure(reading).parks:
            await self._park(life, reading)
        elif reading.outcome is Outcome.SUCCEEDED:
            self.blocked.pop(life.route.tool.name, None)

    def _decided(self, life: Life, entry: Entry, reading: Reading, refusals: int) -> Retry | Finish:
        """Whether another attempt follows: by policy, for a red check, for what a person has to say, within what it may cost."""
        turn = entry.journal.attempts[-entry.journal.tries :]
        red = reds(turn)
        to_no_blame = refusals + red + answering.misfits(turn) + probes(entry.journal)
        until_reset = 0.0
        if reading.reset is not None:
            until_reset = reading.reset - self.store.clock.wall()
        step = decide(
            reading.outcome,
            entry.journal.tries - entry.journal.collided - to_no_blame,
            life.route.retries,
            self.config.retry,
            self.config.on_lost,
            reading.may_retry,
            _failure(reading),
            self._next_link(life) is not None,
            until_reset,
        )
        if self.works.again(life.route, reading, red) or answering.again(reading, turn):
            step = Retry(0.0)
        if isinstance(step, Finish) and questions.denied(self.layout, life, entry, reading):
            step = Retry(0.0)
        if self.replies.at_end(entry) and isinstance(step, Finish):
            if reading.outcome is not Outcome.CANCELLED:
                step = Retry(0.0, renew=True)
        why = too_expensive(life.task, self.config, entry.journal, reading)
        if why and isinstance(step, Retry):
            return Finish(STATUS_OF_OUTCOME[reading.outcome], f"{why}; {reading.reason}")
        return step

    async def _destination(
        self, life: Life, entry: Entry, reading: Reading, step: Finish
    ) -> Retry | Finish:
        """Where it goes: what it has changed may have to be merged, or be looked at by a person."""
        changed = await self.results.changed(life)
        then = await self.works.destination(life, entry, step, reading, changed)
        if isinstance(then, Finish):
            return then
        why = too_expensive(life.task, self.config, entry.journal, reading)
        return Finish(Status.REVIEW, f"{then.why}; {why}") if why else then

    async def _park(self, life: Life, reading: Reading) -> None:
        """The tool's limit is used up: nobody starts it before its end."""
        tool = life.route.tool.name
        self.blocked[tool] = self.blocked.get(tool, 0) + 1
        until = held_until(
            reading.reset, self.store.clock.wall(), self.blocked[tool], self.config.retry
        )
        scope, now = ("tool", tool), self.store.clock.wall()
        why, common = reading.reason, of_account(tool)
        path = await self._settled(
            lambda: holding.place(self.layout, scope, now, until, why, common)
        )
        # The loop looks before it starts anything: a notification may come later than that.
        self.hints.add(path, renamed=False)
        self.store.log.commit(
            [
                self.records.event(
                    life,
                    "tool_parked",
                    life.attempt,
                    phase="attempt",
                    status="running",
                    summary=f"until {timestamp(until)[:19]}Z: {reading.reason}",
                )
            ]
        )

    def _next_link(self, life: Life) -> int | None:
        """The next tool of the chain whose program is there."""
        at = life.chain.index(life.route) if life.route in life.chain else len(life.chain)
        for place in range(at + 1, len(life.chain)):
            if life.chain[place].tool.at_hand:
                return place
        return None

    async def _retry(self, life: Life, entry: Entry, reading: Reading, step: Retry) -> None:
        ended = self.records.attempt_event(life, reading)
        read = self.records.kept(life, reading)
        link = entry.journal.link
        following = life.route
        words = f"attempt {life.attempt + 1} in {step.after:g} s: {reading.reason}"
        if step.fall_back:
            link = self._next_link(life) or link
            following = life.chain[link]
            words = f"falls back to {following.tool.name}: {reading.reason}"
        if step.renew:
            words = f"attempt {life.attempt + 1}: it has a reply"
        if step.why:
            words = f"attempt {life.attempt + 1}: {step.why}"
        again = self.records.event(
            life, "task_retrying", life.attempt, phase="attempt", status="running", summary=words
        )
        # The events first: once the journal says that another attempt follows, nobody tells of this one any more.
        await self._durable([ended, again])
        now = self.store.clock.wall()
        await self._settled(
            lambda: entry.append(
                {
                    "record": "retry",
                    "attempt": life.attempt + 1,
                    "at": now,
                    "not_before": now + step.after,
                    "link": link,
                    "next": {
                        "agent": following.agent.name,
                        "tool": following.tool.name,
                        "model": following.model,
                        "on": str(following.place) if following.place.lane else "",
                    },
                    "read": read,
                    **({"renew": True} if step.renew else {}),
                },
                sync=True,
            )
        )
        entry.close()
        if step.fall_back:
            life.route = life.chain[link]
            life.lane = life.route.lane(life.task)
        life.stage = Between(self.store.clock.monotonic() + step.after)
        self.listener.hear(Retrying(life, step.after, reading, step.fall_back, step.renew))

    async def _give_back(self, life: Life, entry: Entry, reading: Reading, by: str) -> None:
        await self._durable(
            [
                self.records.attempt_event(life, reading),
                self.records.event(
                    life, "task_requeued", life.attempt, phase="finish", status="inbox", summary=by
                ),
            ]
        )
        await self._settled(
            lambda: self.store.requeue(entry, by, {"read": self.records.kept(life, reading)})
        )
        life.stage = Ended(Status.INBOX)
        self.listener.hear(Requeued(life))

    async def _finish(self, life: Life, entry: Entry, reading: Reading, step: Finish) -> None:
        """Result, event, rename: in this order, each of them repeatable."""
        changed = await self.results.changed(life)
        now = timestamp(self.store.clock.wall())
        made = await self.results.artifacts(life)
        document = self.results.document(life, entry, reading, step, now, made, changed)
        follows = chaining.follows(self.layout, self.config, life, entry, reading, step, changed)
        document |= follows.told(document) | plans.told(self.layout, entry.journal, step)
        if follows.why:
            self.listener.hear(Remark(About.WARNED, life.id, follows.why))
        ended = self.records.attempt_event(life, reading)  # first: readers sort by time
        done = self.records.event(
            life,
            "task_finished",
            life.attempt,
            phase="finish",
            status=str(step.status),
            summary=step.reason or reading.reason or "succeeded",
            outcome=str(reading.outcome),
            exit_code=reading.exit_code,
            duration_ms=reading.duration_ms,
            artifacts=[item["path"] for item in made if not item.get("missing")],
            log_paths=self.records.log_paths(life),
            usage=document.get("usage", {}),
            cost_usd=document.get("cost_usd"),
            cost_source=document.get("cost_source", ""),
            model=document.get("model"),
            error_class=reading.error_class,
            **self.works.facts(life, entry),
        )
        await self._durable([ended, done], lambda: self._files(life, document, step))
        oddities = await self._settled(
            lambda: self.store.settle(
                entry,
                step.status,
                {
                    "outcome": str(reading.outcome),
                    "read": self.records.kept(life, reading),
                    **plans.record(step),
                    **follows.record(),
                },
            )
        )
        life.stage = Ended(step.status, tuple(item.id for item in follows.made))
        for oddity in oddities or ():
            self.store.log.commit(
                [
                    self.records.event(
                        life,
                        "task_restored",
                        life.attempt,
                        phase="finish",
                        status=str(step.status),
                        summary=oddity,
                    )
                ]
            )
            self.listener.hear(Remark(About.RESTORED, life.id, oddity))
        self.listener.hear(Finished(life, reading, step.status, step.reason or reading.reason))

    def _files(self, life: Life, document: Mapping[str, Any], step: Finish) -> list[NewFile]:
        """What becomes visible with the end: the result, and a plan before it."""
        files = [storedplans.stage(self.store, life.id, step.plan)] if step.plan else []
        return [*files, self.store.stage_result(life.id, document)]

    # -- small things -----------------------------------------------------------------------------------------------

    async def _durable(
        self,
        events: Sequence[Event],
        stage: Callable[[], list[NewFile]] | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Commit, waiting out a disk that refuses: what has happened is not forgotten."""
        while True:
            try:
                files = stage() if stage else []
                await asyncio.wrap_future(self.store.log.commit(events, files, claim))
                return
            except (StoreFault, OSError) as error:
                self.health.failed(error)
                await self.health.fine()

    async def _settled(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                return step()
            except (OSError, OrchestratorError) as error:
                self.health.failed(error)
                await self.health.fine()


def _failure(reading: Reading) -> Kind:
    """Of which kind it is, as far as policy is concerned."""
    return kind(reading.error_class) if reading.error_class else OTHER
