"""What people do to task files with `mv` and `rm`: it counts, it is told, and it is in the log.

A verb that moves a file writes the same event under the same id (`model.event.move_step`), so
readers see it once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from orchestrator.coordination.life import Life
from orchestrator.coordination.news import About, Listener, Moved, Remark
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.files import scan
from orchestrator.files.layout import Layout, stem_of
from orchestrator.model.event import move_step
from orchestrator.model.status import MOVES, Status
from orchestrator.store import placing
from orchestrator.store.transitions import Store

ONE_BY_ONE = 20  # removed files that are told by name; more of them are told as a number
BY_MOVE = "mv to cancelled/"  # who stops a task whose running file somebody moved there


class ByHand:
    """Looks at files that came to a folder, or went from the inbox, without the watcher's doing."""

    def __init__(
        self,
        layout: Layout,
        store: Store,
        waitlist: Waitlist,
        running: Mapping[str, Life],
        listener: Listener,
    ) -> None:
        self.layout, self.store, self.waitlist = layout, store, waitlist
        self.running, self.listener = running, listener
        self._held: dict[str, int] = {}  # file name -> inode, of what lies in held/

    def begin(self) -> None:
        """Learn what lies in held/."""
        for name in scan.names(self.layout.folder(Status.HELD)):
            info = self._info(Status.HELD, name)
            self._held[name] = info.st_ino if info is not None else 0

    def arrived(self, status: Status, name: str) -> bool:
        """A file came to this folder by a rename; whether a running task is to be cancelled by
        that."""
        task_id, info = stem_of(name), self._info(status, name)
        if info is None or not task_id:
            return False
        inode = info.st_ino
        life = self.running.get(task_id)
        if life is not None:
            return not life.ours_to_move and inode == life.inode and self._of_running(life, status)
        if status is Status.INBOX:
            if self._held.pop(name, 0) == inode:
                self._told(Status.HELD, status, task_id, info)
        elif self.waitlist.inode(name) == inode:
            self.waitlist.inbox.forget(name)
            self.waitlist.tasks.statuses.moved(task_id, status)
            self._told(Status.INBOX, status, task_id, info)
            self.waitlist.tasks.needed(task_id)
        elif self._held.pop(name, 0) == inode and status is Status.CANCELLED:
            self._told(Status.HELD, status, task_id, info)
        if status is Status.HELD:
            self._held[name] = inode
        return False

    def missing(self, life: Life) -> bool:
        """The file of a running task is not in running/; whether that cancels it."""
        if life.ours_to_move:
            return False
        known_by = self.layout, life.name, life.inode, life.born
        status = placing.whereabouts(*known_by)
        if status is None and (other := placing.named_again(*known_by)):
            why = f"it is running: its file was renamed to {other}, and has its name again"
            self.listener.hear(Remark(About.RESTORED, life.id, why))
            return False
        if status is None and not life.gone_told:
            life.gone_told = True
            why = "its file was removed; it goes on, and the file comes back when it ends"
            self.listener.hear(
                Remark(About.WARNED, life.id, f"{why}; orchestrator cancel {life.id}   stops it")
            )
        return status is not None and self._of_running(life, status)

    def removed(self, names: Iterable[str]) -> None:
        """Files that have gone from the inbox: those that are nowhere else were removed."""
        gone = [name for name in names if self._removed(name)]
        for name in gone:
            task_id = stem_of(name)
            self._note("task_removed", task_id, f"@{int(self.store.clock.wall() * 1000)}", "")
            if len(gone) <= ONE_BY_ONE:
                self.listener.hear(Moved(task_id, "removed", "its file was removed"))
        if len(gone) > ONE_BY_ONE:
            self.listener.hear(Moved("", "removed", f"{len(gone)} files of waiting tasks"))

    def _removed(self, name: str) -> bool:
        task_id = stem_of(name)
        return task_id not in self.running and scan.locate(self.layout, task_id) is None

    def _of_running(self, life: Life, status: Status) -> bool:
        if status is Status.CANCELLED:
            return True
        if status is not Status.RUNNING and placing.put_back(
            self.layout, life.name, life.inode, life.born
        ):
            why = f"it is running: its file was moved to {status}/ and has been put back"
            self.listener.hear(
                Remark(About.RESTORED, life.id, f"{why}; orchestrator cancel {life.id}   stops it")
            )
        return False

    def _told(self, before: Status, status: Status, task_id: str, info: os.stat_result) -> None:
        kind, step = MOVES[status], move_step(info.st_ctime_ns)
        self._note(kind, task_id, step, str(status), f"{before} -> {status}")
        word = "released" if status is Status.INBOX else str(status)
        self.listener.hear(Moved(task_id, word, f"{before}/ -> {status}/"))

    def _note(self, kind: str, task_id: str, step: str, status: str, summary: str = "") -> None:
        said = {"task_id": task_id, "phase": "request", "status": status, "summary": summary}
        self.store.log.note(self.store.log.event(kind, task_id, step, **said))

    def _info(self, status: Status, name: str) -> os.stat_result | None:
        """Looked at once: a file that has just come may be gone at the next look."""
        try:
            return os.lstat(self.layout.file(status, name))
        except OSError:
            return None
