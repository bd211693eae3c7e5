"""What the end of a task means to the others: to those that wait for it, to its run, to what is
counted."""

from __future__ import annotations

import collections
import os

from orchestrator.coordination.health import Health
from orchestrator.coordination.life import Ended, Life
from orchestrator.coordination.reviewmoves import ReviewMoves
from orchestrator.coordination.reviews import Reviews
from orchestrator.coordination.runends import RunEnds
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.errors import OrchestratorError
from orchestrator.files.layout import Layout
from orchestrator.model.status import Status


class Aftermath:
    """Told of every claimed task that is not running any more. ``tally`` counts how tasks have
    ended, but for those in review."""

    def __init__(
        self,
        layout: Layout,
        waitlist: Waitlist,
        runends: RunEnds,
        reviews: Reviews,
        reviewmoves: ReviewMoves,
        health: Health,
        tally: collections.Counter[str],
    ) -> None:
        self.layout, self.waitlist = layout, waitlist
        self.runends, self.reviews, self.reviewmoves = runends, reviews, reviewmoves
        self.health, self.tally = health, tally

    def of(self, life: Life) -> None:
        """See to everything that follows."""
        self._count(life)
        statuses = self.waitlist.tasks.statuses
        if isinstance(life.stage, Ended):
            statuses.moved(life.id, life.stage.status, plain=life.tree is None)
        else:
            statuses.fresh(life.id)
        self.waitlist.tasks.needed(life.id)
        self._look_at_followers(life)
        self._see_to_its_run(life)
        self._take_back(life)

    def _count(self, life: Life) -> None:
        if isinstance(life.stage, Ended):
            if life.stage.status is Status.REVIEW:
                self.reviews.entered.add(life.id)
                self.reviewmoves.entered(life.name)
            else:
                self.tally[str(life.stage.status)] += 1

    def _look_at_followers(self, life: Life) -> None:
        led_to = life.stage.led_to if isinstance(life.stage, Ended) else ()
        for task_id in led_to:
            self.waitlist.look_soon(f"{task_id}.yaml")

    def _see_to_its_run(self, life: Life) -> None:
        for member, why in self.runends.stopped(life).items():
            self._cancel(member, why)
        self.runends.tell(life)
        self.reviews.runs(life.task.run or "")

    def _cancel(self, task_id: str, why: str) -> None:
        try:
            self.waitlist.withdraw(task_id, why)
        except (OSError, OrchestratorError) as error:
            self.health.failed(error)
            return
        self.tally["cancelled"] += 1

    def _take_back(self, life: Life) -> None:
        """A file of its name waits: it was sent back, or it is one that was refused meanwhile."""
        if os.path.lexists(self.layout.file(Status.INBOX, life.name)):
            self.waitlist.inbox.forget(life.name)
            self.waitlist.look_soon(life.name)
