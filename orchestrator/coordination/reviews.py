"""What goes to review/ by itself (runs, contests), and merging what a person has moved out of it
into done/. That somebody has moved something is seen by `coordination.reviewmoves`."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterable, Mapping

from orchestrator.coordination import contests, handmerges, merges, runreviews
from orchestrator.coordination.background import Background
from orchestrator.coordination.groups import Groups
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.coordination.runmoves import RunMoves
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.errors import OrchestratorError
from orchestrator.files import runrecords, scan
from orchestrator.files.layout import stem_of
from orchestrator.model.run import Run
from orchestrator.model.status import Status
from orchestrator.store.transitions import Store


class Reviews:
    """Its git runs in threads; when one has ended, the loop looks once more."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        groups: Groups,
        waitlist: Waitlist,
        listener: Listener,
        tally: collections.Counter[str],
        running: Mapping[str, Life],
        hints: Hints,
    ) -> None:
        self.settings, self.store, self.layout = settings, store, store.layout
        self.groups, self.waitlist, self.tally = groups, waitlist, tally
        self.listener, self.hints = listener, hints
        self._at_work = Background()
        self.moves = RunMoves(store, groups, waitlist, running, listener)
        self._reviewing: set[str] = set()  # runs whose branches are being looked at
        self._obeyed: set[str] = set()  # files that are being merged because a person moved them
        self._noticing: set[str] = set()  # tasks whose branches a person may have merged
        self.entered: set[str] = set()  # tasks and runs that have come to review here
        self.due = False  # a task was put where tasks end, by whomever

    @property
    def busy(self) -> bool:
        """Whether something may still go to review."""
        return bool(self._reviewing or self._obeyed or self._noticing)

    def count(self) -> int:
        """How many that have come to review here are there now."""
        places = (scan.locate(self.layout, name, (Status.REVIEW,)) for name in self.entered)
        return sum(place is not None for place in places)

    def stop(self) -> None:
        """Break off what has not ended; the next watcher finds it due again."""
        self._at_work.stop()

    def look(self) -> None:
        """See to it if something is due. Raises what ended one that was at work, unforeseen."""
        self._at_work.heed()
        if self.due:
            self.due = False
            self.runs(*runreviews.open_runs(self.store), *contests.open_contests(self.layout))

    def scan(self, merges: Iterable[str]) -> None:
        """Files that were moved from review/ to done/ by hand are to be merged; and any run may be
        over."""
        self.due = True
        self.tally[str(Status.CANCELLED)] += self.moves.look()
        for name in merges:
            if name not in self._obeyed:
                self._obeyed.add(name)
                self._at_work.send(self._obey(name))
        for task_id in self.waitlist.tasks.unmerged():
            if task_id not in self._noticing:
                self._noticing.add(task_id)
                self._at_work.send(self._notice(task_id))

    def runs(self, *run_ids: str) -> None:
        """Runs whose tasks have all ended, and whose branch holds something new, go to review."""
        for run_id in run_ids:
            run, stuck = self.groups.get(run_id), self.waitlist.tasks.is_stuck
            if run is None:
                continue
            if run_id in self._reviewing:
                self.due = True  # what has ended meanwhile is not in what is being looked at
                continue
            if run.contest or not self.waitlist.tasks.statuses.is_open(run, stuck):
                self._reviewing.add(run_id)
                self._at_work.send(self._review(run))

    async def _review(self, run: Run) -> None:
        try:
            if run.contest:
                await self._contest(run)
            else:
                fresh = self.waitlist.tasks.statuses.fresh
                words = await asyncio.to_thread(runreviews.settle, self.store, run, fresh)
                if words:
                    self.entered.add(run.id)
                    self.listener.hear(Remark(About.REVIEWED, run.id, words))
        except (OSError, OrchestratorError) as error:
            self.listener.hear(Remark(About.WARNED, run.id, runreviews.told(error)))
        finally:
            self._reviewing.discard(run.id)
            self.hints.stir()

    async def _notice(self, task_id: str) -> None:
        try:
            words = await asyncio.to_thread(handmerges.notice, self.store, task_id)
            if words:
                self.listener.hear(Remark(About.TIDIED, task_id, words))
                self.waitlist.tasks.statuses.fresh(task_id)
                self.waitlist.tasks.needed(task_id)
        except (OSError, OrchestratorError) as error:
            self.listener.hear(Remark(About.WARNED, task_id, runreviews.told(error)))
        finally:
            self._noticing.discard(task_id)
            self.hints.stir()

    async def _contest(self, run: Run) -> None:
        """Its tasks are counted where they ended; of itself there is only a line."""
        words = await asyncio.to_thread(contests.settle, self.store, run.id)
        place = runrecords.place(self.layout, run.id)
        if words and place is not None:
            if place[0] == Status.REVIEW:
                self.listener.hear(Remark(About.REVIEWED, run.id, words))
            else:
                told = f"contest {run.id} is in {place[0]}/: {words}"
                self.listener.hear(Remark(About.TIDIED, run.id, told))
        for member in run.members if words else ():
            self.waitlist.tasks.statuses.fresh(member)

    async def _obey(self, name: str) -> None:
        task_id = stem_of(name)
        try:
            made = await asyncio.to_thread(self._merged, name)
            if made:
                self.listener.hear(Remark(About.APPROVED, task_id, f"moved to done/: {made}"))
        except (OSError, OrchestratorError) as error:
            why = runreviews.told(error)
            words = f"it was moved to done/ and cannot be merged: {why}"
            self.listener.hear(Remark(About.WARNED, task_id, words))
        self._obeyed.discard(name)
        self.due = True  # what competed with it is to be put away
        self.waitlist.tasks.statuses.fresh(task_id)
        self.waitlist.tasks.needed(task_id)
        self.hints.stir()

    def _merged(self, name: str) -> str:
        config, task_id = self.settings.config, stem_of(name)
        if runrecords.known(self.layout, task_id) is not None:
            return runreviews.obey(self.store, config, name)
        return merges.obey(self.store, config, task_id)
