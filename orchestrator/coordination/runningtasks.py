"""The tasks that are claimed here: each enters, is brought on by a coroutine of its own, and goes.
What happens to one on its way is in `coordination.lifecycle`; how it came here, in
`coordination.claiming` and `coordination.takeover`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from orchestrator.clock import Clock
from orchestrator.coordination.aftermath import Aftermath
from orchestrator.coordination.attempts import Over
from orchestrator.coordination.background import Background
from orchestrator.coordination.changes import Changes
from orchestrator.coordination.endedattempts import NotUnderstood
from orchestrator.coordination.health import Health
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.life import Ending, Life, Starting
from orchestrator.coordination.lifecycle import Lives
from orchestrator.coordination.news import Internal, Listener, Recovered, Retrying
from orchestrator.coordination.slots import Slots
from orchestrator.coordination.spending import Spending
from orchestrator.coordination.takeover import Takeover
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.model import ids
from orchestrator.model.attempt import AttemptEnd
from orchestrator.store.claiming import Claim, Withdrawn
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store


class RunningTasks:
    """``running`` are they by id, those between attempts included."""

    def __init__(
        self,
        running: dict[str, Life],
        store: Store,
        lives: Lives,
        waitlist: Waitlist,
        slots: Slots,
        spending: Spending,
        changes: Changes,
        takeover: Takeover,
        aftermath: Aftermath,
        health: Health,
        background: Background,
        listener: Listener,
        hints: Hints,
        clock: Clock,
    ) -> None:
        self.running, self.store, self.lives = running, store, lives
        self.waitlist, self.slots, self.spending = waitlist, slots, spending
        self.changes, self.takeover, self.aftermath = changes, takeover, aftermath
        self.health, self.background = health, background
        self.listener, self.hints, self.clock = listener, hints, clock

    def start(self, life: Life, claim: Claim) -> None:
        """Its first attempt."""
        self._occupy(life)
        self._enter(life)
        self._bring_on(life, self.lives.start(life, claim.entry, claim))

    def start_again(self, life: Life) -> None:
        """Its next attempt, unless somebody else is at it."""
        entry = self.store.ledger.open(life.id)
        if entry is None or not entry.lock():
            return
        life.stage = Starting()
        self._occupy(life)
        self._bring_on(life, self.lives.start(life, entry))

    def end(self, life: Life, entry: Entry, end: AttemptEnd) -> None:
        """No other attempt follows the one that has ended so."""
        life.stage = Ending()
        self._bring_on(life, self.lives.ended(life, Over(entry, end)))

    def adopt(self, first: bool = False) -> None:
        """Take up every unfinished task that is not ours yet."""
        for life, found in self.takeover.strays(first):
            self._enter(life)
            if life.retry_at is not None:
                after = max(0.0, life.retry_at - self.clock.monotonic())
                self.listener.hear(Retrying(life, after))
                continue
            self._occupy(life)
            self.listener.hear(Recovered(life, found.step))
            self._bring_on(life, self.lives.resume(life, found.entry, found.step))

    def _enter(self, life: Life) -> None:
        self.running[life.id] = life
        self.waitlist.tasks.keys[ids.key(life.id)] = life.name

    def _occupy(self, life: Life) -> None:
        self.slots.take(life)
        self.spending.begins(life.route.agent.name)
        self.changes.expose()

    def _bring_on(self, life: Life, work: Coroutine[Any, Any, None]) -> None:
        self.background.send(self._to_its_end(life, work))

    async def _to_its_end(self, life: Life, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Withdrawn as withdrawn:
            self._withdrawn(life, withdrawn.reason)
            return
        except NotUnderstood:
            self.takeover.foreign()  # tells of it, once
        except OSError as error:
            # Taken up again from the ledger once the disk works (coordination.repairs).
            self.health.failed(error)
        except Exception as error:  # a bug of ours must not take the other tasks with it
            self.listener.hear(Internal(life.id, error))
        finally:
            self.slots.leave(life)
            self.hints.stir()
        if life.retry_at is None:  # else it stays in running/ until its next attempt
            self._leave(life)
            self.aftermath.of(life)

    def _withdrawn(self, life: Life, reason: Exception) -> None:
        """Its claim came to nothing: it waits as before, or is not there any more."""
        if isinstance(reason, OSError):
            self.health.failed(reason)
        self._leave(life)
        self.waitlist.look_soon(life.name)

    def _leave(self, life: Life) -> None:
        self.running.pop(life.id, None)
        self.waitlist.tasks.keys.pop(ids.key(life.id), None)
