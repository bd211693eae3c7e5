"""The watcher: one asyncio loop that looks at what changed, chooses, starts, and finishes.

What it keeps in memory is a cache of the folders and the ledger.  Every pass does the same: take the hints, look at
those files, start what has a slot.  Its cost depends on what changed, never on how many tasks there ever were.
"""

from __future__ import annotations

import asyncio
import collections
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from orchestrator import __version__
from orchestrator.coordination.inbox import Arrivals
from orchestrator.coordination.intake import GitTracked, Ignored, Intake, Invalid, Look, NotYet, RunFile, Signature, \
    TaskFile, listing, signature_of
from orchestrator.coordination.lifecycle import Health, Life, Lives
from orchestrator.coordination.schedule import Candidate, Ready, choose
from orchestrator.distributors.base import Distributor
from orchestrator.errors import OrchestratorError, Taken
from orchestrator.execution.supervisor import boot_id, start_time
from orchestrator.files import diagnostics, scan
from orchestrator.files.documents import Document, Problem
from orchestrator.files.layout import CANCEL, Layout, stem_of
from orchestrator.files.requests import load
from orchestrator.files.requests import read as read_file
from orchestrator.files.results import status_of
from orchestrator.model import ids
from orchestrator.model.attempt import end_from
from orchestrator.model.config import Config
from orchestrator.model.gates import Gate, InUse, Lane, Limits, own_gates
from orchestrator.model.run import Run
from orchestrator.model.status import Status, run_status
from orchestrator.model.units import timestamp
from orchestrator.store import atomic, recovery, runs
from orchestrator.store.eventlog import GroupCommit
from orchestrator.store.locks import WatcherLock
from orchestrator.store.transitions import Store, Vanished
from orchestrator.tools.specs import Toolbox

FULL_LISTING = 6  # every how many rescans each file is looked at, whatever the folder's time says
KEPT = 256  # waiting tasks whose parsed form is kept in memory
START_BATCH = 16  # tasks started in one pass, so that ends and keys are noticed in between

Tell = Callable[..., None]


@dataclass(slots=True)
class Waiting:
    """A valid task in the inbox, as little of it as is needed to choose."""

    id: str
    name: str
    signature: Signature
    candidate: Candidate
    needs: tuple[str, ...]
    gates: list[Gate] = field(default_factory=list)
    digest: str = ""
    look: TaskFile | None = None  # kept for the first few, so that they are not parsed again


