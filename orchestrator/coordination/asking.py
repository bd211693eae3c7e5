"""Questions while an agent runs: found below the attempts' logs, made known in ``asks/``, their
answers taken to the agents.

Everything is in files: what is asked, what is known and what is answered. So a watcher that is
killed with a question open loses none, and the next one asks nothing twice. While a question is
open its attempt gives its slot back, up to ``limits.asking`` of them; an answer is taken to the
agent when there is a slot again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from orchestrator.coordination.life import Acting, Life
from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.coordination.settings import Configured
from orchestrator.errors import OrchestratorError
from orchestrator.files import asks, git, origin, returning
from orchestrator.files.aside import Aside, Busy
from orchestrator.files.asks import Ask
from orchestrator.files.layout import Layout
from orchestrator.model.question import headline
from orchestrator.store import answering, atomic
from orchestrator.store.transitions import Store
from orchestrator.tools import secrecy

LOOK = 0.4  # seconds between looks while somebody might ask


def may_ask(life: Life) -> bool:
    """Whether its attempt was given a way to ask."""
    return isinstance(life.stage, Acting) and asks_while_running(life)


def asks_while_running(life: Life) -> bool:
    """Whether its role and its tool allow questions in the middle of a turn."""
    route = life.route
    return route.tool.asks and route.mode != "interactive" and route.agent.role.waits


@dataclass(slots=True)
class Asking:
    """The open questions of the watcher's tasks.  ``open`` are those without an answer, by task."""

    layout: Layout
    store: Store
    listener: Listener
    configured: Configured
    open: dict[str, list[Ask]] = field(default_factory=dict)
    _due: float = 0.0
    _owned: set[str] = field(default_factory=set)  # those of them whose tasks are the watcher's
    _first: bool = True
    _aside: Aside = field(default_factory=Aside)
    _judge: returning.Returning | None = None
    _told: set[tuple[str, str]] = field(default_factory=set)
    _kept: list[tuple[Life, Ask, str]] = field(default_factory=list)  # answered, without a slot

    def next_look(self, running: Iterable[Life]) -> list[float]:
        """When (monotonic) to look again."""
        return [self._due] if any(map(may_ask, running)) or self.open else []

    def look(self, running: dict[str, Life], now: float, room: Callable[[Life], bool]) -> None:
        """Make new questions known, take answers to those that wait; ``room(life)`` gives an
        attempt a slot, if there is one."""
        if now < self._due and self._owned <= running.keys():
            return  # else a task has ended with its question: the watcher may go next
        self._due = now + LOOK
        lives = {life.id: life for life in running.values() if may_ask(life)}
        if not lives and not self.open and not self._first:
            return
        self._first = False  # what a former watcher has left may belong to nobody by now
        known = asks.listed(self.layout)
        for life in lives.values():
            self._publish(life, known)
        self.open, self._kept = {}, []
        for ask in asks.listed(self.layout):
            owner = running.get(ask.task_id)
            if not self._is_open(ask):
                answering.forget(ask)
            elif (words := self._counting(ask)) is not None and (owner is None or room(owner)):
                self._answer(ask, words)
            else:
                self.open.setdefault(ask.task_id, []).append(ask)
                self._kept += [(owner, ask, words)] if owner is not None and words else []
        self._owned = self.open.keys() & running.keys()

    def go_on(self, room: Callable[[Life], bool]) -> None:
        """Take answers that wait for a slot to their agents, if there is one now: before another
        task starts in it, which would ask in its turn and have none of them answered."""
        kept, self._kept = self._kept, []
        for life, ask, words in kept:
            if room(life):
                self._answer(ask, words)
                self.open[life.id].remove(ask)
            else:
                self._kept.append((life, ask, words))

    async def keep_looking(self, life: Life) -> None:
        """Look for one task, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            with suppress(OSError, OrchestratorError):
                self.look({life.id: life}, loop.time(), lambda _: True)
            await asyncio.sleep(LOOK)

    def waits(self, life: Life) -> bool:
        """Whether it can go on only by a person's answer."""
        found = [ask for ask in self.open.get(life.id, ()) if self._is_open(ask)]
        return bool(found) and all(self._words(ask) is None for ask in found)

    def _publish(self, life: Life, known: list[Ask]) -> None:
        keys = {ask.key for ask in known}
        run_dir = self.layout.logs(life.id, life.attempt)
        for raw in asks.open_questions(run_dir):
            if raw.key in keys:
                continue
            raw = replace(raw, question=secrecy.mask(raw.question, life.secrets))
            answering.publish(self.store, life.id, life.attempt, raw)
            self.listener.hear(Remark(About.ASKED, life.id, headline(raw.question)))

    def _is_open(self, ask: Ask) -> bool:
        """Whether its agent still waits: it has no answer, has not given up and has not ended. The
        files say so, not our memory."""
        run_dir = self.layout.logs(ask.task_id, ask.attempt)
        return any(raw.key == ask.key for raw in asks.open_questions(run_dir))

    def _counting(self, ask: Ask) -> str | None:
        """What a person has answered; None if nothing yet. What git has brought is taken away."""
        words = self._words(ask)
        if words is None:
            return None
        name, now = os.path.basename(ask.answer_path), self.store.clock.wall()
        from_git = self.configured.config.from_git
        judge = self._judge = self._judge or returning.Returning(self.layout, self.store.trust)
        try:
            asked = ask.key, words, from_git
            brought = self._aside.ask(
                asked, lambda: judge.brought(name, "asks", name, from_git, now)
            )
        except (Busy, OSError):
            return None
        except git.Unclear as error:
            self._tell(ask, f"asks/{name} waits: {origin.unclear_text(error)}")
            return None
        if brought:
            atomic.remove(ask.answer_path)
            self._tell(ask, f"asks/{name} came through git: it is no answer, and was removed")
            return None
        return words

    def _tell(self, ask: Ask, why: str) -> None:
        if (ask.key, why) not in self._told:
            self._told.add((ask.key, why))
            self.listener.hear(Remark(About.WARNED, ask.task_id, why))

    def _answer(self, ask: Ask, words: str) -> None:
        if answering.deliver(self.store, ask, words):
            allowed = answering.verdict(ask.question, words)["allow"] is True
            self.listener.hear(Remark(About.ANSWERED, ask.task_id, "yes" if allowed else "no"))
        answering.forget(ask)

    def _words(self, ask: Ask) -> str | None:
        """What a person has answered; None if nothing yet. What cannot be an answer is told
        once."""
        found = asks.given(ask, leased=True)
        wrong = found.problem if found is not None else ""
        if wrong:
            self._tell(ask, f"{self.layout.shown(ask.answer_path)}: {wrong}")
        return found.words if found is not None and not wrong else None
