"""The watcher: one asyncio loop that looks at what changed, chooses, starts, and finishes.

What it keeps in memory (`coordination.rooms`) is a cache of the folders and the ledger. Every pass
does the same: take the hints, look at those files, start what has a slot. Its cost depends on what
changed, never on how many tasks there ever were.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Collection

from orchestrator.clock import SYSTEM, Clock
from orchestrator.coordination import clearing, leaving, questions
from orchestrator.coordination.arrivals import Arrivals
from orchestrator.coordination.life import Life
from orchestrator.coordination.news import (
    About,
    Begun,
    Held,
    Internal,
    Left,
    Listener,
    Remark,
    Stuck,
)
from orchestrator.coordination.reviewmoves import Found
from orchestrator.coordination.rooms import Rooms
from orchestrator.coordination.settings import Settings
from orchestrator.distributors.registry import Distributors
from orchestrator.errors import StoreFault
from orchestrator.files.holds import BEFORE, HELD
from orchestrator.files.layout import CANCEL, Layout, stem_of
from orchestrator.model import hold
from orchestrator.model.result import Reading
from orchestrator.model.status import FINISHED, MOVES, Status
from orchestrator.store import atomic, conflictnotes, git, recovery
from orchestrator.store.transitions import Store

FULL_LISTING = 6  # every how many rescans each file is looked at, whatever the folder's time says
SWEEP = 120  # every how many rescans the trees of ended tasks are looked at
BY_MOVE = "mv to cancelled/"


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
        self._settings_folders = (layout.tools, layout.agents, layout.schedules, layout.templates)
        self._wake = asyncio.Event()
        self._next_rescan = 0.0  # when (monotonic) the inbox is listed again
        self._listed = 0

    # -- the loop
    # ----------------------------------------------------------------------------------------------

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
        return leaving.summary(self.rooms.tally, self.rooms.running.values(), self.rooms.waitlist)

    def _begin(self) -> None:
        """Say that we are here, hear what arrives, take up what another watcher left, list the
        inbox."""
        rooms, config = self.rooms, self.rooms.settings.config
        rooms.distributors.default.prepare(1)
        rooms.distributors.begin()
        rooms.listener.hear(Begun())
        rooms.card.write()
        slots = f"{config.limits.running} slots"
        rooms.notes.write("watcher_started", summary=f"pid {os.getpid()}, {slots}")
        if rooms.settings.problem:
            rooms.listener.hear(Remark(About.MISCONFIGURED, "", rooms.settings.problem))
        polls = config.notify == "poll"
        rooms.hints.silent = "switched off" if polls else self._arrivals.start()
        if rooms.hints.silent:
            rooms.card.write()
        rooms.background.send(rooms.today.load())
        self._take_over()
        rooms.byhand.begin()
        decided = rooms.reviewmoves.look()
        rooms.waitlist.list(everything=True)
        rooms.reviews.scan(decided.merges)
        rooms.reviews.look()
        rooms.rereading.look()  # nothing told of what was saved before the notifications began
        rooms.rereading.warm_up()
        self._next_rescan = rooms.clock.monotonic() + config.rescan

    def _take_over(self) -> None:
        """What another watcher, or a crash, has left."""
        rooms = self.rooms
        rooms.takeover.tidy()
        rooms.takeover.complete_runs()
        self._look_at_holds()
        rooms.runningtasks.adopt(first=True)
        rooms.takeover.foreign()
        rooms.lives.replies.scan()

    async def _pass(self) -> None:
        """One pass.  A disk that refuses, or a bug of ours, ends this pass and nothing else."""
        rooms, now = self.rooms, self.rooms.clock.monotonic()
        try:
            rooms.repairs.tell()
            rooms.costs.count(self._ended())
            self._listen(now)
            self._look(now)
            rooms.starts.look()
            self._settle()
        except (OSError, StoreFault) as error:
            rooms.health.failed(error)  # what was left out is found by the listing afterwards
            self._next_rescan = min(self._next_rescan, now + self._pause())
        except Exception as error:
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
        self._take_hints()

    def _look(self, now: float) -> None:
        """What the clock makes due: costs, the listing, holds, schedules, waiting tasks,
        questions."""
        rooms = self.rooms
        for task_id, why in rooms.costs.overrun(now).items():
            rooms.cancels.request(rooms.running[task_id], why)
        if now >= self._next_rescan:
            self._next_rescan = now + self._pause()
            self._arrivals.refresh()
            self._rescan()
        if rooms.holds.due(rooms.clock.wall()):
            self._look_at_holds()
        rooms.alone.look(rooms.running.values(), now)
        rooms.lingering.look(
            rooms.layout, rooms.running.values(), now, rooms.settings.config.result_grace
        )
        self._look_at_what_waits()
        rooms.calm.tell()
        rooms.asking.look(rooms.running, now, self._slot_again)
        self._lend_slots()
        rooms.asking.go_on(self._slot_again)

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
            self._next_rescan,
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
        return min(due)

    def _pause(self) -> float:
        """Seconds between two listings: few where nothing else tells what has come."""
        rescan, rooms = self.rooms.settings.config.rescan, self.rooms
        return min(rescan, 1.0) if rooms.hints.silent or rooms.health.fault else rescan

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

    # -- what was told, and what no notification tells
    # ----------------------------------------------------------------

    def _take_hints(self) -> None:
        rooms, names = self.rooms, dict[str, bool]()
        folders = set[str]()  # that are looked at once, however many files in them were told of
        for path, renamed in rooms.hints.take():
            folder, name = os.path.split(path)
            if path == rooms.layout.config or folder in self._settings_folders:
                folders.add("settings")
                continue
            folder = os.path.basename(folder)
            if ".reply" in name and rooms.lives.replies.hint(name):
                continue
            if renamed and folder in MOVES and rooms.byhand.arrived(Status(folder), name):
                rooms.cancels.request(rooms.running[stem_of(name)], BY_MOVE)
            if folder == Status.INBOX:
                names[name] = names.get(name, False) or renamed
            elif folder in (HELD, BEFORE):
                folders.add(HELD)
            elif folder == Status.RUNNING and name.endswith(CANCEL):
                folders.add(folder)
            rooms.reviews.due = rooms.reviews.due or folder in FINISHED
        self._look_into(folders)
        if rooms.hints.overflown():
            rooms.waitlist.list(everything=True)
        for name, renamed in names.items():
            rooms.waitlist.look(name, renamed)

    def _look_into(self, folders: Collection[str]) -> None:
        rooms = self.rooms
        if "settings" in folders:  # before the files that were dropped after them
            rooms.rereading.look(whole=True)
        if HELD in folders:
            self._look_at_holds()
        if Status.RUNNING in folders:
            rooms.cancels.look()

    def _rescan(self) -> None:
        """The slow timer: what no notification told."""
        rooms = self.rooms
        self._listed += 1
        full = self._listed % FULL_LISTING == 0 or bool(rooms.hints.silent)
        if rooms.card.stale:
            rooms.card.write()
        rooms.card.beat()  # first: whatever fails below, it lives
        rooms.repairs.look()
        self._look_at_state()
        rooms.takeover.complete_runs()
        self._look_at_verdicts()
        for life in rooms.running.values():
            rooms.lives.tasktrees.collect(life, rooms.settings.config.quiet)
        if self._listed % SWEEP == 1:
            rooms.background.send(self._sweep_trees())
        if not rooms.changes.pending:
            rooms.rereading.look()
        if full or rooms.waitlist.listing.outdated():
            rooms.waitlist.list(everything=full)
        rooms.cancels.look()
        rooms.lives.replies.scan()
        self._look_for_files()
        if full:
            self._rescan_all()

    def _rescan_all(self) -> None:
        """What is looked at more seldom: it costs more, or nobody waits for it."""
        rooms = self.rooms
        rooms.runningtasks.adopt()
        rooms.takeover.foreign()
        for name in questions.overdue(rooms.store, rooms.settings.config):
            rooms.waitlist.look_soon(name)
        rooms.waitlist.tasks.judge_anew()
        for task_id in recovery.stale_notes(rooms.layout):
            rooms.store.remove_note(task_id)
        conflictnotes.sweep(rooms.layout)

    def _look_at_state(self) -> None:
        if self.rooms.state.look():
            if self.rooms.state.problem:
                self.rooms.listener.hear(Remark(About.MISCONFIGURED, "", self.rooms.state.problem))
            self.rooms.card.write()

    def _look_at_verdicts(self) -> None:
        """What people have moved out of review/, and what follows from that."""
        rooms = self.rooms
        decided = Found() if rooms.health.fault else rooms.reviewmoves.look()
        rooms.reviews.scan(decided.merges)
        self._look_at_holds()
        for name in decided.made:
            rooms.waitlist.look_soon(name)

    def _look_for_files(self) -> None:
        """The files of running tasks are where they belong, or somebody has moved them."""
        rooms = self.rooms
        for life in list(rooms.running.values()):
            if not os.path.lexists(rooms.layout.file(Status.RUNNING, life.name)):
                if rooms.byhand.missing(life):
                    rooms.cancels.request(life, BY_MOVE)

    def _look_at_holds(self) -> None:
        """What is held now; what is not any more may start."""
        rooms = self.rooms
        news = rooms.holds.look(not rooms.health.fault)
        for tool in news.over:
            rooms.alone.begin(tool)
        for tool in news.moved:
            rooms.listener.hear(Remark(About.TIDIED, "", f"moved parked/{tool} to held/@{tool}"))
        for scope, gate in news.began.items():
            rooms.listener.hear(Held(hold.words(scope), gate))
        for scope in news.ended:
            rooms.listener.hear(Remark(About.RELEASED, hold.words(scope)))
        if news.began or news.ended:
            rooms.card.try_write()

    async def _sweep_trees(self) -> None:
        """Trees of ended tasks whose time is over go."""
        rooms = self.rooms
        if os.path.isdir(rooms.layout.trees) and not rooms.health.fault:
            config = rooms.settings.config
            for text in await asyncio.to_thread(clearing.sweep, rooms.store, config):
                rooms.listener.hear(Remark(About.TIDIED, "", text))

    # -- slots of those who wait for a person
    # -----------------------------------------------------------------------------

    def _lend_slots(self) -> None:
        """Attempts that wait for a person give their slots back, so many of them as may."""
        rooms = self.rooms
        waiting = (life for life in rooms.running.values() if rooms.asking.waits(life))
        if rooms.slots.lend(waiting, rooms.liveworld.limits.asking):
            rooms.hints.stir()

    def _slot_again(self, life: Life) -> bool:
        rooms = self.rooms
        return rooms.slots.back(life, rooms.liveworld.limits, rooms.signals.draining)
