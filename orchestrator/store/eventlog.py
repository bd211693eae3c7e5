"""Appending events: one line per event, on disk before anybody is told that it happened.

One writer per file: the watcher and the verbs of this clone each have a file per day, named
``<day>.<clone>-watch.jsonl`` and ``<day>.<clone>-cli.jsonl``.  `EventLog` writes at once and waits;
`GroupCommit` lets everything that waits at the same moment share one fsync.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.clock import SYSTEM, Clock
from orchestrator.errors import StoreFault
from orchestrator.files import opening, owners
from orchestrator.files.layout import Layout
from orchestrator.libraries import later
from orchestrator.model.event import event as make_event
from orchestrator.records import dataclass, field
from orchestrator.store import atomic, places
from orchestrator.store.appending import TRIES, append_to, is_named, lock
from orchestrator.store.atomic import remove, sync_folder
from orchestrator.store.claiming import Claim, Vanished, Withdrawn
from orchestrator.store.dayfile import open_day

if TYPE_CHECKING:
    from concurrent import futures
    from concurrent.futures import Future
else:
    futures = later("concurrent.futures")

Event = dict[str, Any]


@dataclass(slots=True)
class NewFile:
    """A temporary file, written but not fsynced, that a commit makes durable and renames to its
    place."""

    temporary: str
    path: str


class EventLog:
    """The event files of one writer.  ``role`` is ``watch`` or ``cli``."""

    def __init__(self, layout: Layout, role: str, clock: Clock = SYSTEM) -> None:
        self.layout, self.role, self.clock = layout, role, clock
        self._fd = -1
        self._path = self._day = ""

    @cached_property
    def clone(self) -> str:
        """What its files are named by, beside the day."""
        return clone_name(self.layout)

    def event(self, kind: str, subject: str, step: int | str, /, **fields: Any) -> Event:
        """A new event. Its id is ``subject/step/kind``: the same step repeated after a crash has
        the same id."""
        return make_event(kind, self.clock.wall(), f"{subject}/{step}/{kind}", fields)

    def commit(
        self, events: Sequence[Event], files: Sequence[NewFile] = (), claim: Claim | None = None
    ) -> Future[None]:
        """Make a claim, files and events durable, in this order.

        The future holds `Withdrawn` if the claim came to nothing, and a `StoreFault` if the disk
        refused what follows.
        """
        future: Future[None] = futures.Future()
        _carry_out([_Commit(list(events), list(files), claim, future)], self.append)
        return future

    def commit_and_wait(
        self, events: Sequence[Event], files: Sequence[NewFile] = (), claim: Claim | None = None
    ) -> None:
        """The same, for who has nothing else to do: raises what the future would hold."""
        commit = _Commit(list(events), list(files), claim)
        _carry_out([commit], self.append)
        if commit.error is not None:
            raise commit.error

    def append(self, events: Sequence[Event]) -> None:
        """Write the events and fsync; OSError if that failed, and then the descriptor is not used
        again.

        They are in a file that has its name when this returns: one that git takes away meanwhile is
        begun anew. Without events only that is looked at.
        """
        if not events and (self._fd < 0 or is_named(self._fd, self._path)):
            return
        data = b"".join(
            json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
            + b"\n"
            for event in events
        )
        try:
            for _ in range(TRIES):
                fd = self._open()
                if not data:
                    return
                if self.role == "cli":  # several verbs may write at once; a watcher is alone
                    lock(fd, self._path)
                append_to(fd, self._path, data)
                if is_named(fd, self._path):
                    break
        except OSError:
            self.close()
            raise
        if self.role == "cli":
            self.close()

    def _open(self) -> int:
        """The file of today, by its name."""
        day = time.strftime("%Y-%m-%d", time.gmtime(self.clock.wall()))
        if self._fd >= 0 and day == self._day and is_named(self._fd, self._path):
            return self._fd
        self.close()
        self._fd, self._path = open_day(self.layout, day, self.clone, self.role)
        self._day = day
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def look(self) -> None:
        """Put back what git took away from the log, though nothing is to be written."""
        self.append(())

    def note(self, *events: Event) -> None:
        """Write events that nobody waits for."""
        _carry_out([_Commit(list(events))], self.append)


class GroupCommit:
    """An `EventLog` with a thread that commits everything handed in meanwhile with one fsync.

    Events whose caller does not wait (`note`) are kept until they are written, however long the
    disk refuses.
    """

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.event = log.event
        self.on_disk: Callable[[Sequence[Event]], None] = lambda _: (
            None
        )  # hears, from our thread, what is safe now
        self._condition = threading.Condition()
        self._queue: list[_Commit] = []
        self._unsaved: list[Event] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def commit(
        self, events: Sequence[Event], files: Sequence[NewFile] = (), claim: Claim | None = None
    ) -> Future[None]:
        """As `EventLog.commit`, without blocking."""
        future: Future[None] = futures.Future()
        with self._condition:
            self._queue.append(_Commit(list(events), list(files), claim, future))
            self._condition.notify()
        return future

    def commit_and_wait(
        self, events: Sequence[Event], files: Sequence[NewFile] = (), claim: Claim | None = None
    ) -> None:
        """The same, and wait for it: raises what the future would hold."""
        self.commit(events, files, claim).result()

    def note(self, *events: Event) -> None:
        """Write these events soon; nobody waits for them, and none is lost while the disk
        refuses."""
        with self._condition:
            self._queue.append(_Commit(list(events)))
            self._condition.notify()

    def look(self) -> None:
        """Put back, soon, what git took away from the log, though nothing is to be written."""
        self.note()

    @property
    def unsaved(self) -> int:
        """Events that the disk has refused so far."""
        return len(self._unsaved)

    def close(self) -> None:
        """Commit what is left and end the thread."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()
        self.log.close()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._queue and not self._closing:
                    self._condition.wait()
                batch, self._queue = self._queue, []
            if not batch:
                return
            self._commit(batch)

    def _commit(self, batch: list[_Commit]) -> None:
        unsaved = _Commit(list(self._unsaved))
        events = _carry_out([unsaved, *batch], self.log.append)
        if events is None:
            refused = [unsaved, *(commit for commit in batch if commit.future is None)]
            self._unsaved = [event for commit in refused for event in commit.events]
            return
        self._unsaved = []
        self.on_disk(events)


