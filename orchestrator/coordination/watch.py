"""The watcher: one asyncio loop that looks at what changed, chooses, starts, and finishes.

What it keeps in memory (`coordination.rooms`) is a cache of the folders and the ledger. Every pass
does the same: take the hints, look at those files, start what has a slot. Its cost depends on what
changed, never on how many tasks there ever were.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

from orchestrator.clock import SYSTEM, Clock
from orchestrator.coordination import blame, leaving
from orchestrator.coordination.arrivals import Arrivals
from orchestrator.coordination.hintedpaths import HintedPaths
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import (
    About,
    Begun,
    Internal,
    Left,
    Listener,
    Remark,
    Stuck,
)
from orchestrator.coordination.rescans import Rescans
from orchestrator.coordination.rooms import Rooms
from orchestrator.coordination.settings import Settings
from orchestrator.distributors.registry import Distributors
from orchestrator.errors import StoreFault
from orchestrator.files.layout import Layout
from orchestrator.model.result import Reading
from orchestrator.store import atomic, foldercounts, git
from orchestrator.store.transitions import Store


class Watcher:
    """Coordinates one work directory.  ``listener`` hears everything a person may want to see."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        distributors: Distributors,
        store: Store,
        listener: Listener,
        clock: Clock = SYSTEM,
        signals: bool = True,
        arrivals: type[Arrivals] = Arrivals,
    ) -> None:
        self.rooms = Rooms(layout, settings, distributors, store, listener, clock)
        self._signals = signals  # whether those of this process are meant for us
        self._arrivals = arrivals(layout, self.rooms.hints)
        self._hintedpaths = HintedPaths(self.rooms)
        self.rescans = Rescans(self.rooms, self._arrivals)
        self._wake = asyncio.Event()

    async def run(self, until_empty: bool = False, once: bool = False) -> None:
        """Watch until told to stop, until nothing is left that can run, or for one pass.

        Raises `Busy` if another watcher has the work directory.
        """
        rooms = self.rooms
        rooms.starts.once = once
        loop = asyncio.get_running_loop()
        rooms.hints.begin(loop, self._wake)
        if self._signals:  # first: until then Ctrl-C cancels this very coroutine, wherever it is
            rooms.signals.install(loop)
        rooms.store.prepare()
        rooms.lock.acquire()
        try:
            self._begin()
            while True:
                self._wake.clear()
                rooms.hints.heard()
                await self._pass()
                if rooms.leaving.due(until_empty):
                    break
                await self._sleep()
            if until_empty and not rooms.signals.leave:
                self._tell_what_waits()
        finally:
            self._end()

    def signalled(self, number: int) -> None:
        """A signal came, or somebody acts as if."""
        self.rooms.signals.received(number)

    def summary(self) -> str:
        """``12 done, 1 failed, 0 left running, 1 invalid``."""
        rooms = self.rooms
        reviewed = rooms.reviews.count()
        return leaving.summary(rooms.tally, reviewed, rooms.running.values(), rooms.waitlist)

    def _begin(self) -> None:
        """Say that we are here, hear what arrives, take up what another watcher left, list the
        inbox."""
        rooms, config = self.rooms, self.rooms.settings.config
        rooms.distributors.default.prepare(1)
        rooms.distributors.begin()
        polls = config.notify == "poll"
        rooms.hints.silent = "switched off" if polls else self._arrivals.start()
        rooms.listener.hear(Begun())
        rooms.card.write()  # from here on we hear what whoever sees it drops
        slots = f"{config.limits.running} slots"
        rooms.notes.write("watcher_started", summary=f"pid {os.getpid()}, {slots}")
        if rooms.settings.problem:
            rooms.listener.hear(Remark(About.MISCONFIGURED, "", rooms.settings.problem))
        rooms.background.send(rooms.today.load())
        self._take_over()
        rooms.byhand.begin()
        decided = rooms.reviewmoves.look()
        rooms.waitlist.list(everything=True)
        rooms.reviews.scan(decided.merges)
        rooms.reviews.look()
        rooms.rereading.look()  # nothing told of what was saved before the notifications began
        rooms.rereading.warm_up()
        self.rescans.begin()

    def _take_over(self) -> None:
        """What another watcher, or a crash, has left."""
        rooms = self.rooms
        rooms.takeover.tidy()
        rooms.takeover.complete_runs()
        rooms.holdnews.look()
        rooms.runningtasks.adopt(first=True)
        rooms.takeover.foreign()
        rooms.lives.replies.scan()

    async def _pass(self) -> None:
        """One pass.  A disk that refuses, or a bug of ours, ends this pass and nothing else."""
        rooms, now = self.rooms, self.rooms.clock.monotonic()
        try:
            rooms.repairs.tell()
            rooms.background.heed()
            rooms.costs.count(self._ended())
            self._listen(now)
            self._look(now)
            self._hintedpaths.look()  # a look may take long: the choice is among all that is there
            rooms.starts.look()
            self._settle()
        except Exception as error:
            if isinstance(error, OSError) or blame.machine(error):
                rooms.health.failed(error)  # what was left out is found by a rescan
                self.rescans.soon(now)
                return
            rooms.listener.hear(Internal("", error))
            await asyncio.sleep(min(rooms.settings.config.rescan, 1.0))  # no faster than a listing

    def _ended(self) -> list[tuple[Life, Reading]]:
        """The attempts that have ended since the last pass."""
        understanding = self.rooms.lives.understanding
        ended, understanding.spent = understanding.spent, []
        return ended

    def _listen(self, now: float) -> None:
        """What was told since the last pass: signals, settings, files."""
        rooms = self.rooms
        if rooms.signals.news():
            rooms.card.try_write()
        if rooms.signals.reload():
            rooms.reviews.due = True  # verbs wake us, too
            rooms.rereading.read()
        if now >= rooms.changes.due:
            rooms.rereading.look()
        self._hintedpaths.look()

    def _look(self, now: float) -> None:
        """What the clock makes due: costs, a rescan, holds, schedules, waiting tasks,
        questions."""
        rooms = self.rooms
        for task_id, why in rooms.costs.overrun(now).items():
            rooms.cancels.request(rooms.running[task_id], why)
        if now >= self.rescans.next:
            self.rescans.make(now)
        if rooms.holds.due(rooms.clock.wall()):
            rooms.holdnews.look()
        rooms.alone.look(rooms.running.values(), now)
        rooms.lingering.look(
            rooms.layout, rooms.running.values(), now, rooms.settings.config.result_grace
        )
        self._look_at_what_waits()
        rooms.calm.tell()
        rooms.asking.look(rooms.running, now, rooms.lending.back)
        rooms.lending.lend()
        rooms.asking.go_on(rooms.lending.back)

    def _look_at_what_waits(self) -> None:
        rooms = self.rooms
        rooms.waitlist.approvals()
        for name in rooms.timetable.look(rooms.settings.config.schedules):
            rooms.waitlist.look(name, renamed=True)
        rooms.waitlist.look_again()
        gone, rooms.waitlist.gone = rooms.waitlist.gone, []
        if gone:
            rooms.byhand.removed(gone)
        for name in rooms.lives.replies.look(rooms.listener):
            rooms.waitlist.look_soon(name)

    def _settle(self) -> None:
        """What follows when nothing runs any more, and what must be durable before the next
        wait."""
        rooms = self.rooms
        if rooms.changes.settled():
            rooms.rereading.look()
        rooms.waitlist.flush_vouch()
        rooms.reviews.look()

    async def _sleep(self) -> None:
        """Until something is due, or told."""
        if self.rooms.waitlist.unlooked or self.rooms.starts.more():
            await asyncio.sleep(0)
            return
        delay = self._next_look() - self.rooms.clock.monotonic()
        if delay <= 0:
            await asyncio.sleep(0)
            return
        timer = asyncio.get_running_loop().call_later(delay, self._wake.set)
        await self._wake.wait()
        timer.cancel()

    def _next_look(self) -> float:
        """The moment (monotonic) at which the next thing is due."""
        rooms = self.rooms
        now, wall = rooms.clock.monotonic(), rooms.clock.wall()
        lives = rooms.running.values()
        due = [
            self.rescans.next,
            rooms.changes.due,
            *rooms.waitlist.next_look(wall),
            *rooms.calm.next_look(),
            *rooms.costs.next_look(),
            *rooms.alone.next_look(now),
            *rooms.lingering.next_look(lives),
            *rooms.lives.replies.next_look(),
            *rooms.asking.next_look(lives),
            *rooms.starts.next_look(),
        ]
        due += [
            now + left for left in rooms.timetable.seconds_left(rooms.settings.config.schedules)
        ]
        due += [now + left for left in rooms.holds.seconds_left(wall)]
        due += [now + left for left in rooms.liveworld.seconds_left(wall)]
        return min(due)

    def _tell_what_waits(self) -> None:
        self.rooms.waitlist.tasks.tell_circles()
        for task_id, gates in self.rooms.leaving.what_waits():
            self.rooms.listener.hear(Stuck(task_id, gates))

    def _end(self) -> None:
        rooms = self.rooms
        self._arrivals.stop()
        with contextlib.suppress(OSError, StoreFault):
            # what lies in review/ now: it may be moved before the next watcher
            rooms.reviewmoves.look()
        with contextlib.suppress(OSError):
            foldercounts.keep(rooms.layout)
        rooms.calm.tell(all_=True)
        rooms.notes.write("watcher_stopped", summary=self.summary())
        for life in list(rooms.running.values()):
            if life.handle is not None:
                rooms.listener.hear(Left(life))
        rooms.background.stop()
        if self._signals:  # this process ends with us, and it would wait for them
            git.leave()
        rooms.reviews.stop()
        rooms.waitlist.largefiles.close()
        rooms.distributors.close()
        atomic.remove(rooms.layout.watcher_card)
        rooms.lock.release()
