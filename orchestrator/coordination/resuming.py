"""Going on with a task where a former watcher was cut off: what its journal says is done.

What is unfinished is found by `coordination.takeover`.
"""

from __future__ import annotations

import asyncio
from typing import assert_never

from orchestrator.coordination import plans, remembering
from orchestrator.coordination.attempts import Attempts, Over
from orchestrator.coordination.endedattempts import retry_due
from orchestrator.coordination.life import Between, Departed, Life, Starting
from orchestrator.coordination.proof import Proof
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.taskevents import TaskEvents
from orchestrator.coordination.tasktrees import TaskTrees
from orchestrator.files.layout import Layout
from orchestrator.model.attempt import end_from
from orchestrator.model.journal import AttemptFacts
from orchestrator.model.units import timestamp
from orchestrator.records import dataclass
from orchestrator.store.ledger import Entry
from orchestrator.store.recovery import Step, step_of
from orchestrator.store.transitions import Store
from orchestrator.store.waiting import when_free


@dataclass(frozen=True, slots=True)
class Due:
    """Nothing has started: its next attempt is to. ``entry`` is its journal, locked."""

    entry: Entry


class Resuming:
    """Lives that another watcher began."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        tasktrees: TaskTrees,
        proof: Proof,
        attempts: Attempts,
        events: TaskEvents,
    ) -> None:
        self._layout, self._settings, self._store = layout, settings, store
        self._tasktrees, self._proof = tasktrees, proof
        self._attempts, self._events = attempts, events

    def life_of(self, entry: Entry) -> Life:
        """The life of a task that was claimed before, from the frozen text in its journal."""
        life = remembering.life_of(self._settings, entry, self._store.clock)
        self._tasktrees.known(life, entry)
        remembering.bind(self._layout, life)
        attempt = entry.journal.attempt
        if attempt is not None and attempt.planned and not attempt.read:
            plans.narrow(life)
        return life

    async def go_on(self, life: Life, entry: Entry, step: Step) -> Due | Over | None:
        """What has become of it; None if nothing follows now: its next attempt is due later, or
        somebody else has brought it to its end."""
        facts = entry.journal.attempt
        if facts is not None and "at" in facts.started:
            self._retell_start(life, facts)
        match step:
            case Step.START:
                return Due(entry)
            case Step.ADOPT:
                return await self._adopt(life, entry)
            case Step.REATTACH:
                return await self._attempts.reattached(life, entry)
            case Step.LOST:
                return await self._lost(life, entry)
            case Step.FINISH:
                return _ended(entry)
            case Step.RETRY:
                life.stage = Between(retry_due(entry.journal.last, self._store.clock))
                entry.close()
                return None
            case _:
                assert_never(step)

    def _retell_start(self, life: Life, facts: AttemptFacts) -> None:
        """A watcher that is killed right after a start may not have told of it; told again, it is
        the same event."""
        summary = life.where or life.route.tool.name
        moment = timestamp(facts.started["at"])
        self._store.log.note(self._events.started(life, facts.number, summary, ts=moment))

    async def _adopt(self, life: Life, entry: Entry) -> Due | Over | None:
        """Somebody works on it: wait for the lock, and go by what the journal says then."""
        facts = entry.journal.attempt
        number = facts.number if facts is not None else entry.journal.next_attempt
        summary = "its supervisor was still at work"
        adopted = self._events.event(
            life, "task_adopted", number, phase="attempt", status="running", summary=summary
        )
        self._store.log.commit([adopted])
        if facts is not None and facts.ended is None:
            self._attempts.adopted(life, entry, facts)
        entry.close()
        free = await asyncio.wrap_future(when_free(entry.path))
        life.stage = Starting()
        if free is None:
            life.stage = Departed()  # somebody else (orchestrator run) has finished it
            return None
        step = step_of(self._store, free)
        if step is None:
            return None
        life.attempt = free.journal.attempt.number if free.journal.attempt else 0
        return await self.go_on(life, free, step)

    async def _lost(self, life: Life, entry: Entry) -> Over:
        """Nobody works on it any more, and there is no end: of a check, or of the attempt."""
        facts = entry.journal.attempt
        assert facts is not None
        if not entry.journal.checking:
            return Over(entry, await self._attempts.adopted(life, entry, facts).wait())
        return _ended(await self._proof.resume(life, entry))


def _ended(entry: Entry) -> Over:
    """Its end is in the journal, and nobody has seen to it."""
    facts = entry.journal.attempt
    assert facts is not None and facts.ended is not None
    return Over(entry, end_from(facts.ended))
