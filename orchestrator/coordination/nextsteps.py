"""What follows an attempt: another one, or the task's last folder."""

from __future__ import annotations

from orchestrator.coordination import answering, questions
from orchestrator.coordination.accounting import probes, too_expensive
from orchestrator.coordination.endedattempts import disk_refused
from orchestrator.coordination.life import Life
from orchestrator.coordination.proof import reds
from orchestrator.coordination.replies import Replies
from orchestrator.coordination.results import Results
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.taskwork import TaskWork
from orchestrator.files.layout import Layout
from orchestrator.model.failure import OTHER, Kind, kind
from orchestrator.model.journal import Journal
from orchestrator.model.policy import Finish, Retry, decide
from orchestrator.model.result import Reading
from orchestrator.model.status import STATUS_OF_OUTCOME, Outcome, Status
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store

REFUSALS = 5  # attempts of a task that the disk may refuse before that counts as the task's failure


class NextSteps:
    """Collects what `model.policy.decide` has to know, and what people, checks and budgets say
    beyond it."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        taskwork: TaskWork,
        results: Results,
        replies: Replies,
    ) -> None:
        self._layout, self._settings, self._store = layout, settings, store
        self._taskwork, self._results, self._replies = taskwork, results, replies

    async def after(self, life: Life, entry: Entry, reading: Reading) -> Retry | Finish:
        """The step that follows the attempt that was read."""
        step = self._decided(life, entry, reading)
        if isinstance(step, Finish):
            return await self._destination(life, entry, reading, step)
        return step

    def _decided(self, life: Life, entry: Entry, reading: Reading) -> Retry | Finish:
        """Whether another attempt follows: by policy, for a red check, for what a person has to
        say, within what it may cost."""
        turn = entry.journal.attempts[-entry.journal.tries :]
        red = reds(turn)
        to_no_blame = (
            refusals(entry.journal) + red + answering.misfits(turn) + probes(entry.journal)
        )
        until_reset = 0.0
        if reading.reset is not None:
            until_reset = reading.reset - self._store.clock.wall()
        step = decide(
            reading.outcome,
            entry.journal.tries - entry.journal.collided - to_no_blame,
            life.route.retries,
            self._settings.config.retry,
            self._settings.config.on_lost,
            reading.may_retry,
            failure(reading),
            next_link(life) is not None,
            until_reset,
            *((reading.reason,) if reading.reason else ()),
        )
        if self._taskwork.again(life.route, reading, red) or answering.again(reading, turn):
            step = Retry(0.0)
        if isinstance(step, Finish) and questions.denied(self._layout, life, entry, reading):
            step = Retry(0.0)
        if self._replies.at_end(entry) and isinstance(step, Finish):
            if reading.outcome is not Outcome.CANCELLED:
                step = Retry(0.0, renew=True)
        why = too_expensive(life.task, self._settings.config, entry.journal, reading)
        if why and isinstance(step, Retry):
            return Finish(STATUS_OF_OUTCOME[reading.outcome], f"{why}; {reading.reason}")
        return step

    async def _destination(
        self, life: Life, entry: Entry, reading: Reading, step: Finish
    ) -> Retry | Finish:
        """Where it goes: what it has changed may have to be merged, or be looked at by a person."""
        changed = await self._results.changed(life)
        then = await self._taskwork.destination(life, entry, step, reading, changed)
        if isinstance(then, Finish):
            return then
        why = too_expensive(life.task, self._settings.config, entry.journal, reading)
        return Finish(Status.REVIEW, f"{then.why}; {why}") if why else then


def next_link(life: Life) -> int | None:
    """The next tool of the chain whose program is there."""
    at = life.chain.index(life.route) if life.route in life.chain else len(life.chain)
    for place in range(at + 1, len(life.chain)):
        if life.chain[place].tool.at_hand:
            return place
    return None


def refusals(journal: Journal) -> int:
    """How many attempts of a task came to nothing because the disk refused to begin them."""
    return sum(disk_refused(facts) for facts in journal.attempts)


def failure(reading: Reading) -> Kind:
    """Of which kind it is, as far as policy is concerned."""
    return kind(reading.error_class) if reading.error_class else OTHER
