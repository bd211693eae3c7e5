"""The order of one attempt: its command, environment, session, secrets and log folder."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from orchestrator.coordination import answering, attemptfiles, plans, portable, unseen
from orchestrator.coordination.accounting import left
from orchestrator.coordination.asking import asks_while_running
from orchestrator.coordination.life import Life
from orchestrator.coordination.proof import Proof
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.tasktrees import TaskTrees, own_environment
from orchestrator.distributors.base import Order
from orchestrator.distributors.registry import Distributors
from orchestrator.errors import OrchestratorError, StoreFault
from orchestrator.execution import secretstore
from orchestrator.files.layout import ANSWERS, ARTIFACTS, ASKED, OWN, WORDS, Layout
from orchestrator.files.text import one_line
from orchestrator.model.config import Config
from orchestrator.model.journal import Journal
from orchestrator.store import places, steering
from orchestrator.store.ledger import Entry
from orchestrator.tools import secrecy
from orchestrator.tools.adapters import adapter
from orchestrator.tools.invocation import (
    SECRET_MIN,
    CannotStart,
    Invocation,
    NotInstalled,
    Session,
    chooses_session,
    environment,
    program,
    secret_values,
)
from orchestrator.tools.routing import Route
from orchestrator.tools.share import Read, came_to_nothing

MOST_CHARACTERS = 6  # that a token stands for, by a generous count


def takes_words(route: Route) -> bool:
    """Whether a tool of this machine, run this way, can be told more while it runs."""
    tool = route.tool
    return tool.reply is not None and route.mode != "interactive" and tool.prompt == "stdin"


def _begin(route: Route, run_dir: str, prompt: str) -> dict[str, str]:
    """Write the first words of an attempt; how the tool says what became of words."""
    assert route.tool.reply is not None
    steering.begin(run_dir, route.tool.reply.message, prompt)
    return {"end": route.tool.reply.end, "taken": route.tool.reply.taken}


def _unheard(journal: Journal, before: Read) -> str:
    """What people said to an attempt whose session could not be gone on with: nobody has heard
    it."""
    if journal.attempt is None or not _nothing(before):
        return ""
    number = journal.attempt.number
    said = (record for record in journal.replies if record["to"] == number)
    return "\n".join(str(record["text"]) for record in said if "taken" not in record)


def _nothing(before: Read) -> bool:
    """Whether an attempt that went on with its session came to nothing by that."""
    return before.get("error_class") == "session" or came_to_nothing(before)


class Orders:
    """Builds what a distributor is handed."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        distributors: Distributors,
        tasktrees: TaskTrees,
        proof: Proof,
    ) -> None:
        self.layout, self.settings, self.distributors = layout, settings, distributors
        self.tasktrees, self.proof = tasktrees, proof

    @property
    def config(self) -> Config:
        """What is configured now."""
        return self.settings.config

    def order(self, life: Life, entry: Entry, run_dir: str) -> Order:
        """Build the command and the log folder; raises CannotStart, StoreFault or OSError: then
        nothing has started."""
        unseen.refuse(self.layout, life.task, self.tasktrees.folder(life))
        self._make_folders(life, run_dir)
        answering.place(self.layout, life, run_dir)
        tag = secrets.token_hex(8)
        distributor = self.distributors.at(life.route.place.name)
        if not distributor.portable:
            return self._concrete(life, entry, run_dir, tag)
        if why := distributor.fault():
            raise CannotStart(why)
        told = self._reds(life, entry.journal) or entry.journal.told
        told = plans.again(told, entry.journal)
        made = portable.order(self.layout, self.config, self.tasktrees, life, entry, tag, told)
        return replace(made, facts=plans.facts(life))

    def _make_folders(self, life: Life, run_dir: str) -> None:
        """Those below logs/ that this attempt writes to."""
        below = [ARTIFACTS, OWN]
        if takes_words(life.route):
            below.append(WORDS)
        if asks_while_running(life):
            below += [ASKED, ANSWERS]
        try:
            places.check_folders(self.layout)
            folders = (f"{run_dir}/{name}" for name in below)
            for folder in (self.layout.logs(life.id), run_dir, *folders):
                places.make_folder(self.layout, folder)
        except OSError as error:
            # logs/ is ours: a disk or permissions that refuse it are no fault of the task
            raise StoreFault(f"{self.layout.shown(run_dir)}: {error.strerror}") from None

    def _concrete(self, life: Life, entry: Entry, run_dir: str, tag: str) -> Order:
        """An attempt of this machine."""
        made, session = self._invocation(life, entry, run_dir, tag)
        self._check_prompt(life.route, made)
        path = program(made.argv[0], made.env, self.layout.root)
        if path is None:
            raise NotInstalled(f"there is no program '{made.argv[0]}'")
        life.secrets = attemptfiles.hidden(made, life.task, (*self.config.redact, *life.fetched))
        try:
            prompt_file = attemptfiles.write(run_dir, made, life.secrets)
            words = _begin(life.route, run_dir, made.prompt) if session.words else {}
        except OSError as error:
            raise StoreFault(f"{self.layout.shown(run_dir)}/prompt.md: {error.strerror}") from None
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
            words=words,
            tag=tag,
            journal=-1,  # handed over when nothing can fail any more
            cancel=self.layout.cancel_request(life.id),
            timeout=life.route.timeout,
            interrupt_grace=config.interrupt_grace,
            terminate_grace=config.terminate_grace,
            log_limit=config.log_limit,
            on_log_limit=config.on_log_limit,
            secrets=life.secrets,
            silence=life.route.silence or 0.0,
            terminal=life.route.mode == "interactive",
            facts=facts | plans.facts(life) | ({"words": True} if words else {}),
        )

    def _invocation(
        self, life: Life, entry: Entry, run_dir: str, tag: str
    ) -> tuple[Invocation, Session]:
        """The command as its tool's adapter makes it, and the session that it begins or goes on
        with."""
        own = {**life.fetched, **own_environment(self.layout, life, run_dir, tag)}
        if life.route.mode == "interactive":
            own["TERM"] = os.environ.get("TERM", "").replace("dumb", "") or "xterm-256color"
        if not life.route.tool.argv:
            raise CannotStart(life.route.why)
        session = self._session(life, entry.journal)
        session = replace(session, plan=life.planning, words=takes_words(life.route))
        task = replace(life.task, max_cost=left(life.task, self.config, entry.journal))
        folder = self.tasktrees.folder(life)
        made = adapter(life.route.tool.adapter).invocation(
            task, life.route, self.config, folder, run_dir, own, session
        )
        return made, session

    def _check_prompt(self, route: Route, made: Invocation) -> None:
        """`CannotStart` if it is surely more than the model takes."""
        model = self.config.models.get(route.model or "")
        if model is None or model.context is None:
            return
        if len(made.prompt) > model.context * MOST_CHARACTERS:
            raise CannotStart(
                f"the prompt has {len(made.prompt)} characters, more than {model.name} accepts at"
                f" once ({model.context} tokens)"
            )

    def _session(self, life: Life, journal: Journal) -> Session:
        """Go on with the session of the attempt before, if the same tool can; else begin one, under
        an id of ours if it lets us choose."""
        tool, chooses = life.route.tool, chooses_session(life.route)
        if life.route.mode == "interactive":
            return Session(str(uuid.uuid4()) if chooses else "")
        goes_on = journal.attempt is not None and not journal.fresh
        before = journal.attempt.read if journal.attempt is not None and goes_on else {}
        reds_ = self._reds(life, journal) if before and journal.tries else ""
        told = "\n".join(text for text in (reds_, _unheard(journal, before), journal.told) if text)
        again = not journal.tries and not journal.told
        same = before.get("tool") == tool.name and not _nothing(before)
        if tool.can_resume and before.get("session") and same:
            ended = one_line(str(before.get("reason") or ""), 200)
            return Session(before["session"], True, ended, told, again)
        told = plans.again(told, journal)
        return Session(str(uuid.uuid4()) if chooses else "", told=told, again=goes_on)

    def _reds(self, life: Life, journal: Journal) -> str:
        """What is to be mended of the attempt before; empty if nothing is."""
        return self.proof.words(life.id, journal) or answering.words(journal)

    def secrets(self, life: Life) -> tuple[str, ...]:
        """What this attempt was given and must not be read anywhere; of one that another watcher
        began, what it would be given now."""
        if not life.secrets and life.route.tool.argv:
            values = dict.fromkeys(("model", "session", "run_dir", "project", "cwd"), "")
            env = environment(life.route, life.task, self.config, life.fetched, values)
            redact = (*self.config.redact, *life.fetched)
            life.secrets = secrecy.forms(secret_values(env, redact))
        return life.secrets

    def unmasked(self, life: Life) -> list[str]:
        """What is to be told of the role's secrets that are too short to be masked."""
        return [
            f"the secret {name} has fewer than {SECRET_MIN} characters: it is not masked"
            for name, value in life.fetched.items()
            if len(value) < SECRET_MIN
        ]

    async def fetch(self, life: Life) -> None:
        """Have the role's secrets, fetched anew for each attempt; a cancel ends that."""
        request = self.layout.cancel_request(life.id)
        await self._fetch(life, lambda: os.path.lexists(request))

    async def _fetch(self, life: Life, cancelled: Callable[[], bool]) -> None:
        life.fetched = {}
        commands = life.route.agent.secrets
        if not commands:
            return
        left = threading.Event()  # a thread cannot be cancelled
        hidden = secret_values(os.environ, self.config.redact)
        try:
            life.fetched = await asyncio.to_thread(
                secretstore.fetch,
                commands,
                self.layout.root,
                hidden,
                lambda: left.is_set() or cancelled(),
            )
        finally:
            left.set()

    async def fetch_to_mask(self, life: Life) -> None:
        """Have them for an attempt that another watcher began; what cannot be fetched now was
        masked in its logs then."""
        if not life.secrets and life.route.agent.secrets:
            with suppress(OrchestratorError):
                await self._fetch(life, lambda: False)
