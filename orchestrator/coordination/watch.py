"""The watcher: one asyncio loop that looks at what changed, chooses, starts, and finishes.

What it keeps in memory is a cache of the folders and the ledger.  Every pass does the same: take the hints, look at
those files, start what has a slot.  Its cost depends on what changed, never on how many tasks there ever were.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import math
import os
import signal
from collections.abc import Coroutine
from typing import Any, assert_never

from orchestrator.clock import SYSTEM, Clock
from orchestrator.coordination import (
    alone,
    clearing,
    leaving,
    questions,
    remembering,
)
from orchestrator.coordination.asking import Asking
from orchestrator.coordination.byhand import ByHand
from orchestrator.coordination.card import OwnCard
from orchestrator.coordination.changes import Changes
from orchestrator.coordination.claims import Claims
from orchestrator.coordination.costs import Costs
from orchestrator.coordination.decided import Decided, Found
from orchestrator.coordination.errands import Errands
from orchestrator.coordination.groups import Groups
from orchestrator.coordination.health import Health, takes_writes
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.holds import Holds
from orchestrator.coordination.inbox import Arrivals
from orchestrator.coordination.inforce import InForce
from orchestrator.coordination.intake import Intake
from orchestrator.coordination.life import (
    Acting,
    Between,
    Checking,
    Departed,
    Ended,
    Ending,
    Life,
    Moving,
    Starting,
)
from orchestrator.coordination.lifecycle import Lives
from orchestrator.coordination.news import (
    About,
    Begun,
    Cancelling,
    Draining,
    Held,
    Internal,
    Interrupting,
    Left,
    Listener,
    Recovered,
    Remark,
    Resumed,
    Retrying,
    Stuck,
    Suspended,
)
from orchestrator.coordination.notes import Notes
from orchestrator.coordination.retold import NotUnderstood
from orchestrator.coordination.runends import RunEnds
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.settling import Settling
from orchestrator.coordination.slots import Slots
from orchestrator.coordination.spending import Spending, Today
from orchestrator.coordination.stateguard import StateGuard
from orchestrator.coordination.takeover import Takeover
from orchestrator.coordination.timetable import Timetable
from orchestrator.coordination.verdicts import Verdicts
from orchestrator.coordination.waitlist import Waiting, Waitlist
from orchestrator.distributors.registry import Distributors
from orchestrator.errors import OrchestratorError, StoreFault
from orchestrator.files import scan
from orchestrator.files.layout import CANCEL, Layout, stem_of
from orchestrator.model import hold, ids
from orchestrator.model.admission import Watching, World
from orchestrator.model.attempt import end_from
from orchestrator.model.choice import Candidate, choose
from orchestrator.model.config import Config
from orchestrator.model.gates import Limits, limit_gates
from orchestrator.model.result import Reading
from orchestrator.model.status import FINISHED, MOVES, Status
from orchestrator.model.units import timestamp
from orchestrator.store import atomic, conflictnotes, places, recovery
from orchestrator.store.claiming import Withdrawn
from orchestrator.store.locks import WatcherLock
from orchestrator.store.transitions import Store

FULL_LISTING = 6  # every how many rescans each file is looked at, whatever the folder's time says
SWEEP = 120  # every how many rescans the trees of ended tasks are looked at
START_BATCH = 16  # tasks started in one pass, so that ends and keys are noticed in between


class Watcher:
    """Coordinates one work directory.  ``tell(kind, id, **facts)`` hears everything a person may want to see."""

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
        self.layout, self.settings, self.store, self.clock = layout, settings, store, clock
        self.listener = listener
        self.hints = Hints()
        self.distributors = distributors
        self._signals = signals  # whether those of this process are meant for us
        self._arrivals = arrivals
        self.intake = Intake(layout, settings, clock)
        self.health = Health(listener, self.hints)
        self.asking = Asking(layout, store, listener)
        self.holds = Holds(layout, store, clock)
        self.lives = Lives(
            layout, settings, store, distributors, self.health, listener, self.hints, self.holds
        )
        self.running: dict[str, Life] = {}  # by id, those between attempts included
        self.changes = Changes(layout, settings, self.running)
        self.lock = WatcherLock(layout)
        self.groups = Groups(layout)
        self.notes = Notes(store.log, clock)
        self.waitlist = Waitlist(
            layout,
            settings,
            store,
            self.intake,
            self.health,
            self.groups,
            self.running,
            listener,
            self.hints,
            clock,
        )
        self.byhand = ByHand(layout, store, self.waitlist, self.running, listener)
        self.decided = Decided(layout, store, listener)
        self._settings_folders = (
            *(layout.tools, layout.agents, layout.schedules, layout.templates),
        )
        self.slots = Slots()
        self.spending = Spending(layout, settings.config.budgets, self.groups, clock)
        self.today = Today(layout, clock)
        self.alone = alone.Alone()
        self.costs = Costs(
            settings,
            self.running,
            self.spending,
            self.today,
            self.alone,
            self.notes,
            listener,
        )
        self.runends = RunEnds(self.groups, self.waitlist, self.notes, listener)
        self.settling = Settling()
        self.timetable = Timetable(layout, store, clock)
        self.inforce = InForce(
            layout,
            settings,
            self.groups,
            self.waitlist,
            self.running,
            self.spending,
            self.alone,
            self.holds,
            self.slots.use,
            clock,
        )
        self.claims = Claims(store, self.waitlist, self.inforce)
        self.takeover = Takeover(store, self.lives, self.running, self.health, listener)
        self.draining = ""
        self.tally: collections.Counter[str] = collections.Counter()
        self.verdicts = Verdicts(
            settings,
            store,
            self.groups,
            self.waitlist,
            listener,
            self.tally,
            self.running,
            self.hints,
        )
        self.errands = Errands()
        self._next_rescan = 0.0  # when (the loop's time) the inbox is listed again
        self._reload = False
        self._state = StateGuard(layout)
        self._listed = 0
        self._leave = False
        self.interrupted = False
        self._once = False
        self._claimed_once = False
        self.card = OwnCard(settings, store, self.today, self.alone, clock)
        self.notifications = ""

    @property
    def config(self) -> Config:
        """What is configured now."""
        return self.settings.config

    # -- the loop -----------------------------------------------------------------------------------------------

    async def run(self, until_empty: bool = False, once: bool = False) -> None:
        """Watch until told to stop, until nothing is left that can run, or for one pass.

        Raises `Busy` if another watcher has the work directory.
        """
        self._once = once
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        if self._signals:  # first: until then Ctrl-C cancels this very coroutine, wherever it is
            self._install_signals()
        self.store.prepare()
        self.lock.acquire()
        self.hints.begin(self._loop, self._wake)
        arrivals = self._arrivals(self.layout, self.hints)
        try:
            await self._begin(arrivals)
            while True:
                self._wake.clear()
                self.hints.heard()
                await self._pass(arrivals)
                if self._finished(until_empty, once):
                    break
                await self._sleep()
            if until_empty and not self._leave:
                self._tell_what_waits()
        finally:
            self._end(arrivals)

    async def _begin(self, arrivals: Arrivals) -> None:
        """Say that we are here, hear what arrives, take up what another watcher left, list the inbox."""
        self.distributors.default.prepare(1)
        self.distributors.begin()
        self.listener.hear(Begun())
        self._write_card()
        slots = f"{self.config.limits.running} slots"
        self.notes.write("watcher_started", summary=f"pid {os.getpid()}, {slots}")
        if self.settings.problem:
            self.listener.hear(Remark(About.MISCONFIGURED, "", self.settings.problem))
        self.notifications = arrivals.start() if self.config.notify != "poll" else "switched off"
        if self.notifications:
            self._write_card()
        self.errands.send(self._load_today())
        await self._recover()
        self.byhand.begin()
        decided = self.decided.look()
        self.waitlist.list(everything=True)
        self.verdicts.scan(decided.merges)
        self.verdicts.look()
        self._check_settings()  # nothing told of what was saved before the notifications began
        self._warm_up()
        self._next_rescan = self._loop.time() + self.config.rescan

    async def _pass(self, arrivals: Arrivals) -> None:
        """One pass.  A disk that refuses, or a bug of ours, ends this pass and nothing else."""
        now = self._loop.time()
        try:
            self._look_at_health()
            self.costs.count(self._ended())
            self._listen(now)
            self._look(now, arrivals)
            self._start_due()
            self._settle()
        except (OSError, StoreFault) as error:
            self.health.failed(error)  # what was left out is found by the listing afterwards
            self._next_rescan = min(self._next_rescan, now + self._pause())
        except Exception as error:
            self.listener.hear(Internal("", error))
            await asyncio.sleep(min(self.config.rescan, 1.0))  # no faster than the listing

    def _ended(self) -> list[tuple[Life, Reading]]:
        """The attempts that have ended since the last pass."""
        ended, self.lives.spent = self.lives.spent, []
        return ended

    def _listen(self, now: float) -> None:
        """What was told since the last pass: settings, files, signals."""
        if self._reload:
            self._reload = False
            self.verdicts.due = True  # verbs wake us, too
            self._read_settings()
        if now >= self.changes.due:
            self._check_settings()
        self._take_hints()

    def _look(self, now: float, arrivals: Arrivals) -> None:
        """What the clock makes due: costs, the listing, holds, schedules, waiting tasks."""
        for task_id, why in self.costs.overrun(now).items():
            self._cancel(self.running[task_id], why)
        if now >= self._next_rescan:
            self._next_rescan = now + self._pause()
            arrivals.refresh()
            self._rescan()
        if self.holds.due(self.clock.wall()):
            self._look_at_holds()
        self.waitlist.approvals()
        self.alone.look(self.running.values(), now)
        self.settling.look(self.layout, self.running.values(), now, self.config.result_grace)
        for name in self.timetable.look(self.config.schedules):
            self.waitlist.look(name, renamed=True)
        self.waitlist.look_again()
        if self.waitlist.gone:
            gone, self.waitlist.gone = self.waitlist.gone, []
            self.byhand.removed(gone)
        self._look_at_replies()
        self.asking.look(self.running, now, self._slot_again)
        self._idle_slots()

    def _settle(self) -> None:
        """What follows when nothing runs any more, and what must be durable before the next wait."""
        if self.changes.exposed and not self._acting() and self.changes.due == math.inf:
            self._check_settings()
        self.waitlist.flush_vouch()
        self.verdicts.look()

    def _end(self, arrivals: Arrivals) -> None:
        arrivals.stop()
        with contextlib.suppress(OSError, StoreFault):
            self.decided.look()  # what lies in review/ now: it may be moved before the next watcher
        self.notes.write("watcher_stopped", summary=self.summary())
        for life in list(self.running.values()):
            if life.handle is not None:
                self.listener.hear(Left(life))
        self.errands.stop()
        self.verdicts.stop()
        self.waitlist.judges.close()
        self.distributors.close()
        atomic.remove(self.layout.watcher_card)
        self.lock.release()

    async def _sleep(self) -> None:
        now, wall = self._loop.time(), self.clock.wall()
        due = [self._next_rescan, self.changes.due, *self.waitlist.next_look(wall)]
        due += self.costs.next_look()
        due += self.alone.next_look(now)
        due += self.settling.next_look(self.running.values())
        due += [now + left for left in self.timetable.next_look(self.config.schedules)]
        due += self.lives.replies.next_look()
        due += self.asking.next_look(self.running.values())
        due += [now + left for left in self.holds.next_look(wall)]
        due += [
            life.retry_at
            for life in self.running.values()
            if life.retry_at is not None and life.id not in self.waitlist.ready
        ]
        delay = max(0.0, min(due) - now)
        if self.waitlist.todo or self._more_ready():
            delay = 0.0
        if delay:
            timer = self._loop.call_later(delay, self._wake.set)
            await self._wake.wait()
            timer.cancel()
        else:
            await asyncio.sleep(0)

    def _more_ready(self) -> bool:
        return (
            bool(len(self.waitlist.ready))
            and self._may_claim()
            and bool(choose(self.waitlist.ready.lanes, self.limits, self.slots.use, 1))
        )

    def _pause(self) -> float:
        return (
            min(self.config.rescan, 1.0)
            if self.notifications or self.health.fault
            else self.config.rescan
        )

    def _finished(self, until_empty: bool, once: bool) -> bool:
        if self._leave:
            return True
        busy = any(
            life.retry_at is None and not self.asking.waits(life) for life in self.running.values()
        )
        if self.draining:
            return not busy
        if self.health.fault or not (until_empty or once):
            return False
        if once:
            self._claimed_once = not self.waitlist.resting
            return self._claimed_once and not busy and not self._retries_to_come()
        if (
            busy
            or self.waitlist.resting
            or self.hints.any
            or self.lives.replies.resting
            or self.verdicts.busy
        ):
            return False
        return not self._retries_to_come() and not leaving.starts_to_come(
            self.waitlist, self.world()
        )

    def _retries_to_come(self) -> bool:
        lives, now = self.running.values(), self.clock.monotonic()
        return leaving.retries_to_come(lives, self.world(), now)

    def _tell_what_waits(self) -> None:
        self.waitlist.tell_circles()
        lives, now = self.running.values(), self.clock.monotonic()
        for task_id, gates in leaving.what_waits(self.waitlist, lives, self.world(), now):
            self.listener.hear(Stuck(task_id, gates))

    # -- being told -----------------------------------------------------------------------------------------------

    def _take_hints(self) -> None:
        names: dict[str, bool] = {}
        for path, renamed in self.hints.take():
            folder, name = os.path.split(path)
            if path == self.layout.config or folder in self._settings_folders:
                self._check_settings(whole=True)  # before the files that were dropped after them
                continue
            folder = os.path.basename(folder)
            if ".reply" in name and self.lives.replies.hint(name):
                continue
            if renamed and folder in MOVES:
                self._moved_by_hand(folder, name)
            if folder == "inbox":
                names[name] = names.get(name, False) or renamed
            elif folder in ("held", "parked"):
                self._look_at_holds()
            elif folder == "running" and name.endswith(CANCEL):
                self._requests()
            self.verdicts.due = self.verdicts.due or folder in FINISHED
        if self.hints.overflown():
            self.waitlist.list(everything=True)
        for name, renamed in names.items():
            self.waitlist.look(name, renamed)

    def _install_signals(self) -> None:
        # A broken read lease must not end us (files.requests).
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._loop.add_signal_handler(number, self.signalled, number)
        self._loop.add_signal_handler(signal.SIGUSR1, self._reload_wanted)
        self._loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        self._loop.add_signal_handler(signal.SIGCONT, self._continued)

    def _reload_wanted(self) -> None:
        """`orchestrator reload`: only who may send us signals may say so, which a task with less than a shell may not."""
        self._reload = True
        self._wake.set()

    def _suspend(self) -> None:
        """Ctrl-Z: stop only after the terminal has been given back."""
        self.listener.hear(Suspended())
        os.kill(os.getpid(), signal.SIGSTOP)

    def _continued(self) -> None:
        """It was stopped: hints may be old, and others have written to the terminal."""
        self.hints.overflow()
        self.listener.hear(Resumed())

    def signalled(self, number: int) -> None:
        """Ctrl-C once: drain.  Twice: interrupt.  TERM, HUP: leave at once; supervisors and agents go on."""
        if number != signal.SIGINT:
            self._leave = True
        elif not self.draining:
            self.draining = "draining"
            busy = sum(life.retry_at is None for life in self.running.values())
            self.listener.hear(Draining(busy))
        elif not self.interrupted:
            self.interrupted = True
            self.listener.hear(Interrupting(len(self.running)))
            for life in list(self.running.values()):
                if life.handle is not None:
                    self.store.request_cancel(life.id, "the watcher was interrupted", requeue=True)
                    life.handle.cancel()
        self._wake.set()  # first: a disk that refuses the card must not keep us here
        self._try_card()

    def _rescan(self) -> None:
        """The slow timer: what no notification told."""
        self._listed += 1
        if self.card.stale:
            self._write_card()
        self._beat()  # first: whatever fails below, it lives
        if self.health.fault:
            self._probe()
        if (why := self.distributors.fault()) and not self.health.fault:
            self.health.failed(StoreFault(why))
        self.store.log.look()
        places.check_folders(self.layout)
        if not os.path.isdir(self.layout.active) or any(
            not os.path.isdir(self.layout.folder(name)) for name in ("inbox", "running", "done")
        ):
            self._rebuild()
        self._look_at_state()
        self.takeover.complete_runs()
        decided = self.decided.look() if not self.health.fault else Found()
        self.verdicts.scan(decided.merges)
        self._look_at_holds()
        for name in decided.made:
            self.waitlist.look_soon(name)
        for life in self.running.values():
            self.lives.grounds.collect(life, self.config.quiet)
        if self._listed % SWEEP == 1:
            self.errands.send(self._sweep_trees())
        if self.changes.due == math.inf:
            self._check_settings()
        full = self._listed % FULL_LISTING == 0 or bool(self.notifications)
        try:
            changed = os.stat(self.layout.folder(Status.INBOX)).st_mtime_ns != self.waitlist.stamp
        except FileNotFoundError:
            changed = True
        if full or changed:
            self.waitlist.list(everything=full)
        self._requests()
        self.lives.replies.scan()
        for life in list(self.running.values()):
            if not os.path.lexists(self.layout.file(Status.RUNNING, life.name)):
                if self.byhand.missing(life):
                    self._cancel(life, "mv to cancelled/")
        if full:
            self._adopt_strays()
            self.takeover.foreign()
            for name in questions.overdue(self.store, self.config):
                self.waitlist.look_soon(name)
            self.waitlist.judge_gated()
            for task_id in recovery.stale_notes(self.layout):
                self.store.remove_note(task_id)
            conflictnotes.sweep(self.layout)

    def _look_at_state(self) -> None:
        if self._state.look():
            if self._state.problem:
                self.listener.hear(Remark(About.MISCONFIGURED, "", self._state.problem))
            self._write_card()

    async def _sweep_trees(self) -> None:
        """Trees of ended tasks whose time is over go."""
        if os.path.isdir(self.layout.trees) and not self.health.fault:
            for text in await asyncio.to_thread(clearing.sweep, self.store, self.config):
                self.listener.hear(Remark(About.TIDIED, "", text))

    def _check_settings(self, whole: bool = False) -> None:
        """Take what the settings' files say now; at once if a notification told that they are ``whole``."""
        asking = self.changes.asking
        if self.changes.look(self._loop.time(), self._acting(), whole):
            self._read_settings()
        elif asking and not self.changes.asking:  # they are what they were
            self._write_card()

    def _read_settings(self) -> None:
        """Take over what orchestrator.yaml, profiles and tool files say now, or tell what they would change."""
        asked = self.changes.asking
        changed = self.changes.read(self.listener, self._loop.time())
        if self.changes.asking:
            if not asked:
                self._write_card()
            return
        self.card.settings_read = timestamp(self.clock.wall())
        if changed:
            self.notes.write("settings_changed", summary=", ".join(changed))
            self.spending.limit(self.config.budgets)
            self.waitlist.anew()
            self._warm_up()
        self._write_card()
        self.changes.settle(self._acting())

    def _acting(self) -> bool:
        """Whether an attempt runs.  One that has ended, and keeps its slot until that is judged, changes nothing any more."""
        return any(life.in_slot and not life.ending for life in self.running.values())

    def _warm_up(self) -> None:
        self.distributors.default.prepare(
            min(self.config.limits.running, max(1, len(self.waitlist.waiting)))
        )

    def _look_at_holds(self) -> None:
        """What is held now; what is not any more may start."""
        news = self.holds.look(not self.health.fault)
        for tool in news.over:
            self.alone.begin(tool)
        for tool in news.moved:
            self.listener.hear(Remark(About.TIDIED, "", f"moved parked/{tool} to held/@{tool}"))
        for scope, gate in news.began.items():
            self.listener.hear(Held(hold.words(scope), gate))
        for scope in news.ended:
            self.listener.hear(Remark(About.RELEASED, hold.words(scope)))
        if news.began or news.ended:
            self._try_card()

    @property
    def limits(self) -> Limits:
        """Those that count now."""
        return self.inforce.limits

    @property
    def watching(self) -> Watching:
        """What keeps this watcher from starting anything."""
        return Watching(True, self.health.fault, bool(self.draining))

    def world(self) -> World:
        """What admission depends on, from what is known here."""
        return self.inforce.world(self.watching)

    # -- starting ---------------------------------------------------------------------------------------------------

    def _may_claim(self) -> bool:
        if self._once and self.waitlist.resting:
            return False  # files that still rest are part of what can start now
        return (
            not self.draining
            and not self.health.fault
            and not self._state.problem
            and not self.changes.asking
            and not self._claimed_once
            and not self._leave
        )

    def _start_due(self) -> None:
        """Start what is due and has a slot, the most urgent first."""
        now = self.clock.monotonic()
        for life in self.running.values():
            due = life.retry_at is not None and life.retry_at <= now
            if due and life.id not in self.waitlist.ready:
                remembering.route_again(self.settings, life)
                self.waitlist.ready.add(
                    Candidate(life.task.rank, life.submitted, life.id, life.lane)
                )
        if not self._may_claim() or not len(self.waitlist.ready) or self._guides_change():
            return
        for candidate in choose(
            self.waitlist.ready.lanes, self.limits, self.slots.use, START_BATCH
        ):
            if self.holds.changed():
                self._wake.set()  # the next pass looks what is held now
                break
            if not self._may_claim():
                break
            self.waitlist.ready.remove(candidate.id)
            claimed = self.running.get(candidate.id)
            if claimed is not None and limit_gates(candidate.lane, self.limits, self.slots.use):
                self.waitlist.ready.add(candidate)  # what began just now leaves no room for it
            elif claimed is not None:
                self._start_again(claimed)
            else:
                self._claim(self.waitlist.waiting[self.waitlist.names[candidate.id]])

    def _guides_change(self) -> bool:
        """Whether a person is at a file of instructions, of which no notification tells: what starts goes by the whole of it."""
        if not self._acting() and self.settings.guides_differ():
            self._check_settings()
        return self.changes.due < math.inf and self.settings.guides_differ()

    def _claim(self, waiting: Waiting) -> None:
        begun = self.claims.begin(waiting, self.watching)
        if begun is None:
            return
        life, claim = begun
        self._occupy(life)
        self._enter(life)
        self._spawn(life, self.lives.start(life, claim.entry, claim))

    def _withdrawn(self, life: Life, reason: Exception) -> None:
        """Its claim came to nothing: it waits as before, or is not there any more."""
        if isinstance(reason, OSError):
            self.health.failed(reason)
        self.running.pop(life.id, None)
        self.waitlist.keys.pop(ids.key(life.id), None)
        self.waitlist.look_soon(life.name)

    def _enter(self, life: Life) -> None:
        self.running[life.id] = life
        self.waitlist.keys[ids.key(life.id)] = life.name

    def _start_again(self, life: Life) -> None:
        entry = self.store.ledger.open(life.id)
        if entry is None or not entry.lock():
            return
        life.stage = Starting()
        self._occupy(life)
        self._spawn(life, self.lives.start(life, entry))

    def _occupy(self, life: Life) -> None:
        self.slots.take(life)
        self.spending.begins(life.route.agent.name)
        self.changes.expose()

    def _idle_slots(self) -> None:
        """Attempts that wait for a person give their slots back, so many of them as may."""
        waiting = (life for life in self.running.values() if self.asking.waits(life))
        if self.slots.lend(waiting, self.limits.asking):
            self._wake.set()

    def _slot_again(self, life: Life) -> bool:
        return self.slots.back(life, self.limits, bool(self.draining))

    async def _load_today(self) -> None:
        self.today.include(*await asyncio.to_thread(self.today.before))

    def _spawn(self, life: Life, work: Coroutine[Any, Any, None]) -> None:
        self.errands.send(self._live(life, work))

    async def _live(self, life: Life, work: Coroutine[Any, Any, None]) -> None:
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
            self.health.failed(
                error
            )  # taken up again from the ledger once the disk works (_mended)
        except Exception as error:  # a bug of ours must not take the other tasks with it
            self.listener.hear(Internal(life.id, error))
        finally:
            self.slots.leave(life)
            self._wake.set()
        if life.retry_at is not None:
            return  # it stays in running/ until its next attempt
        self.running.pop(life.id, None)
        self.waitlist.keys.pop(ids.key(life.id), None)
        led_to: tuple[str, ...] = ()
        if isinstance(life.stage, Ended):
            self.tally[str(life.stage.status)] += 1
            led_to = life.stage.led_to
            if life.stage.status is Status.REVIEW:
                self.decided.entered(life.name)
        self.waitlist.statuses.fresh(life.id)
        self.waitlist.needed(life.id)
        for task_id in led_to:
            self.waitlist.look_soon(f"{task_id}.yaml")
        for member, why in self.runends.stopped(life).items():
            self._cancel_waiting(member, why)
        self.runends.tell(life)
        self.verdicts.runs(life.task.run or "")
        # Sent back, or one that was refused meanwhile.
        if os.path.lexists(self.layout.file(Status.INBOX, life.name)):
            self.waitlist.forget(life.name)
            self.waitlist.look_soon(life.name)

    # -- requests of people -------------------------------------------------------------------------------------------

    def _requests(self) -> None:
        """Files named ``running/<id>.cancel``, and requests that verbs left in the state folder."""
        for word in scan.cancel_requests(self.layout):
            if word in self.running:
                self._cancel(self.running[word], "a file in running/")
        if scan.names(f"{self.layout.state}/cancel"):
            for life in list(self.running.values()):
                if self.store.cancel_request(life.id) is not None:
                    self._cancel(life, "")

    def _moved_by_hand(self, folder: str, name: str) -> None:
        if self.byhand.arrived(Status(folder), name):
            self._cancel(self.running[stem_of(name)], "mv to cancelled/")

    def _look_at_replies(self) -> None:
        for name in self.lives.replies.look(self.listener):
            self.waitlist.look_soon(name)

    def _cancel(self, life: Life, by: str) -> None:
        fresh = self.store.request_cancel(life.id, by) if by else True
        match life.stage:
            case Between():
                self._cancel_between(life)
            case Acting(handle=handle) | Checking(handle=handle):
                handle.cancel()
            case Moving() | Starting() | Ending() | Ended() | Departed():
                pass  # whoever brings it on looks for the request
            case _:
                assert_never(life.stage)
        if fresh and by:
            said = {"task_id": life.id, "phase": "request", "status": "running", "summary": by}
            self.notes.write("task_cancel_requested", life.id, life.attempt, **said)
            self.listener.hear(Cancelling(life, by))

    def _cancel_between(self, life: Life) -> None:
        """No other attempt follows the last one."""
        self.waitlist.ready.remove(life.id)
        entry = self.store.ledger.open(life.id)
        if entry is None:
            return
        facts = entry.journal.attempt
        entry.lock()
        if facts is not None and facts.ended is not None:
            life.stage = Ending()
            self._spawn(life, self.lives.ended(life, entry, end_from(facts.ended)))

    def _cancel_waiting(self, task_id: str, reason: str) -> None:
        try:
            self.waitlist.withdraw(task_id, reason)
        except (OSError, OrchestratorError) as error:
            self.health.failed(error)
            return
        self.tally["cancelled"] += 1

    # -- recovery -----------------------------------------------------------------------------------------------------

    async def _recover(self) -> None:
        self.takeover.tidy()
        self.takeover.complete_runs()
        self._look_at_holds()
        self._adopt_strays(first=True)
        self.takeover.foreign()
        self.lives.replies.scan()

    def _adopt_strays(self, first: bool = False) -> None:
        """Take up every unfinished task that is not ours yet."""
        for life, found in self.takeover.strays(first):
            self._enter(life)
            if life.retry_at is not None:
                after = max(0.0, life.retry_at - self.clock.monotonic())
                self.listener.hear(Retrying(life, after))
                continue
            self._occupy(life)
            self.listener.hear(Recovered(life, found.step))
            self._spawn(life, self.lives.resume(life, found.entry, found.step))

    def _rebuild(self) -> None:
        """Somebody removed folders (git clean, rm): make them again and write down what is still known."""
        made = self.store.prepare()
        if "active" in made or ".state" in made or not os.path.exists(self.layout.watcher_card):
            self.lock.release()
            self.lock.acquire()
            self._write_card()
            self.lives.rewrite(self.running.values())
        if made:
            words = f"made again: {', '.join(sorted(made))} (removed while watching)"
            self.listener.hear(Remark(About.TIDIED, "", words))

    # -- health ---------------------------------------------------------------------------------------------------------

    def _look_at_health(self) -> None:
        """Others are told what the disk refuses, or that it works again."""
        turned, self.health.turned = self.health.turned, []
        for fault in turned:
            if fault:
                self.notes.write("store_failed", summary=fault)
            else:
                self.notes.write("store_recovered", summary="the disk accepts writes again")
        if turned:
            try:
                self._write_card()
            except OSError:
                pass

    def _probe(self) -> None:
        """A trial whether work can go on."""
        if self.distributors.fault() or not takes_writes(self.store):
            return
        self.health.recovered()
        self._mended()

    def _mended(self) -> None:
        """The disk works again: whatever an error broke off is taken up, by the same steps as after a crash."""
        self.takeover.complete_runs()
        self._adopt_strays()
        self.waitlist.list(everything=True)

    # -- what others see ------------------------------------------------------------------------------------------------

    def summary(self) -> str:
        """``12 done, 1 failed, 0 left running, 1 invalid``."""
        return leaving.summary(self.tally, self.running.values(), self.waitlist)

    def _beat(self) -> None:
        try:
            self.store.card.beat()
        except OSError as error:  # a heartbeat that cannot be written is a fault
            self.health.failed(error)

    def _try_card(self) -> None:
        try:
            self._write_card()
        except OSError as error:
            self.health.failed(error)

    def _write_card(self) -> None:
        held = self.holds.facts()
        waits = self._state.problem or self.changes.asking
        self.card.write(self.health.fault, bool(self.draining), self.notifications, held, waits)