class Watcher:
    """Coordinates one work directory.  ``tell(kind, id, **facts)`` hears everything a person may want to see."""

    def __init__(self, layout: Layout, config: Config, toolbox: Toolbox, distributor: Distributor, store: Store,
                 tell: Tell, clock: Callable[[], float] = time.time) -> None:
        self.layout, self.config, self.toolbox, self.store, self.clock = layout, config, toolbox, store, clock
        self.tell = tell
        self.distributor = distributor
        self.intake = Intake(layout, config, toolbox, clock)
        self.health = Health(self._health_changed)
        self.lives = Lives(layout, config, toolbox, store, distributor, self.health, tell, self._slot_free)
        self.lock = WatcherLock(layout)
        self.tracked = GitTracked(layout)
        self.waiting: dict[str, Waiting] = {}  # by file name
        self.names: dict[str, str] = {}  # id -> file name, of the waiting ones
        self.invalid: dict[str, Signature] = {}
        self.not_yet: dict[str, tuple[float, str]] = {}  # name -> when to look again (loop time), why
        self.running: dict[str, Life] = {}  # by id, those between attempts included
        self.runs: dict[str, Run | None] = {}
        self.ready = Ready()
        self.use = InUse()
        self.draining = ""
        self.tally: collections.Counter[str] = collections.Counter()
        self._keys: dict[str, str] = {}  # case-folded id -> the file name that has it
        self._waiters: dict[str, set[str]] = {}  # needed id -> names that wait for it
        self._tasks: set[asyncio.Task[None]] = set()
        self._hints: collections.deque[tuple[str, bool]] = collections.deque()
        self._listed = 0
        self._inbox_stamp = 0
        self._vouch: list[tuple[str, str]] = []
        self._vouched: tuple[int, set[tuple[str, str]]] = (-1, set())
        self._leave = False
        self.interrupted = False
        self._claimed_once = False
        self._started_at = timestamp(clock())
        self.notifications = ""

    # -- the loop -----------------------------------------------------------------------------------------------

    async def run(self, until_empty: bool = False, once: bool = False) -> None:
        """Watch until told to stop, until nothing is left that can run, or for one pass.

        Raises `Busy` if another watcher has the work directory.
        """
        self.store.prepare()
        self.lock.acquire()
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        arrivals = Arrivals(self.layout, self._hint_from_thread, self._overflow_from_thread)
        try:
            self.distributor.prepare(1)
            self._write_card()
            self._event("watcher_started", summary=f"pid {os.getpid()}, {self.config.limits.running} slots")
            self._install_signals()
            self.notifications = "switched off" if self.config.notify == "poll" else arrivals.start()
            await self._recover()
            self._list(everything=True)
            self.distributor.prepare(min(self.config.limits.running, max(1, len(self.waiting))))
            next_rescan = self._loop.time() + self.config.rescan
            while True:
                self._wake.clear()
                self._take_hints()
                now = self._loop.time()
                if now >= next_rescan:
                    arrivals.refresh()
                    self._rescan()
                    next_rescan = now + self._pause()
                self._look_again(now)
                self._start_due()
                self._flush_vouch()
                if self._finished(until_empty, once):
                    break
                await self._sleep(next_rescan)
        finally:
            arrivals.stop()
            self._event("watcher_stopped", summary=self.summary())
            for life in list(self.running.values()):
                if life.handle is not None:
                    self.tell("left", life.id, life=life)
            for task in self._tasks:
                task.cancel()
            self.distributor.close()
            atomic.remove(self.layout.watcher_card)
            self.lock.release()

    async def _sleep(self, next_rescan: float) -> None:
        due = [next_rescan, *(moment for moment, _ in self.not_yet.values())]
        now, wall = self._loop.time(), self.clock()
        due += [now + life.retry_at - wall for life in self.running.values() if life.retry_at is not None]
        due += [now + gate.until - wall for waiting in self._timed for gate in waiting.gates if gate.until]
        delay = max(0.0, min(due) - now)
        if self._more_ready():
            delay = 0.0
        if delay:
            timer = self._loop.call_later(delay, self._wake.set)
            await self._wake.wait()
            timer.cancel()
        else:
            await asyncio.sleep(0)

    @property
    def _timed(self) -> list[Waiting]:
        return [self.waiting[name] for name in self._waiters.get("@time", ()) if name in self.waiting]

    def _more_ready(self) -> bool:
        return bool(len(self.ready)) and self._may_claim() and bool(choose(self.ready.lanes, self.limits, self.use, 1))

    def _pause(self) -> float:
        return min(self.config.rescan, 1.0) if self.notifications or self.health.fault else self.config.rescan

    def _finished(self, until_empty: bool, once: bool) -> bool:
        if self._leave:
            return True
        busy = any(life.retry_at is None for life in self.running.values())
        if self.draining:
            return not busy
        if self.health.fault:
            return False
        if once:
            self._claimed_once = True
            return not self.running and not self.not_yet
        if until_empty:
            return not self.running and not self.ready.lanes and not self._hints and not any(
                not why for _, why in self.not_yet.values())
        return False

    # -- being told -----------------------------------------------------------------------------------------------

    def _hint_from_thread(self, path: str, renamed: bool) -> None:
        self._hints.append((path, renamed))
        self._poke_from_thread()

    def _overflow_from_thread(self) -> None:
        self._hints.append(("", False))
        self._poke_from_thread()

    def _poke_from_thread(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the loop is closed: we are leaving
            pass

    def _take_hints(self) -> None:
        listing_wanted = False
        names: dict[str, bool] = {}
        while self._hints:
            path, renamed = self._hints.popleft()
            folder, name = os.path.split(path)
            folder = os.path.basename(folder)
            if not path:
                listing_wanted = True
            elif folder == "inbox":
                names[name] = names.get(name, False) or renamed
            elif folder == "running" and name.endswith(CANCEL):
                self._requests()
            elif folder in ("cancelled", "review") and renamed:
                self._moved_by_hand(folder, name)
        if listing_wanted:
            self._list(everything=True)
        for name, renamed in names.items():
            self._look(name, renamed)

    def _install_signals(self) -> None:
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # a broken read lease must not end us (files.requests)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._loop.add_signal_handler(number, self._signalled, number)
        self._loop.add_signal_handler(signal.SIGCONT, self._overflow_from_thread)  # stopped: hints may be old

    def _signalled(self, number: int) -> None:
        """Ctrl-C once: drain.  Twice: interrupt.  TERM, HUP: leave at once; supervisors and agents go on."""
        if number != signal.SIGINT:
            self._leave = True
        elif not self.draining:
            self.draining = "draining"
            self.tell("draining", "", running=sum(life.retry_at is None for life in self.running.values()))
        elif not self.interrupted:
            self.interrupted = True
            self.tell("interrupting", "", running=len(self.running))
            for life in list(self.running.values()):
                if life.handle is not None:
                    self.store.request_cancel(life.id, "the watcher was interrupted", requeue=True)
                    life.handle.cancel()
        self._write_card()
        self._wake.set()

    # -- looking ----------------------------------------------------------------------------------------------------

    def _list(self, everything: bool = False) -> None:
        """The authoritative listing: what is new, what has changed, what is gone."""
        try:
            self._inbox_stamp = os.stat(self.layout.folder(Status.INBOX)).st_mtime_ns
        except FileNotFoundError:
            self.store.prepare()
        present = set(listing(self.layout))
        for name in [name for name in (*self.waiting, *self.invalid, *self.not_yet) if name not in present]:
            self._forget(name)
        for name in present:
            known = self.waiting[name].signature if name in self.waiting else self.invalid.get(name)
            if known is None or (everything and not self._unchanged(name, known)):
                self._look(name)

    def _unchanged(self, name: str, known: Signature) -> bool:
        try:
            return signature_of(os.lstat(self.layout.file(Status.INBOX, name))) == known
        except OSError:
            return False

    def _rescan(self) -> None:
        """The slow timer: what no notification told."""
        self._listed += 1
        if self.health.fault:
            self._probe()
        if not os.path.isdir(self.layout.active) or any(
                not os.path.isdir(self.layout.folder(name)) for name in ("inbox", "running", "done")):
            self._rebuild()
        full = self._listed % FULL_LISTING == 0 or bool(self.notifications)
        try:
            changed = os.stat(self.layout.folder(Status.INBOX)).st_mtime_ns != self._inbox_stamp
        except FileNotFoundError:
            changed = True
        if full or changed:
            self._list(everything=full)
        self._requests()
        for life in list(self.running.values()):
            if not os.path.lexists(self.layout.file(Status.RUNNING, life.name)):
                self._moved_by_hand("cancelled", life.name)
        if full:
            self._adopt_strays()
            self._foreign()
            for name in [name for name, waiting in self.waiting.items() if waiting.gates]:
                self._judge(self.waiting[name])
            for task_id in recovery.stale_notes(self.layout):
                self.store.remove_note(task_id)
        self.store.beat()

    def _look_again(self, now: float) -> None:
        for name in [name for name, (due, _) in self.not_yet.items() if due <= now]:
            self._look(name)
        wall = self.clock()
        for waiting in self._timed:
            if any(gate.until is not None and gate.until <= wall for gate in waiting.gates):
                self._judge(waiting)

    def _look(self, name: str, renamed: bool = False) -> None:
        """Look at one file; whatever goes wrong concerns that file only."""
        try:
            look = self.intake.look(name, renamed)
        except OSError as error:
            self.health.failed(error)
            self.not_yet[name] = (self._loop.time() + 1.0, "")
            return
        self._handle(name, look)

    def _handle(self, name: str, look: Look) -> None:
        was_editing = self.not_yet.pop(name, (0.0, ""))[1]
        if isinstance(look, Ignored):
            self._forget(name)
            return
        if name in self.waiting and self.waiting[name].signature == look.signature:
            return
        if self.invalid.get(name) == look.signature:
            return
        if name in self.waiting or name in self.invalid:
            self._forget(name)
        if isinstance(look, NotYet):
            self.not_yet[name] = (self._loop.time() + look.after, look.why)
            if look.why and look.why != was_editing:
                self.tell("editing", stem_of(name), text=look.why)
            return
        key = ids.key(stem_of(name))
        twin = self._keys.get(key, name)
        if twin != name:
            self._refuse(name, look.signature, f"the id '{stem_of(name)}' belongs to {twin}", "rename one of the two")
        elif isinstance(look, Invalid):
            self._invalid(name, look)
        elif isinstance(look, RunFile):
            self._accept_run(name, look)
        else:
            self._admit(name, look)

    def _invalid(self, name: str, look: Invalid) -> None:
        self.invalid[name] = look.signature
        task_id = stem_of(name)
        first = look.problems[0]
        text = f"{first.line}:{first.column} {first.message}" + (f" - {first.hint}" if first.hint else "")
        known = look.digest in _read_text(self.layout.note(task_id))
        try:
            self.store.write_note(task_id, diagnostics.note(name, look.document, look.problems, look.digest))
        except OSError as error:
            self.health.failed(error)
        if not known:  # once per content, also over restarts
            self.store.log.commit([self.store.log.event(
                "task_invalid", task_id, look.digest[:12], task_id=task_id, phase="submit", status="inbox",
                summary=text[:300])])
        self.tell("invalid", task_id, text=text)

    def _refuse(self, name: str, signature: Signature, why: str, hint: str, kind: str = "task_refused") -> None:
        """The file stays where it is and is not run; a note says why."""
        task_id = stem_of(name)
        self.invalid[name] = signature
        digest = f"refused {signature[0]}.{signature[1]}"
        known = digest in _read_text(self.layout.note(task_id))
        try:
            self.store.write_note(task_id, diagnostics.note(name, Document(""), [Problem(1, 1, why, hint)], digest))
        except OSError as error:
            self.health.failed(error)
        if not known:
            self.store.log.commit([self.store.log.event(kind, task_id, digest[8:], task_id=task_id, phase="submit",
                                                        status="inbox", summary=why[:300])])
        self.tell("invalid", task_id, text=f"{why} - {hint}")

    def _admit(self, name: str, look: TaskFile) -> None:
        task, chosen = look.task, look.route
        lane = Lane(chosen.agent.name, chosen.tool.name, task.run or "")
        candidate = Candidate(task.rank, look.signature[1], task.id, lane)
        waiting = Waiting(task.id, name, look.signature, candidate, task.needs, digest=look.content.sha256,
                          look=look if len(self.waiting) < KEPT else None)
        self.waiting[name] = waiting
        self.names[task.id] = name
        self._keys[ids.key(task.id)] = name
        self.store.remove_note(task.id)
        self._judge(waiting, look)
        self._needed(task.id)
        if waiting.gates:
            self.tell("waiting", task.id, gates=waiting.gates)
        if self.config.from_git == "hold" and self.tracked.is_repository and name not in self.tracked:
            self._vouch.append((task.id, waiting.digest))

    def _forget(self, name: str) -> None:
        """A file that is not there any more, or not what it was."""
        waiting = self.waiting.pop(name, None)
        if waiting is not None:
            self.names.pop(waiting.id, None)
            self._keys.pop(ids.key(waiting.id), None)
            self.ready.remove(waiting.id)
            for need in (*waiting.needs, "@time"):
                self._waiters.get(need, set()).discard(name)
        self.not_yet.pop(name, None)
        if self.invalid.pop(name, None) is not None:
            self.store.remove_note(stem_of(name))

    # -- gates ------------------------------------------------------------------------------------------------------

    def _judge(self, waiting: Waiting, look: TaskFile | None = None) -> None:
        """Open or close this task's own gates."""
        look = look or self._reread(waiting)
        if look is None:
            return
        task = look.task
        waiting.gates = own_gates(task, self._status_of, self.clock(), approved=self._is_approved(waiting),
                                  run_stopped=self._run_stopped(task.run))
        for gate in waiting.gates:
            if gate.on:
                self._waiters.setdefault(gate.on, set()).add(waiting.name)
            elif gate.until is not None:
                self._waiters.setdefault("@time", set()).add(waiting.name)
        if waiting.gates:
            self.ready.remove(waiting.id)
        elif waiting.id not in self.ready:
            self.ready.add(waiting.candidate)

    def _reread(self, waiting: Waiting) -> TaskFile | None:
        """The parsed file again; None if it has changed, and then it is looked at anew."""
        look = self.intake.look(waiting.name, renamed=True, before=waiting.look)
        if isinstance(look, TaskFile) and look.signature == waiting.signature:
            return look
        self._handle(waiting.name, look)
        return None

    def _status_of(self, task_id: str) -> Status | None:
        if task_id in self.running:
            return Status.RUNNING
        if task_id in self.names:
            return Status.INBOX
        return status_of(self.layout, task_id)

    def _needed(self, task_id: str) -> None:
        """Something happened to this task: look at those that wait for it."""
        for name in list(self._waiters.pop(task_id, ())):
            if name in self.waiting:
                self._judge(self.waiting[name])

    def _is_approved(self, waiting: Waiting) -> bool:
        if self.config.from_git == "run" or waiting.name not in self.tracked:
            return True
        try:
            stamp = os.stat(self.layout.approvals).st_mtime_ns
        except OSError:
            stamp = 0
        if stamp != self._vouched[0]:
            self._vouched = (stamp, self.store.vouched())
        return (waiting.id, waiting.digest) in self._vouched[1]

    def _flush_vouch(self) -> None:
        """Remember files that were here before git tracked them, unless they have started meanwhile."""
        if self._vouch:
            pending, self._vouch = self._vouch, []
            try:
                self.store.vouch(pair for pair in pending if pair[0] in self.names)
            except OSError as error:
                self.health.failed(error)

    # -- runs -------------------------------------------------------------------------------------------------------

    def _accept_run(self, name: str, look: RunFile) -> None:
        try:
            runs.accept(self.store, look.run, name, look.content)
        except Taken as error:
            self._refuse(name, look.signature, error.message, error.hint)
            return
        except Vanished:
            self._hints.append((f"{self.layout.work}/inbox/{name}", True))
            return
        except (OSError, OrchestratorError) as error:
            self.health.failed(error)
            self.not_yet[name] = (self._loop.time() + 1.0, "")
            return
        self.store.remove_note(look.run.id)
        self.runs[look.run.id] = look.run
        self.tell("run", look.run.id, run=look.run)
        for task_id in look.run.tasks:
            self._look(task_id + ".yaml", renamed=True)

    def _run(self, run_id: str) -> Run | None:
        """An accepted run; None if there is none of this id."""
        if run_id not in self.runs:
            self.runs[run_id] = None
            for suffix in (".yaml", ".yml", ".md"):
                try:
                    path = f"{self.layout.folder('runs')}/{run_id}{suffix}"
                    self.runs[run_id] = load(path, run_id, read_file(path).raw).run
                    break
                except FileNotFoundError:
                    continue
                except Exception:  # whatever its file says now: it only costs this run its limits
                    break
        return self.runs[run_id]

    def _run_stopped(self, run_id: str | None) -> str:
        """Why a run takes no more tasks."""
        run = self._run(run_id) if run_id else None
        if run is None or run.on_failure != "stop":
            return ""
        failed = next((member for member in run.members if self._status_of(member) is Status.FAILED), None)
        return f"run {run_id} stopped: {failed} failed" if failed else ""

    def _member_finished(self, life: Life) -> None:
        """What a finished task means to its run."""
        run_id = life.task.run
        run = self._run(run_id) if run_id else None
        if run is None:
            return
        stopped = self._run_stopped(run.id)
        if stopped:
            for member in run.members:
                if member in self.names:
                    self._cancel_waiting(member, stopped)
        tasks = []
        for member in run.members:
            waiting = self.waiting.get(self.names.get(member, ""))
            tasks.append((self._status_of(member), waiting is not None and any(gate.stuck for gate in waiting.gates)))
        status = run_status(tasks)
        if str(status) in ("completed", "failed", "cancelled"):
            self._event("run_finished", subject=run.id, attempt=life.id, run_id=run.id, phase="finish",
                        summary=f"{status}: {sum(item[0] is Status.DONE for item in tasks)} of {len(tasks)} done")
            self.tell("run_finished", run.id, status=status, tasks=tasks)

    @property
    def limits(self) -> Limits:
        """The configured limits, and those of the runs whose tasks wait."""
        per_run = {lane.run: run.max_parallel for lane in self.ready.lanes
                   if lane.run and (run := self._run(lane.run)) is not None and run.max_parallel}
        limits = self.config.limits
        return Limits(limits.running, limits.per_agent, limits.per_tool, per_run) if per_run else limits

    # -- starting ---------------------------------------------------------------------------------------------------

    def _may_claim(self) -> bool:
        return not self.draining and not self.health.fault and not self._claimed_once and not self._leave

    def _start_due(self) -> None:
        """Start what is due and has a slot, the most urgent first."""
        now = self.clock()
        for life in self.running.values():
            if life.retry_at is not None and life.retry_at <= now and life.id not in self.ready:
                self.ready.add(Candidate(life.task.rank, life.submitted, life.id, life.lane))
        if not self._may_claim() or not len(self.ready):
            return
        for candidate in choose(self.ready.lanes, self.limits, self.use, START_BATCH):
            if not self._may_claim():
                break
            self.ready.remove(candidate.id)
            life = self.running.get(candidate.id)
            if life is not None:
                self._start_again(life)
            else:
                self._claim(self.waiting[self.names[candidate.id]])

    def _claim(self, waiting: Waiting) -> None:
        look = self._reread(waiting)  # what is complete now counts, and nobody may be writing to it
        if look is None:
            return
        lane = waiting.candidate.lane
        life = Life(waiting.id, waiting.name, look.task, look.route, lane, waiting.candidate.submitted,
                    inode=waiting.signature[0])
        try:
            entry = self.store.claim(waiting.id, waiting.name, look.content,
                                     self.lives.claim_facts(look.task, look.route))
        except Vanished:
            self._forget(waiting.name)
            self._hints.append((f"{self.layout.work}/inbox/{waiting.name}", True))
            return
        except Taken as error:
            self._forget(waiting.name)
            self._refuse(waiting.name, waiting.signature, error.message, error.hint)
            return
        except (OSError, OrchestratorError) as error:
            self.health.failed(error)
            self.ready.add(waiting.candidate)
            return
        self._forget(waiting.name)
        self._occupy(life)
        self._enter(life)
        self._spawn(life, self.lives.start(life, entry))

    def _enter(self, life: Life) -> None:
        self.running[life.id] = life
        self._keys[ids.key(life.id)] = life.name

    def _start_again(self, life: Life) -> None:
        entry = self.store.ledger.open(life.id)
        if entry is None or not entry.lock():
            return
        self._occupy(life)
        self._spawn(life, self.lives.start(life, entry))

    def _occupy(self, life: Life) -> None:
        life.in_slot = True
        life.retry_at = None
        self.use.count(life.lane)

    def _slot_free(self, life: Life) -> None:
        if life.in_slot:
            life.in_slot = False
            self.use.count(life.lane, -1)
            self._wake.set()

    def _spawn(self, life: Life, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(self._live(life, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live(self, life: Life, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:  # a bug of ours must not take the other tasks with it
            self.tell("internal", life.id, error=error)
        finally:
            self._slot_free(life)
            self._wake.set()
        if life.retry_at is not None:
            return  # it stays in running/ until its next attempt
        self.running.pop(life.id, None)
        self._keys.pop(ids.key(life.id), None)
        self.tally[str(life.status)] += 1
        place = self.layout.file(Status.INBOX, life.name)
        self._needed(life.id)
        self._member_finished(life)
        if os.path.lexists(place):
            self._hints.append((place, True))

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
        """A person moved a running task's file to cancelled/: that is a request to stop it."""
        life = self.running.get(stem_of(name))
        if life is None or folder != "cancelled":
            return
        try:
            if os.lstat(self.layout.file(Status.CANCELLED, name)).st_ino == life.inode:
                self._cancel(life, "mv to cancelled/")
        except OSError:
            pass

    def _cancel(self, life: Life, by: str) -> None:
        fresh = self.store.request_cancel(life.id, by) if by else True
        if life.retry_at is not None:
            life.retry_at = None
            self.ready.remove(life.id)
            entry = self.store.ledger.open(life.id)
            if entry is not None:
                facts = entry.journal.attempt
                entry.lock()
                if facts is not None and facts.ended is not None:
                    self._spawn(life, self.lives.ended(life, entry, end_from(facts.ended)))
        elif life.handle is not None:
            life.handle.cancel()
        if fresh and by:
            self._event("task_cancel_requested", subject=life.id, attempt=life.attempt, task_id=life.id,
                        phase="request", status="running", summary=by)
            self.tell("cancelling", life.id, life=life, by=by)

    def _cancel_waiting(self, task_id: str, reason: str) -> None:
        name = self.names.get(task_id, "")
        try:
            self.store.cancel_waiting(task_id, reason)
        except (OSError, OrchestratorError) as error:
            self.health.failed(error)
            return
        self._forget(name)
        self.tally["cancelled"] += 1
        self.tell("cancelled", task_id, text=reason)
        self._needed(task_id)

    # -- recovery -----------------------------------------------------------------------------------------------------

    async def _recover(self) -> None:
        for text in recovery.tidy(self.store):
            self.tell("tidied", "", text=text)
        for run_id in runs.complete(self.store):
            self.tell("tidied", run_id, text=f"completed run {run_id}")
        self._adopt_strays(first=True)
        self._foreign()

    def _adopt_strays(self, first: bool = False) -> None:
        """Take up every unfinished task that is not ours yet."""
        mine = frozenset(ids.key(task_id) for task_id in self.running)
        for found in recovery.unfinished(self.store, mine):
            if found.step is recovery.Step.ADOPT and not first:
                found.entry.close()  # `orchestrator run` is at it
                continue
            life = self.lives.life_of(found.entry)
            self._enter(life)
            if found.step is recovery.Step.RETRY:
                life.retry_at = found.entry.journal.last.get("not_before", 0.0)
                found.entry.close()
                self.tell("retrying", life.id, life=life, after=max(0.0, life.retry_at - self.clock()), reading=None)
                continue
            if found.step is not recovery.Step.FINISH:
                self._occupy(life)
            self.tell("recovered", life.id, life=life, step=found.step.value)
            self._spawn(life, self.lives.resume(life, found.entry, found.step))

    def _foreign(self) -> None:
        for task_id in recovery.foreign(self.store):
            if task_id in self.running:
                continue
            why = "it lay in running/, but was never claimed on this machine; approve, reject or retry it"
            self._event("task_foreign", subject=task_id, attempt=0, task_id=task_id, phase="claim", status="review",
                        summary=why)
            self.tell("foreign", task_id, text=why)

    def _rebuild(self) -> None:
        """Somebody removed folders (git clean, rm): make them again and write down what is still known."""
        made = self.store.prepare()
        if "active" in made or ".state" in made or not os.path.exists(self.layout.watcher_card):
            self.lock.release()
            self.lock.acquire()
            self._write_card()
            for life in self.running.values():
                if life.records and not os.path.exists(self.layout.journal(life.id)):
                    entry = self.store.ledger.create(life.id, life.records[0])
                    for record in life.records[1:]:
                        entry.append(record)
                    entry.close()
        if made:
            self.tell("tidied", "", text=f"made again: {', '.join(sorted(made))} (removed while watching)")
        if hasattr(self.store.log, "log"):
            self.store.log.log.moved()

    # -- health ---------------------------------------------------------------------------------------------------------

    def _health_changed(self, fault: str) -> None:
        if fault:
            self._event("store_failed", summary=fault)
        else:
            self._event("store_recovered", summary="the disk takes writes again")
        self.tell("fault" if fault else "recovered_disk", "", text=fault)
        try:
            self._write_card()
        except OSError:
            pass
        self._wake.set()

    def _probe(self) -> None:
        """A trial write, as large as a small task needs."""
        path = f"{self.layout.state}/tmp/{os.getpid()}.probe"
        try:
            self.store.prepare()
            atomic.remove(path)
            atomic.write_temporary(path, b"\0" * 65536)
            atomic.remove(path)
        except OSError:
            return
        self.health.recovered()

    # -- what others see ------------------------------------------------------------------------------------------------

    def summary(self) -> str:
        """``12 done, 1 failed, 0 left running``."""
        counts = [f"{self.tally[name]} {name}" for name in ("done", "failed", "cancelled", "review")
                  if self.tally[name] or name == "done"]
        left = sum(life.retry_at is None for life in self.running.values())
        retrying = len(self.running) - left
        return ", ".join(counts) + f", {left} left running" + (f", {retrying} to be retried" if retrying else "")

    def stuck(self) -> list[str]:
        """Ids of waiting tasks that only a person can set going."""
        return [waiting.id for waiting in self.waiting.values() if any(gate.stuck for gate in waiting.gates)]

    def _write_card(self) -> None:
        self.store.write_card({
            "pid": os.getpid(), "pid_start": start_time("self"), "boot": boot_id(), "host": socket.gethostname(),
            "started_at": self._started_at,
            "version": __version__, "slots": self.config.limits.running, "fault": self.health.fault,
            "draining": bool(self.draining), "notifications": self.notifications})

    def _event(self, kind: str, subject: str = "watcher", attempt: int | str | None = None, **fields: Any) -> None:
        number = f"{os.getpid()}-{int(self.clock() * 1000)}" if attempt is None else attempt
        fields.setdefault("phase", "store" if kind.startswith("store") else "watch")
        log = self.store.log
        event = log.event(kind, subject, number, **fields)
        if isinstance(log, GroupCommit):
            log.note(event)
        else:
            log.commit([event])


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""
