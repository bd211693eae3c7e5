"""The waiting tasks: what lies in the inbox, what each waits for, and which of them could start
now.

A cache of the folder. `Waitlist.look` is told of one file, `Waitlist.list` compares with the
listing, which is the truth; neither costs anything for files that have not changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from orchestrator.clock import Clock
from orchestrator.coordination import blame
from orchestrator.coordination.complaints import Complaints
from orchestrator.coordination.entrance import Entrance
from orchestrator.coordination.expansion import LARGE, LOOK
from orchestrator.coordination.groups import Groups
from orchestrator.coordination.health import Health
from orchestrator.coordination.hints import Hints
from orchestrator.coordination.inbox import Inbox
from orchestrator.coordination.inboxtrust import InboxTrust
from orchestrator.coordination.intake import (
    Heavy,
    Ignored,
    Intake,
    Look,
    NotYet,
    RunFile,
    Same,
    Signature,
    TaskFile,
    signature_of,
)
from orchestrator.coordination.largefiles import LargeFiles, Verdict
from orchestrator.coordination.later import Later
from orchestrator.coordination.life import Life
from orchestrator.coordination.listing import Listing
from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.statuses import Statuses
from orchestrator.coordination.waitingruns import WaitingRuns
from orchestrator.coordination.waitingtasks import Waiting, WaitingTasks
from orchestrator.files.layout import SUFFIXES, Layout, stem_of
from orchestrator.model.gates import Gate
from orchestrator.model.status import Status
from orchestrator.store import moves
from orchestrator.store.transitions import Store

FIRST_SLICE = (
    0.25  # seconds for looking at a start, so that the most urgent of a few hundred comes first
)
SLICE = 0.02  # seconds for looking in any other pass
MOST_HEAVY = 16  # large files that are kept as they were judged


class Waitlist:
    """The inbox as the watcher knows it.

    ``running`` are the claimed tasks by id, the watcher's own.
    """

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        intake: Intake,
        health: Health,
        groups: Groups,
        running: Mapping[str, Life],
        listener: Listener,
        hints: Hints,
        clock: Clock,
    ) -> None:
        self.layout, self.settings, self.store = layout, settings, store
        self.intake, self.health, self.running = intake, health, running
        self.listener, self.hints, self.clock = listener, hints, clock
        names: dict[str, str] = {}
        self.inboxtrust = InboxTrust(layout, store, settings, clock)
        statuses = Statuses(layout, running, names)
        self.tasks = WaitingTasks(
            settings, self.inboxtrust, groups, statuses, names, listener, clock
        )
        self.complaints = Complaints(layout, store, health, listener)
        self.runs = WaitingRuns()
        self.later = Later(clock)
        self.inbox = Inbox(self.tasks, self.runs, self.complaints, self.later)
        self.entrance = Entrance(
            self.inbox, self.inboxtrust, settings, store, groups, running, listener
        )
        self.listing = Listing(layout, store, listener)
        self.todo: dict[str, None] = {}  # listed and not looked at yet
        self.gone: list[str] = []  # names that the last listings did not find any more
        self.largefiles = LargeFiles(layout, settings)
        self._heavy: dict[str, TaskFile | RunFile] = {}  # judged there, and still waiting
        self._told: dict[str, Sequence[Gate]] = {}  # gates of what is being judged once more

    @property
    def resting(self) -> bool:
        """Whether there are files of which it is not known yet what they are."""
        beside = self.unlooked or bool(self.entrance.expansions) or bool(self.largefiles)
        return beside or bool(self.tasks.asking) or self.later.resting

    @property
    def unlooked(self) -> bool:
        """Whether the next pass has more to look at."""
        return bool(self.todo) or bool(self.tasks.again)

    def inode(self, name: str) -> int:
        """Of the file that was looked at under this name; 0 if there was none."""
        known = self.inbox.signature(name)
        return known[0] if known is not None else 0

    def next_look(self, wall: float) -> list[float]:
        """Monotonic moments at which something has to be looked at again."""
        now = self.clock.monotonic()
        return [
            *([now + LOOK] if self.entrance.expansions or self.largefiles else ()),
            *([now] if self.tasks.broken or self.tasks.again else ()),
            *self.later.moments(),
            *(now + moment - wall for moment in self.inbox.moments()),
        ]

    # -- looking
    # ----------------------------------------------------------------------------------------------

    def list(self, everything: bool = False) -> None:
        """The authoritative listing: what is new, what has changed, what is gone."""
        present = self.listing.take()
        for name in [name for name in self.inbox if name not in present]:
            self.gone += [name] if name not in self.later else []
            self.inbox.forget(name)
        self.complaints.keep(present)
        self._heavy = {name: look for name, look in self._heavy.items() if name in present}
        new = (name for name in present if self._is_news(name, everything))
        for name in sorted(new, reverse=True):
            self.todo[name] = None  # the last one is taken first
        self.look_on(FIRST_SLICE if everything else SLICE)

    def _is_news(self, name: str, everything: bool) -> bool:
        """Whether nobody has looked at this file; with ``everything``, nor at what it is now."""
        known = self.inbox.signature(name)
        return known is None or (everything and not self._unchanged(name, known))

    def look_on(self, seconds: float) -> None:
        """Look at what was listed, for so long at most: 100,000 files must not keep anything
        waiting."""
        end = self.clock.monotonic() + seconds
        while self.todo and self.clock.monotonic() < end:
            self.look(self.todo.popitem()[0], listed=True)

    def anew(self) -> None:
        """What files mean may have changed: every one is looked at again. What is still so is not
        told twice."""
        self.inbox.distrust()
        self._heavy.clear()
        self.list(everything=True)

    def _unchanged(self, name: str, known: Signature) -> bool:
        try:
            return signature_of(os.lstat(self.layout.file(Status.INBOX, name))) == known
        except OSError:
            return False

    def look_soon(self, name: str) -> None:
        """Look at a file once more in the next pass."""
        self.hints.add(self.layout.file(Status.INBOX, name), renamed=True)

    def look_again(self) -> None:
        """Look at what was listed or was not ready, or whose time may have come."""
        for name, look, error in self.entrance.expansions.ended():
            self._expanded(name, look, error)
        for verdict in self.largefiles.ended():
            self._judged(verdict)
        self.look_on(SLICE)
        for name in self.later.due():
            self.look(name)
        for name in self.runs.due(self.clock.wall()):
            self._look_at_run(name)
        self.tasks.judge_on(SLICE)
        broken, self.tasks.broken = self.tasks.broken, []
        for name, error in broken:
            self.failed(name, error)

    def _look_at_run(self, name: str) -> None:
        self.runs.stale(name)
        self.look(name, renamed=True)

    def look(self, name: str, renamed: bool = False, listed: bool = False) -> None:
        """Look at one file; whatever goes wrong concerns that file only."""
        life = self.running.get(stem_of(name))
        if life is not None and life.moving and life.name == name:
            return  # it is on its way to running/
        if name in self.entrance.expansions or name in self.largefiles:
            return
        try:
            before, same = self._heavy.get(name), self.inbox.signature(name)
            look = self.intake.look(name, renamed, before, listed, light=True, same=same)
            self._take(name, look)
        except Exception as error:
            self.failed(name, error)

    def _judged(self, verdict: Verdict) -> None:
        """A file was judged beside the loop, or could not be. It counts if it is still the same,
        and so are the rules."""
        name, look = verdict.case.name, verdict.look
        same = self._unchanged(name, signature_of(verdict.case.content.stat))
        if verdict.outdated or not same:
            self.look(name, renamed=True)
        elif verdict.error is not None:
            self.failed(name, verdict.error)
        elif look is not None:
            if isinstance(look, TaskFile | RunFile) and len(self._heavy) < MOST_HEAVY:
                self._heavy[name] = look
            try:
                self._take(name, self.intake.unless_open(name, look))
            except Exception as error:
                self.failed(name, error)

    def failed(self, name: str, error: Exception) -> None:
        """Looking at this file raised something: it waits for the machine to work, or is set aside
        with a note."""
        if blame.machine(error):
            self.health.failed(error)
            self.later.put(name, 1.0)
            return
        self.inbox.forget(name)
        self.complaints.set_aside(name, error)

    def _take(self, name: str, look: Look) -> None:
        """What a look has found counts from now on."""
        was_editing = self.later.take(name)
        if isinstance(look, Ignored):
            self._ignore(name)
        elif isinstance(look, Same) or look.signature == self.inbox.signature(name):
            pass
        elif isinstance(look, Heavy):
            self._told[name] = self.inbox.take_out(name)
            self.largefiles.begin(name, look.content)
        elif isinstance(look, NotYet):
            self.inbox.take_out(name)
            self._leave_open(name, look, was_editing)
        else:
            told = self.inbox.take_out(name)
            self._look_at(self.entrance.enter(name, look, self._told.pop(name, told)))

    def _ignore(self, name: str) -> None:
        self.gone += [name] if self.inbox.signature(name) is not None else []
        self.inbox.forget(name)
        self.listing.no_tasks([name])

    def _leave_open(self, name: str, look: NotYet, was_editing: str) -> None:
        self.later.put(name, look.after, look.why)
        if look.why and look.why != was_editing:
            if look.right:
                self.complaints.is_right(name)
            self.listener.hear(Remark(About.EDITING, stem_of(name), look.why))

    def _expanded(self, name: str, look: RunFile, error: Exception | None) -> None:
        """A large run was accepted beside the loop, or could not be."""
        try:
            self._look_at(self.entrance.expanded(name, look, error))
        except Exception as raised:
            self.failed(name, raised)

    def _look_at(self, names: Sequence[str]) -> None:
        """Look at the tasks of a new run: at once, or in slices, in the order of its file."""
        for name in reversed(names[LARGE:]):  # the last one is taken first
            self.todo[name] = None
        for name in names[:LARGE]:
            self.look(name, renamed=True)

    def withdraw(self, task_id: str, why: str) -> None:
        """Cancel a task that waits. OSError, or `OrchestratorError` if it does not wait any
        more."""
        name = self.tasks.names.get(task_id, "")
        moves.cancel(self.store, task_id, why)
        self.inbox.forget(name)
        self.tasks.statuses.moved(task_id, Status.CANCELLED)
        self.listener.hear(Remark(About.CANCELLED, task_id, why))
        self.tasks.needed(task_id)

    def reread(self, waiting: Waiting) -> TaskFile | None:
        """The parsed file again; None if it has changed, and then it is looked at anew."""
        before = waiting.look or self._heavy.get(waiting.name)
        known = waiting.arrived.sha256 if waiting.arrived is not None else ""
        look = self.intake.look(waiting.name, True, before, light=True, known=known)
        if isinstance(look, TaskFile) and look.signature == waiting.signature:
            if waiting.rejudge:
                self.tasks.judge(waiting)
                return None if waiting.gates else look
            return look
        self._take(waiting.name, look)
        return None

    def flush_vouch(self) -> None:
        """Remember files that were here before git tracked them, unless they have started
        meanwhile."""
        self.inboxtrust.flush(self.tasks.names.__contains__)

    def approvals(self) -> None:
        """Look once more at what somebody has approved since."""
        for task_id in self.inboxtrust.news():
            waiting = self.tasks.of(task_id)
            if waiting is not None and waiting.gates:
                self.tasks.again[waiting.name] = None
            for suffix in SUFFIXES:
                if task_id + suffix in self.runs.waiting:
                    self._look_at_run(task_id + suffix)
