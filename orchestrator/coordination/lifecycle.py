"""One task's life from the claim to its last folder: attempts, retries, the result.

Everything here survives being cut off at any point: each step is either recorded (journal, event, rename) or will
be repeated by the next watcher, which enters the same code through `Life.resume`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.coordination import artifacts, chaining, portable, questions
from orchestrator.coordination.accounting import (
    left,
    priced,
    probes,
    too_expensive,
    with_session_log,
)
from orchestrator.coordination.grounds import Grounds, own_environment
from orchestrator.coordination.health import Health
from orchestrator.coordination.proof import Proof, reds
from orchestrator.coordination.recording import brief
from orchestrator.coordination.replies import Replies
from orchestrator.coordination.retold import (
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
from orchestrator.execution import masking, secretstore
from orchestrator.files.bounds import of_task
from orchestrator.files.layout import ARTIFACTS, OWN, Layout
from orchestrator.files.requests import load
from orchestrator.files.text import one_line
from orchestrator.model.attempt import AttemptEnd, end_from
from orchestrator.model.config import Agent, Config
from orchestrator.model.failure import OTHER, kind
from orchestrator.model.gates import Lane
from orchestrator.model.isolation import Change, CheckResult
from orchestrator.model.journal import Journal
from orchestrator.model.policy import Finish, Retry, decide, held_until
from orchestrator.model.result import (
    Reading,
    attempt_entry,
    kept,
    result,
    total_cost,
    total_usage,
)
from orchestrator.model.status import STATUS_OF_OUTCOME, Outcome, Status
from orchestrator.model.task import Task
from orchestrator.model.units import timestamp
from orchestrator.store import atomic, places, quotas
from orchestrator.store.claiming import Claim, Withdrawn
from orchestrator.store.eventlog import Event, NewFile
from orchestrator.store.ledger import Entry
from orchestrator.store.recovery import Step, step_of
from orchestrator.store.transitions import Store
from orchestrator.store.trees import Tree
from orchestrator.store.waiting import when_free
from orchestrator.tools import changes, secrecy
from orchestrator.tools.activity import Progress
from orchestrator.tools.adapters import SpecAdapter, adapter
from orchestrator.tools.invocation import (
    CannotStart,
    Invocation,
    NotInstalled,
    Session,
    by_hand,
    chooses_session,
    environment,
    program,
    recorded,
    secret_values,
)
from orchestrator.tools.routing import Route, RouteProblem, bounded, routes
from orchestrator.tools.share import own_share, session_of
from orchestrator.tools.specs import ToolSpec

Tell = Callable[..., None]
REFUSALS = 5  # attempts of a task that the disk may refuse before that counts as the task's failure
BEFORE = "git-before.json"  # what git said of the tree before the attempt
MOST_CHARACTERS = 6  # that a token stands for, by a generous count
LARGE = 1 << 18  # bytes of log above which it is read in a thread of its own


@dataclass(slots=True)
class Life:
    """A claimed task.  ``retry_at`` (monotonic) is set while it waits for another attempt."""

    id: str
    name: str
    task: Task
    route: Route
    lane: Lane
    chain: tuple[Route, ...] = ()  # all that could act; `route` is the one that does
    submitted: int = 0
    attempt: int = 0
    handle: ExecutionHandle | None = None
    pid: int = 0
    began: float = 0.0
    retry_at: float | None = None
    in_slot: bool = False
    ending: bool = False  # its attempt has ended, and what follows is not settled yet
    parks: bool = False  # its tool has just been parked
    inode: int = 0
    moving: bool = False  # it is claimed, and its file still lies in the inbox
    cost: float = 0.0  # of its attempts that have ended
    secrets: tuple[str, ...] = ()  # what its texts must not have, if this watcher began it
    fetched: Mapping[str, str] = field(default_factory=dict)  # the role's own secrets, by name
    progress: Progress | None = None  # of the attempt that runs
    status: Status = Status.RUNNING  # where it is in the end
    records: list[Mapping[str, Any]] = field(
        default_factory=list
    )  # to rebuild the ledger if git clean removed it
    tree: Tree | None = None  # its own, if it has one
    change: Change | None = None  # what its branch holds, as of its last attempt
    checks: tuple[CheckResult, ...] = ()  # of its last attempt
    led_to: tuple[str, ...] = ()  # what may have been made at its end

    @property
    def where(self) -> str:
        """Where its attempt is, for people; empty for this machine."""
        return self.handle.where if self.handle is not None else ""


class Lives:
    """Runs lives: shared by ``watch`` and ``run``."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        distributors: Distributors,
        health: Health,
        tell: Tell,
        spent: Callable[[Life, Reading], None],
    ) -> None:
        self.layout, self.settings, self.store = layout, settings, store
        self.distributors, self.health, self.tell = distributors, health, tell
        self.spent = spent
        self.grounds = Grounds(layout, settings, store)
        self.sandboxes = Sandboxes(layout, settings, self.grounds)
        self.proof = Proof(
            layout, settings, store, distributors.default, self.grounds, self.sandboxes
        )
        self.works = Works(layout, settings, store, self.grounds, self.proof)
        self.replies = Replies(layout, lambda: settings.config, store)
        self.blocked: dict[str, int] = {}  # by tool: limits met since its last answer

    @property
    def config(self) -> Config:
        """What is configured now."""
        return self.settings.config

    # -- entering -----------------------------------------------------------------------------------------------

    def claim_facts(self, task: Task, chosen: Route) -> dict[str, Any]:
        """What the claim remembers of the routing, for readers and for recovery."""
        return {
            "agent": chosen.agent.name,
            "tool": chosen.tool.name,
            "model": chosen.model,
            "run": task.run,
            "mode": chosen.mode,
            "title": task.title,
            "timeout": chosen.timeout,
            "retries": chosen.retries,
            "why": chosen.why,
            "locks": list(chosen.lane(task).locks),
            **({"low": True} if task.low else {}),
            **({"on": str(chosen.place)} if chosen.place.lane else {}),
        }

    def life_of(self, entry: Entry) -> Life:
        """The life of a task that was claimed before, from the frozen text in its journal."""
        claim = entry.journal.claim
        request = load(
            claim["file"],
            claim["id"],
            claim["text"].encode(),
            None,
            list(self.config.agents) + list(self.settings.toolbox.tools),
        )
        task = request.task or Task(id=claim["id"], title=claim.get("title") or "")
        try:
            chain = routes(task, self.config, self.settings.toolbox.tools)
            chosen = chain[min(entry.journal.link, len(chain) - 1)]
        except (
            RouteProblem
        ) as problem:  # the configuration has changed since: its output can still be read
            spec = ToolSpec(claim.get("tool") or "unknown", (), "", adapter="spec")
            chosen = Route(
                Agent(claim.get("agent") or "unknown", (spec.name,)),
                spec,
                claim.get("model"),
                claim.get("timeout") or self.config.default_timeout,
                claim.get("retries") or 0,
                f"{problem.message}",
            )
            chain = (chosen,)
        attempt = entry.journal.attempt
        life = Life(
            claim["id"],
            claim["file"],
            task,
            chosen,
            chosen.lane(task),
            chain,
            inode=entry.journal.inode,
            attempt=attempt.number if attempt else 0,
            cost=sum(facts.read.get("cost_usd") or 0.0 for facts in entry.journal.attempts),
        )
        self.grounds.known(life, entry)
        self._bound(life)
        if attempt is not None and attempt.ended is None:
            self.follow(life)
            life.began = self.store.clock.monotonic() - max(
                0.0, self.store.clock.wall() - attempt.started.get("at", self.store.clock.wall())
            )
        return life

    def _bound(self, life: Life) -> None:
        """Nothing of a task that an attempt in a sandbox has dropped is looser than what that attempt had."""
        bounds = of_task(self.layout, life.task)
        if bounds is not None:
            life.chain = tuple(bounded(route, bounds) for route in life.chain)
            life.route = bounded(life.route, bounds)

    def route_again(self, life: Life) -> None:
        """The next attempt goes by what is configured now, if that still knows its agent: at the same place of the chain."""
        place = life.chain.index(life.route) if life.route in life.chain else 0
        try:
            life.chain = routes(life.task, self.config, self.settings.toolbox.tools)
        except RouteProblem:
            return
        life.route = life.chain[min(place, len(life.chain) - 1)]
        life.lane = life.route.lane(life.task)

    def follow(self, life: Life) -> None:
        """From here on its log tells what the attempt does and costs."""
        if life.route.mode != "interactive":
            life.progress = Progress(
                f"{self.layout.logs(life.id, life.attempt)}/stdout.log",
                life.route.tool.presentation,
                self.config.models.get(life.route.model or ""),
                secrets=self._secrets(life),
            )

    def retry_due(self, entry: Entry) -> float:
        """When (monotonic) the attempt that a former watcher announced is due."""
        return retry_due(entry.journal.last, self.store.clock)

    async def start(self, life: Life, entry: Entry, claim: Claim | None = None) -> None:
        """A fresh claim (or a due retry): run it until it finishes or has to wait.

        `Withdrawn` if the ``claim`` came to nothing, and then it is undone.
        """
        if not entry.journal.tries and not entry.journal.last.get("renew"):
            event = self._event(
                life,
                "task_claimed",
                entry.journal.next_attempt,
                phase="claim",
                status="running",
                summary=life.route.why,
                **self._prompt_if_wanted(life),
            )
            try:
                await self._durable([event], claim=claim)
            except Withdrawn:
                if claim is not None:
                    claim.undo()
                raise
        life.moving = False
        await self._attempt(life, entry)

    async def resume(self, life: Life, entry: Entry, step: Step) -> None:
        """Go on where a former watcher was cut off."""
        facts = entry.journal.attempt
        if step is Step.ADOPT:
            await self._adopt(life, entry)
        elif step is Step.START:
            await self.start(life, entry)
        elif step is Step.RETRY:
            life.retry_at = self.retry_due(entry)
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
            life.handle = self.distributors.default.adopt(facts, entry.path)
            if self.store.cancel_request(life.id) is not None:
                life.handle.cancel()
            await self.ended(life, entry, await life.handle.wait())

    async def _adopt(self, life: Life, entry: Entry) -> None:
        """Somebody works on it: wait for the lock, and go by what the journal says then."""
        facts = entry.journal.attempt
        number = facts.number if facts is not None else entry.journal.next_attempt
        summary = "its supervisor was still at work"
        adopted = self._event(
            life, "task_adopted", number, phase="attempt", status="running", summary=summary
        )
        self.store.log.commit([adopted])
        if facts is not None and facts.ended is None:
            life.handle = self.distributors.default.adopt(facts, entry.path)
            if self.store.cancel_request(life.id) is not None:
                life.handle.cancel()
        entry.close()
        free = await asyncio.wrap_future(when_free(entry.path))
        life.handle = None
        if free is None:
            return  # somebody else (orchestrator run) has finished it
        step = step_of(self.store, free)
        if step is not None:
            life.attempt = free.journal.attempt.number if free.journal.attempt else 0
            await self.resume(life, free, step)

    # -- one attempt --------------------------------------------------------------------------------------------

    async def _attempt(self, life: Life, entry: Entry) -> None:
        life.attempt = number = entry.journal.next_attempt
        life.retry_at = None
        life.records = [entry.journal.claim]
        run_dir = self.layout.logs(life.id, number)
        try:
            self.replies.at_start(entry)
            self._bound(life)
            await self.grounds.ready(life, entry)
            await self._fetch(life)
            order = await self.sandboxes.around(life, self._order(life, entry, run_dir))
            await self._before(life, run_dir)
            if order.portable:
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
            order = replace(order, journal=entry.detach())
            end = await self._execute(life, order)
            entry = await self._reopened(life, number, end)
        await self.ended(life, entry, end)

    async def _reopened(self, life: Life, number: int, end: AttemptEnd) -> Entry:
        """The journal after an attempt, with the lock and with the attempt's end."""
        entry = await reopened(self.store, life.id, life.records)
        journal = entry.journal
        if not (journal.attempt and journal.attempt.number == number and journal.attempt.ended):
            self._record_end(entry, number, end)
        return entry

    def _offer(self, life: Life, entry: Entry, order: Order) -> None:
        """From here on the attempt may run elsewhere, whatever becomes of this process."""
        record = portable.record(order, self.store.clock.wall())
        entry.append(record, sync=True)
        life.records.append(record)
        at = {"phase": "attempt", "status": "running", "summary": portable.words(record)}
        self.store.log.commit([self._event(life, "attempt_dispatched", order.attempt, **at)])

    async def _reattach(self, life: Life, entry: Entry) -> None:
        """An attempt that a former watcher has offered elsewhere: whoever has it is asked, never this machine's locks."""
        facts = entry.journal.attempt
        assert facts is not None
        life.records = [entry.journal.claim, facts.dispatched]
        run_dir = self.layout.logs(life.id, facts.number)
        order = portable.again(self.layout, self.config, facts, run_dir, entry.detach())
        entry.close()
        distributor = self.distributors.at(facts.where)
        life.handle = distributor.reattach(order, facts, self._started(life, order))
        if self.store.cancel_request(life.id) is not None:
            life.handle.cancel()
        end = await life.handle.wait()
        await self.ended(life, await self._reopened(life, facts.number, end), end)

    async def _execute(self, life: Life, order: Order) -> AttemptEnd:
        life.began = asyncio.get_running_loop().time()
        distributor = self.distributors.at(life.route.place.name)
        life.handle = distributor.dispatch(order, self._started(life, order))
        return await life.handle.wait()

    def _started(self, life: Life, order: Order) -> Callable[[int], None]:
        """What follows when the tool of an attempt has been started."""

        def started(pid: int) -> None:
            life.pid = pid
            self.follow(life)
            begun = {"record": "started", "attempt": order.attempt, "tag": order.tag}
            life.records.append(begun | {"at": self.store.clock.wall()})
            summary = os.path.basename(order.argv[0]) if order.argv else life.where
            at = {"phase": "attempt", "status": "running", "summary": summary}
            self.store.log.commit([self._event(life, "attempt_started", order.attempt, **at)])
            self.tell("started", life.id, life=life)

        return started

    def _order(self, life: Life, entry: Entry, run_dir: str) -> Order:
        """Build the command and the log folder; raises CannotStart, StoreFault or OSError: then nothing has started."""
        try:
            places.check_folders(self.layout)
            folder_of_ours = f"{run_dir}/{OWN}"
            for folder in (
                self.layout.logs(life.id),
                run_dir,
                f"{run_dir}/{ARTIFACTS}",
                folder_of_ours,
            ):
                places.make_folder(self.layout, folder)
        except (
            OSError
        ) as error:  # logs/ is ours: a disk or permissions that refuse it are no fault of the task
            raise StoreFault(f"{self.layout.shown(run_dir)}: {error.strerror}") from None
        tag = secrets.token_hex(8)
        distributor = self.distributors.at(life.route.place.name)
        if distributor.portable:
            if why := distributor.fault():
                raise CannotStart(why)
            told = self.proof.words(life.id, entry.journal) or entry.journal.told
            return portable.order(self.layout, self.config, self.grounds, life, entry, tag, told)
        own = {**life.fetched, **own_environment(self.layout, life, run_dir, tag)}
        if life.route.mode == "interactive":
            own["TERM"] = os.environ.get("TERM", "").replace("dumb", "") or "xterm-256color"
        if not life.route.tool.argv:
            raise CannotStart(life.route.why)
        session = self._session(life, entry.journal)
        made: Invocation = adapter(life.route.tool.adapter).invocation(
            replace(life.task, max_cost=left(life.task, self.config, entry.journal)),
            *(life.route, self.config, self.grounds.folder(life), run_dir, own, session),
        )
        model = self.config.models.get(life.route.model or "")
        if (
            model is not None
            and model.context is not None
            and len(made.prompt) > model.context * MOST_CHARACTERS
        ):
            raise CannotStart(
                f"the prompt has {len(made.prompt)} characters, more than {model.name} takes at once ({model.context} tokens)"
            )
        path = program(made.argv[0], made.env, self.layout.root)
        if path is None:
            raise NotInstalled(f"there is no program '{made.argv[0]}'")
        given = {name: value for name, value in made.env.items() if name not in life.task.env}
        redact = (*self.config.redact, *life.fetched)
        secrets_ = life.secrets = secrecy.forms(secret_values(given, redact))
        prompt_file = f"{run_dir}/prompt.md"
        try:
            atomic.remove(prompt_file)
            atomic.write_temporary(
                prompt_file, made.prompt.encode("utf-8", "replace"), mode=0o600, sync=False
            )
            atomic.remove(f"{run_dir}/command.json")
            atomic.write_temporary(
                f"{run_dir}/command.json", recorded(made, secrets_), mode=0o600, sync=False
            )
        except OSError as error:
            raise StoreFault(f"{self.layout.shown(prompt_file)}: {error.strerror}") from None
        config = self.config
        facts = {"session": session.id, "resumed": session.resume} if session.id else {}
        return Order(
            task_id=life.id,
            attempt=life.attempt,
            program=path,
            argv=made.argv,
            env=made.env,
            cwd=made.cwd,
            run_dir=run_dir,
            stdin=prompt_file if made.stdin else None,
            tag=tag,
            journal=-1,  # handed over when nothing can fail any more
            cancel=self.layout.cancel_request(life.id),
            timeout=life.route.timeout,
            interrupt_grace=config.interrupt_grace,
            terminate_grace=config.terminate_grace,
            log_limit=config.log_limit,
            on_log_limit=config.on_log_limit,
            secrets=secrets_,
            silence=life.route.silence or 0.0,
            terminal=life.route.mode == "interactive",
            facts=facts,
        )

    def _session(self, life: Life, journal: Journal) -> Session:
        """Go on with the session of the attempt before, if the same tool can; else begin one, under an id of ours if it
        lets us choose."""
        tool, chooses = life.route.tool, chooses_session(life.route)
        if life.route.mode == "interactive":
            return Session(str(uuid.uuid4()) if chooses else "")
        goes_on = journal.attempt is not None and not journal.fresh
        before = journal.attempt.read if journal.attempt is not None and goes_on else {}
        reds_ = self.proof.words(life.id, journal) if before and journal.tries else ""
        told = "\n".join(text for text in (reds_, journal.told) if text)
        again = not journal.tries and not journal.told
        if (
            tool.can_resume
            and before.get("session")
            and before.get("tool") == tool.name
            and before.get("error_class") != "session"
        ):
            ended = one_line(str(before.get("reason") or ""), 200)
            return Session(before["session"], True, ended, told, again)
        return Session(str(uuid.uuid4()) if chooses else "", told=told, again=goes_on)

    def _secrets(self, life: Life) -> tuple[str, ...]:
        """What this attempt was given and must not be read anywhere; of one that another watcher began, what it would be given now."""
        if not life.secrets and life.route.tool.argv:
            values = dict.fromkeys(("model", "session", "run_dir", "project", "cwd"), "")
            env = environment(life.route, life.task, self.config, life.fetched, values)
            redact = (*self.config.redact, *life.fetched)
            life.secrets = secrecy.forms(secret_values(env, redact))
        return life.secrets

    async def _fetch(self, life: Life) -> None:
        """Have the role's secrets, fetched anew for each attempt."""
        life.fetched = {}
        commands = life.route.agent.secrets
        if commands:
            life.fetched = await asyncio.to_thread(secretstore.fetch, commands, self.layout.root)

    async def _fetch_to_mask(self, life: Life) -> None:
        """Have them for an attempt that another watcher began; what cannot be fetched now was masked in its logs then."""
        if not life.secrets and life.route.agent.secrets:
            with suppress(OrchestratorError):
                await self._fetch(life)

    def _record_end(self, entry: Entry, number: int, end: AttemptEnd) -> None:
        """An end that no supervisor could record: it was killed, or never began."""
        entry.append(end_record(number, end, self.store.clock.wall()), sync=True)

    # -- after it ---------------------------------------------------------------------------------------------------

    async def ended(self, life: Life, entry: Entry, end: AttemptEnd) -> None:
        """Understand the end and take the step that policy says."""
        if end.cause == "lost" and (
            entry.journal.attempt is None or entry.journal.attempt.ended is None
        ):
            self._record_end(entry, life.attempt, end)
        life.handle = None
        life.ending = True
        await self._fetch_to_mask(life)
        run_dir = self.layout.logs(life.id, life.attempt)
        if end.cause == "lost":
            await asyncio.to_thread(masking.finish, run_dir, self._secrets(life))
        reading = await self._understood(life, entry, run_dir, end)
        reading = secrecy.masked(reading, self._secrets(life))
        life.progress = None
        if not entry.journal.checks or entry.journal.checks[-1].number != life.attempt:
            life.cost += reading.cost_usd or 0.0  # else it was counted before a check of it ran
            self.spent(life, reading)
        told = await self.sandboxes.after(run_dir)
        reading = replace(reading, warnings=(*reading.warnings, *told))
        entry, reading = await self.works.judged(life, entry, reading, run_dir)
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
        failure = kind(reading.error_class) if reading.error_class else OTHER
        if failure.parks:
            await self._park(life, reading)
        elif reading.outcome is Outcome.SUCCEEDED:
            self.blocked.pop(life.route.tool.name, None)
        red = reds(entry.journal.attempts[-entry.journal.tries :])
        step = decide(
            reading.outcome,
            entry.journal.tries - refusals - red - probes(entry.journal),
            life.route.retries,
            self.config.retry,
            self.config.on_lost,
            reading.may_retry,
            failure,
            self._next_link(life) is not None,
            reading.reset - self.store.clock.wall() if reading.reset is not None else 0.0,
        )
        if self.works.again(life.route, reading, red):
            step = Retry(0.0)
        if isinstance(step, Finish) and questions.denied(self.layout, life, entry, reading):
            step = Retry(0.0)
        if self.replies.at_end(entry) and isinstance(step, Finish):
            if reading.outcome is not Outcome.CANCELLED:
                step = Retry(0.0, renew=True)
        if isinstance(step, Retry) and (
            why := too_expensive(life.task, self.config, entry.journal, reading)
        ):
            step = Finish(STATUS_OF_OUTCOME[reading.outcome], f"{why}; {reading.reason}")
        if isinstance(step, Retry):
            await self._retry(life, entry, reading, step)
        else:
            await self._finish(life, entry, reading, step)

    async def _understood(self, life: Life, entry: Entry, run_dir: str, end: AttemptEnd) -> Reading:
        """The reading, with this attempt's own share of the figures and with a cost."""
        try:
            large = os.path.getsize(f"{run_dir}/stdout.log") > LARGE
        except OSError:
            large = False
        reading = (
            await asyncio.to_thread(self._reading, life, run_dir, end)
            if large
            else self._reading(life, run_dir, end)
        )
        facts = entry.journal.attempt
        started = facts.started if facts is not None else {}
        parse = life.route.tool.parse
        session = session_of(parse, reading, end.cause, str(started.get("session") or ""))
        reading = replace(reading, session=session, resumed=bool(started.get("resumed")))
        before = [facts.read for facts in entry.journal.attempts[:-1]]
        reading = own_share(parse, reading, before)
        if "at" in started:
            reading = await with_session_log(life.route, run_dir, reading, started["at"])
        self._remember_quota(life, reading)
        return priced(reading, self.config.models.get(life.route.model or reading.model))

    def _remember_quota(self, life: Life, reading: Reading) -> None:
        """What its tool said of its plan.  A disk that refuses that costs nothing but the figure."""
        with suppress(OSError):
            quotas.remember(
                self.layout, life.route.tool.name, reading.windows, self.store.clock.wall()
            )

    async def _before(self, life: Life, run_dir: str) -> None:
        """Have git say what the tree is like before an agent changes it."""
        if life.tree is not None:
            await self.grounds.remember(life, run_dir)
        elif life.route.tool.parse is not None and (
            seen := await asyncio.to_thread(changes.look, self.layout.root, self.layout.work)
        ):
            changes.save(f"{run_dir}/{BEFORE}", seen)

    async def _changed(self, life: Life) -> list[str]:
        if life.change is not None:
            return list(life.change.files)
        logs = [self.layout.logs(life.id, number) for number in range(1, life.attempt + 1)]
        return await asyncio.to_thread(
            changes.since, self.layout.root, self.layout.work, [f"{log}/{BEFORE}" for log in logs]
        )

    async def _park(self, life: Life, reading: Reading) -> None:
        """The tool's limit is used up: nobody starts it before its end."""
        tool = life.route.tool.name
        self.blocked[tool] = self.blocked.get(tool, 0) + 1
        until = held_until(
            reading.reset, self.store.clock.wall(), self.blocked[tool], self.config.retry
        )
        await self._settled(lambda: self.store.park(tool, until, reading.reason))
        life.parks = True
        self.store.log.commit(
            [
                self._event(
                    life,
                    "tool_parked",
                    life.attempt,
                    phase="attempt",
                    status="running",
                    summary=f"until {timestamp(until)[:19]}Z: {reading.reason}",
                )
            ]
        )
        self.tell("parked", life.id, tool=tool, until=until, reason=reading.reason)

    def _next_link(self, life: Life) -> int | None:
        """The next tool of the chain whose program is there."""
        at = life.chain.index(life.route) if life.route in life.chain else len(life.chain)
        for place in range(at + 1, len(life.chain)):
            if life.chain[place].tool.at_hand:
                return place
        return None

    def _reading(self, life: Life, run_dir: str, end: AttemptEnd) -> Reading:
        """What the adapter makes of the end; if it cannot, what can be said without it."""
        try:
            return adapter(life.route.tool.adapter).reading(life.route, run_dir, end)
        except Exception as error:
            plain = SpecAdapter().reading(life.route, run_dir, end)
            if end.cause:
                return plain
            return replace(
                plain,
                outcome=Outcome.FAILED,
                error_class="output",
                may_retry=False,
                reason=f"its output could not be read: {one_line(str(error), 120)}",
            )

    async def _retry(self, life: Life, entry: Entry, reading: Reading, step: Retry) -> None:
        ended = self._attempt_event(life, reading)
        read = self._kept(life, reading)
        link = entry.journal.link
        following = life.route
        words = f"attempt {life.attempt + 1} in {step.after:g} s: {reading.reason}"
        if step.fall_back:
            link = self._next_link(life) or link
            following = life.chain[link]
            words = f"falls back to {following.tool.name}: {reading.reason}"
        if step.renew:
            words = f"attempt {life.attempt + 1}: it has a reply"
        again = self._event(
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
        life.retry_at = self.store.clock.monotonic() + step.after
        self.tell(
            "retrying",
            life.id,
            life=life,
            reading=reading,
            after=step.after,
            fall_back=step.fall_back,
            renew=step.renew,
        )

    async def _give_back(self, life: Life, entry: Entry, reading: Reading, by: str) -> None:
        await self._durable(
            [
                self._attempt_event(life, reading),
                self._event(
                    life, "task_requeued", life.attempt, phase="finish", status="inbox", summary=by
                ),
            ]
        )
        await self._settled(
            lambda: self.store.requeue(entry, by, {"read": self._kept(life, reading)})
        )
        life.status = Status.INBOX
        self.tell("requeued", life.id, life=life, reading=reading)

    async def _finish(self, life: Life, entry: Entry, reading: Reading, step: Finish) -> None:
        """Result, event, rename: in this order, each of them repeatable."""
        changed = await self._changed(life)
        step = await self.works.destination(life, entry, step, reading, changed)
        now = timestamp(self.store.clock.wall())
        made = await self._artifacts(life)
        document = self._document(life, entry, reading, step, now, made, changed)
        follows = chaining.follows(self.layout, self.config, life, entry, reading, step, changed)
        document |= follows.told(document)
        if follows.why:
            self.tell("warned", life.id, text=follows.why)
        ended = self._attempt_event(life, reading)  # first: readers sort by time
        done = self._event(
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
            log_paths=self._log_paths(life),
            usage=document.get("usage", {}),
            cost_usd=document.get("cost_usd"),
            cost_source=document.get("cost_source", ""),
            model=document.get("model"),
            error_class=reading.error_class,
            **self.works.facts(life, entry),
        )
        await self._durable([ended, done], lambda: self.store.stage_result(life.id, document))
        oddities = await self._settled(
            lambda: self.store.settle(
                entry,
                step.status,
                {
                    "outcome": str(reading.outcome),
                    "read": self._kept(life, reading),
                    **follows.record(),
                },
            )
        )
        life.status = step.status
        life.led_to = tuple(item.id for item in follows.made)
        for oddity in oddities or ():
            self.store.log.commit(
                [
                    self._event(
                        life,
                        "task_restored",
                        life.attempt,
                        phase="finish",
                        status=str(step.status),
                        summary=oddity,
                    )
                ]
            )
            self.tell("restored", life.id, text=oddity)
        self.tell(
            "finished",
            life.id,
            life=life,
            reading=reading,
            status=step.status,
            reason=step.reason or reading.reason,
        )

    def _document(
        self,
        life: Life,
        entry: Entry,
        reading: Reading,
        step: Finish,
        now: str,
        made: Sequence[Mapping[str, Any]],
        changed: list[str],
    ) -> dict[str, Any]:
        attempts, readings = [], []
        for facts in entry.journal.attempts:
            newest = facts.number == life.attempt
            its = reading if newest else brief(facts)
            who = self._kept(life, reading) if newest else facts.read
            readings.append(its)
            attempts.append(
                attempt_entry(
                    facts.number,
                    timestamp(facts.started["at"]) if "at" in facts.started else "",
                    timestamp(facts.ended["at"]) if facts.ended else now,
                    its,
                    **{name: who.get(name) for name in ("agent", "tool", "model")},
                )
            )
        cost, source = total_cost(readings)
        claim = {
            **entry.journal.claim,
            "agent": life.route.agent.name,
            "tool": life.route.tool.name,
            "model": life.route.model or reading.model,
            "why": life.route.why,
        }
        folder = self.layout.logs(life.id, life.attempt)
        return result(
            life.id,
            str(reading.outcome),
            claim,
            attempts,
            reading,
            reason=step.reason,
            resume=by_hand(life.route, reading.session),
            files_changed=changed,
            question=questions.asked(self.layout, life, reading),
            usage=total_usage(item.usage for item in readings),
            cost_usd=cost,
            cost_source=source,
            finished_at=now,
            artifacts=list(made),
            notes=list(life.task.notes),
            log=self.layout.shown(folder) + "/" if os.path.isdir(folder) else "",
            **self.works.facts(life, entry),
        )

    async def _artifacts(self, life: Life) -> list[dict[str, Any]]:
        """Declared files, present or missing, and what the attempt left in $ORCHESTRATOR_ARTIFACTS."""
        folder = f"{self.layout.logs(life.id, life.attempt)}/{ARTIFACTS}"
        declared = {path: self.grounds.file(life, path) for path in life.task.artifacts}
        found = await asyncio.to_thread(artifacts.collect, self.layout, declared.values(), folder)
        for item, path in zip(found, declared, strict=False):  # as the task names them
            item["path"] = path
        return found

    # -- small things -----------------------------------------------------------------------------------------------

    async def _durable(
        self,
        events: Sequence[Event],
        stage: Callable[[], NewFile] | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Commit, waiting out a disk that refuses: what has happened is not forgotten."""
        while True:
            try:
                files = [stage()] if stage else []
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

    def _event(self, life: Life, kind: str, attempt: int, **fields: Any) -> Event:
        return self.store.log.event(
            kind,
            life.id,
            attempt,
            task_id=life.id,
            run_id=life.task.run,
            attempt=attempt,
            agent=life.route.agent.name,
            tool=life.route.tool.name,
            model=fields.pop("model", None) or life.route.model,
            mode=life.route.mode,
            **fields,
        )

    def _attempt_event(self, life: Life, reading: Reading) -> Event:
        return self._event(
            life,
            "attempt_finished",
            life.attempt,
            phase="attempt",
            status="running",
            summary=reading.reason or str(reading.outcome),
            outcome=str(reading.outcome),
            exit_code=reading.exit_code,
            duration_ms=reading.duration_ms,
            log_paths=self._log_paths(life),
            usage=dict(reading.usage),
            cost_usd=reading.cost_usd,
            cost_source=reading.cost_source,
            session=reading.session,
            resumed=reading.resumed,
            error_class=reading.error_class,
            model=life.route.model or reading.model,
        )

    def _kept(self, life: Life, reading: Reading) -> dict[str, Any]:
        return kept(reading, life.route.agent.name, life.route.tool.name, life.route.model)

    def _log_paths(self, life: Life) -> list[str]:
        folder = self.layout.shown(self.layout.logs(life.id, life.attempt))
        return [f"{folder}/stdout.log", f"{folder}/stderr.log"]

    def _prompt_if_wanted(self, life: Life) -> dict[str, str]:
        return {"prompt": life.task.prompt} if self.config.prompts_in_events else {}