@dataclass(slots=True)
class _Commit:
    """Events, the files and the claim that go with them, and one answer if somebody waits."""

    events: list[Event]
    files: list[NewFile] = field(default_factory=list)
    claim: Claim | None = None
    future: Future[None] | None = None
    error: Exception | None = None

    def succeed(self) -> None:
        if self.future is not None:
            self.future.set_result(None)

    def fail(self, error: OSError) -> None:
        place = error.filename2 or error.filename or "events"
        why = StoreFault(f"{error.strerror or error} ({place})")
        why.__cause__ = error
        self.refuse(why)

    def refuse(self, why: Exception) -> None:
        self.error = why
        if self.future is not None:
            self.future.set_exception(why)


def _carry_out(
    batch: Sequence[_Commit], append: Callable[[Sequence[Event]], None]
) -> list[Event] | None:
    """Carry out commits together and answer each; the events that are on disk now, None if the log
    refused them."""
    folders: set[str] = set()
    good = []
    for commit in batch:
        try:
            if commit.claim is not None:
                folders.add(commit.claim.secure())
        except OSError as error:
            commit.refuse(Withdrawn(error))
            continue
        try:
            publish_files(commit.files, folders)
            good.append(commit)
        except OSError as error:
            commit.fail(error)
    try:
        for folder in folders:
            sync_folder(folder)
    except OSError as error:
        for commit in good:
            _refuse(commit, error)
        return None
    moved = [commit for commit in good if _moves(commit)]
    events = [event for commit in moved for event in commit.events]
    try:
        append(events)
    except OSError as error:
        for commit in moved:
            commit.fail(error)
        return None
    for commit in moved:
        commit.succeed()
    return events


def _refuse(commit: _Commit, error: OSError) -> None:
    """The names of what was made did not become durable: a claim must not move its task's file."""
    if commit.claim is not None and not commit.claim.moved:
        commit.refuse(Withdrawn(error))
    else:
        commit.fail(error)


def _moves(commit: _Commit) -> bool:
    """Let a claim, durable by now, move its task's file; whether the commit goes on."""
    if commit.claim is None:
        return True
    try:
        commit.claim.move()
    except (Vanished, OSError) as error:
        commit.refuse(Withdrawn(error))
        return False
    return True


def publish_files(files: Sequence[NewFile], folders: set[str] | None = None) -> None:
    """Fsync and rename temporary files; their folders are fsynced here, or collected for the caller
    to do it."""
    mine: set[str] = set() if folders is None else folders
    for file in files:
        try:
            fd = opening.descriptor(file.temporary)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(file.temporary, file.path)
        except OSError:
            remove(file.temporary)
            raise
        mine.add(os.path.dirname(file.path))
    if folders is None:
        for folder in mine:
            sync_folder(folder)


def clone_name(layout: Layout) -> str:
    """Four letters that tell this clone's event files from those of other clones; made once,
    durably."""
    known = _written_name(layout)
    if known:
        return known
    os.makedirs(layout.state, mode=0o700, exist_ok=True)
    name = os.urandom(2).hex()
    temporary = f"{layout.writer}.{owners.fresh()}.tmp"
    try:
        # In the place of one that a power cut has left empty; of several commands at once the last
        # one names the clone.
        places.clear(layout, layout.writer)
        atomic.publish(layout.writer, name.encode() + b"\n", temporary, replace=True)
    except OSError:  # a disk that refuses: events get a file of their own
        return name
    return _written_name(layout) or name


def _written_name(layout: Layout) -> str:
    try:
        name = opening.read_bytes(layout.writer, 100).decode("ascii").strip()
    except (OSError, ValueError):
        return ""
    return name if name.isalnum() else ""
