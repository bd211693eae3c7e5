"""What no notification tells: the slow timer, which lists the inbox and looks whether all is where
it belongs."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from orchestrator.coordination import clearing, questions
from orchestrator.coordination.arrivals import Arrivals
from orchestrator.coordination.byhand import BY_MOVE
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import About, Remark
from orchestrator.coordination.reviewmoves import Found
from orchestrator.coordination.rooms import Rooms
from orchestrator.execution import orphans
from orchestrator.model.status import Status
from orchestrator.store import conflictnotes, foldercounts, recovery

FULL = 6  # every how many rescans each file is looked at, whatever the folder's time says
SWEEP = 120  # every how many rescans the trees of ended tasks are looked at


class Rescans:
    """The rescans of one watcher. ``next`` is when (monotonic) the next one is due."""

    def __init__(self, rooms: Rooms, arrivals: Arrivals) -> None:
        self._rooms, self._arrivals = rooms, arrivals
        self.next = 0.0
        self._made = 0
        self._collecting = False

    def begin(self) -> None:
        """All was listed just now."""
        self.next = self._rooms.clock.monotonic() + self._rooms.settings.config.rescan
        self._rooms.background.send(self._count_folders())

    def soon(self, now: float) -> None:
        """Something was left out that a rescan finds."""
        self.next = min(self.next, now + self._pause())

    def make(self, now: float) -> None:
        """One rescan, and when the next one is due."""
        self.next = now + self._pause()
        self._arrivals.refresh()
        self.look()

    def look(self) -> None:
        """All that a rescan looks at."""
        rooms = self._rooms
        self._made += 1
        full = self._made % FULL == 0 or bool(rooms.hints.silent)
        if rooms.card.stale:
            rooms.card.write()
        rooms.card.beat()  # first: whatever fails below, it lives
        rooms.repairs.look()
        self._look_at_state()
        rooms.takeover.complete_runs()
        self._look_at_verdicts()
        self._collect()
        if self._made % SWEEP == 1:
            rooms.background.send(self._sweep_trees())
        if not rooms.changes.pending:
            rooms.rereading.look()
        if full or rooms.waitlist.listing.outdated():
            rooms.waitlist.list(everything=full)
        rooms.cancels.look()
        rooms.lives.replies.scan()
        self._look_for_files()
        if full:
            orphans.bury_rest()
            self._look_at_the_rest()

    def _pause(self) -> float:
        """Seconds between two rescans: few where nothing else tells what has come."""
        rescan, rooms = self._rooms.settings.config.rescan, self._rooms
        return min(rescan, 1.0) if rooms.hints.silent or rooms.health.fault else rescan

    def _look_at_state(self) -> None:
        rooms = self._rooms
        if rooms.state.look():
            if rooms.state.problem:
                rooms.listener.hear(Remark(About.MISCONFIGURED, "", rooms.state.problem))
            rooms.card.write()

    def _look_at_verdicts(self) -> None:
        """What people have moved out of review/, and what follows from that."""
        rooms = self._rooms
        decided = Found() if rooms.health.fault else rooms.reviewmoves.look()
        rooms.reviews.scan(decided.merges)
        rooms.holdnews.look()
        for name in decided.made:
            rooms.waitlist.look_soon(name)

    def _look_for_files(self) -> None:
        """The files of running tasks are where they belong, or somebody has moved them."""
        rooms = self._rooms
        for life in list(rooms.running.values()):
            if not os.path.lexists(rooms.layout.file(Status.RUNNING, life.name)):
                if rooms.byhand.missing(life):
                    rooms.cancels.request(life, BY_MOVE)

    def _look_at_the_rest(self) -> None:
        """What is looked at more seldom: it costs more, or nobody waits for it."""
        rooms = self._rooms
        rooms.runningtasks.adopt()
        rooms.takeover.foreign()
        for name in questions.overdue(rooms.store, rooms.settings.config):
            rooms.waitlist.look_soon(name)
        rooms.waitlist.tasks.judge_anew()
        for task_id in recovery.stale_notes(rooms.layout):
            rooms.store.remove_note(task_id)
        conflictnotes.sweep(rooms.layout)
        rooms.background.send(self._count_folders())

    def _collect(self) -> None:
        """What living attempts have dropped is brought beside the loop: of each file the disk is
        waited for several times."""
        lives = self._rooms.running.values()
        dropping = [life for life in lives if self._rooms.lives.tasktrees.drops(life)]
        if dropping and not self._collecting:
            self._collecting = True
            self._rooms.background.send(self._collected(dropping))

    async def _collected(self, lives: list[Life]) -> None:
        try:
            for life in lives:
                quiet = self._rooms.settings.config.quiet
                await asyncio.to_thread(self._rooms.lives.tasktrees.collect, life, quiet)
        finally:
            self._collecting = False

    async def _count_folders(self) -> None:
        """What the large folders of ended tasks hold is written down, for who reads."""
        with suppress(OSError):  # whoever reads counts them then
            await asyncio.to_thread(foldercounts.keep, self._rooms.layout)

    async def _sweep_trees(self) -> None:
        """Trees of ended tasks whose time is over go."""
        rooms = self._rooms
        if os.path.isdir(rooms.layout.trees) and not rooms.health.fault:
            config = rooms.settings.config
            for text in await asyncio.to_thread(clearing.sweep, rooms.store, config):
                rooms.listener.hear(Remark(About.TIDIED, "", text))
