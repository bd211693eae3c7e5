"""Being told that something changed. A notification is only a hint: nothing is believed but the
listing.

Linux: one inotify instance (watchdog's) for a handful of folders, none of them recursive, so that
logs and the ledger cost no watches. Only arrivals are asked for (``IN_MOVED_TO``,
``IN_CLOSE_WRITE``), and removals where a person's ``rm`` is to count at once. Asking for the other
half of a move as well (``IN_MOVED_FROM``) makes watchdog hold every later event back for half a
second.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver

from orchestrator.coordination.hints import Hints
from orchestrator.files import holds
from orchestrator.files.layout import Layout
from orchestrator.model.status import FOLDERS, MOVES, Status

try:
    from watchdog.observers.inotify import InotifyEmitter
except (ImportError, OSError):  # not Linux: the timer's listing does it all
    InotifyEmitter = None  # type: ignore[assignment,misc]

IN_CLOSE_WRITE, IN_MOVED_TO, IN_DELETE, IN_DELETE_SELF, IN_ONLYDIR = (
    0x8,
    0x80,
    0x200,
    0x400,
    1 << 24,
)
REMOVED = (Status.INBOX, holds.HELD, holds.BEFORE)  # folders in which a removal says something
SHARED = "@"  # where tools are held for all projects of this person
OPTIONAL = ("tools", "agents", "templates", "schedules", holds.BEFORE, SHARED)
# Where people move files to, and "", the work directory itself.
WATCHED = (str(Status.RUNNING), *map(str, MOVES), "", *OPTIONAL)
# Of these only replies are of interest: tasks come there by our own doing, and there may be very
# many.
REPLIES = tuple(str(status) for status in FOLDERS if str(status) not in WATCHED)

PATIENCE = 2.0  # seconds for the observer's threads to end


class _Arrivals(FileSystemEventHandler):
    """Passes paths on and does nothing else: an exception here would silently end watchdog's
    thread."""

    def __init__(self, hints: Hints, replies: bool = False) -> None:
        self._hints, self._replies = hints, replies

    def dispatch(self, event: FileSystemEvent) -> None:
        try:
            if not event.is_directory and (not self._replies or ".reply" in str(event.src_path)):
                # A rename into the folder arrives as "created": with our mask there is no other
                # kind of creation.
                path = os.fsdecode(event.src_path)
                self._hints.from_thread(path, event.event_type == "created")
        except Exception:
            logging.getLogger(__name__).exception("hint")


if InotifyEmitter is not None:

    class _ArrivalEmitter(InotifyEmitter):
        """Asks the kernel for arrivals, and where that matters for removals."""

        def get_event_mask_from_filter(self) -> Any:
            mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE_SELF | IN_ONLYDIR
            if os.path.basename(os.fsdecode(self.watch.path)) in REMOVED:
                mask |= IN_DELETE
            return mask


class _Overflow(logging.Handler):
    """watchdog tells of a queue overflow only by a log line."""

    def __init__(self, hints: Hints) -> None:
        super().__init__(logging.WARNING)
        self._hints = hints

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._hints.overflow()


class Arrivals:
    """Watches the folders that matter, and leaves what it hears with the hints, from threads of its
    own."""

    def __init__(self, layout: Layout, hints: Hints) -> None:
        self._layout, self._hints = layout, hints
        self._observer: BaseObserver | None = None
        self._overflow = _Overflow(hints)
        self._inodes: dict[str, int] = {}

    def start(self) -> str:
        """Begin; returns why there are no notifications, empty if there are."""
        if InotifyEmitter is None:
            return "no inotify on this system"
        logger = logging.getLogger("watchdog")
        logger.addHandler(self._overflow)
        logger.propagate = False
        self._observer = BaseObserver(_ArrivalEmitter)
        try:
            for name in (*WATCHED, *REPLIES):
                if name not in OPTIONAL or os.path.isdir(self._path(name)):
                    self._watch(name)
            self._observer.start()
        except (OSError, RuntimeError) as error:  # no room for one more thread is a RuntimeError
            self.stop()
            return f"inotify: {getattr(error, 'strerror', None) or error}"
        return ""

    def _watch(self, name: str) -> None:
        assert self._observer is not None
        path = self._path(name)
        self._inodes[name] = os.stat(path).st_ino
        arrivals = _Arrivals(self._hints, name in REPLIES)
        self._observer.schedule(arrivals, path, recursive=False)

    def _path(self, name: str) -> str:
        return holds.shared_folder(self._layout) if name == SHARED else self._layout.folder(name)

    def refresh(self) -> bool:
        """Watch folders again that were removed and made anew; whether there were any."""
        if self._observer is None:
            return False
        again = False
        for name in (*WATCHED, *REPLIES):
            try:
                path = self._path(
                    name
                )  # a project may be listed, or not any more, while it is watched
                if os.stat(path).st_ino == self._inodes.get(name):
                    continue
                for watch in [
                    watch for watch in self._observer.emitters if watch.watch.path == path
                ]:
                    self._observer.unschedule(watch.watch)
                self._watch(name)
                again = True
            except (OSError, KeyError):
                continue
        return again

    def stop(self) -> None:
        if self._observer is not None and self._observer.is_alive():
            self._observer.stop()
            # An observer that is stopped right after its start may never end; its threads die with
            # the process.
            self._observer.join(PATIENCE)
        self._observer = None
        logger = logging.getLogger("watchdog")
        logger.addHandler(
            logging.NullHandler()
        )  # what its threads still say while they end is of no interest
        logger.removeHandler(self._overflow)
