"""What is done about a disk that refuses, and about folders that somebody removed."""

from __future__ import annotations

import os

from orchestrator.coordination.card import OwnCard
from orchestrator.coordination.endedattempts import written_again
from orchestrator.coordination.health import Health, takes_writes
from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.coordination.notes import Notes
from orchestrator.coordination.runningtasks import RunningTasks
from orchestrator.coordination.takeover import Takeover
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.distributors.registry import Distributors
from orchestrator.errors import StoreFault
from orchestrator.files.layout import Layout
from orchestrator.model.status import Status
from orchestrator.store import places
from orchestrator.store.locks import WatcherLock
from orchestrator.store.transitions import Store

NEEDED = (Status.INBOX, Status.RUNNING, Status.DONE)


class Repairs:
    """Looks whether work can go on, and takes up what was broken off."""

    def __init__(
        self,
        layout: Layout,
        store: Store,
        lock: WatcherLock,
        health: Health,
        distributors: Distributors,
        runningtasks: RunningTasks,
        takeover: Takeover,
        waitlist: Waitlist,
        card: OwnCard,
        notes: Notes,
        listener: Listener,
    ) -> None:
        self.layout, self.store, self.lock = layout, store, lock
        self.health, self.distributors = health, distributors
        self.runningtasks, self.takeover, self.waitlist = runningtasks, takeover, waitlist
        self.card, self.notes, self.listener = card, notes, listener

    def tell(self) -> None:
        """Others are told what the disk refuses, or that it works again."""
        turned, self.health.turned = self.health.turned, []
        for fault in turned:
            if fault:
                self.notes.write("store_failed", summary=fault)
            else:
                self.notes.write("store_recovered", summary="tasks start again")
        if turned:
            try:
                self.card.write()
            except OSError:
                pass

    def look(self) -> None:
        """A trial whether work can go on; and whether the folders are all there."""
        if self.health.due:
            self._try()
        if (why := self.distributors.fault()) and not self.health.fault:
            self.health.failed(StoreFault(why))
        self.store.log.look()
        places.check_folders(self.layout)
        folders = (self.layout.active, *(self.layout.folder(name) for name in NEEDED))
        if not all(map(os.path.isdir, folders)) or places.spoilt(self.layout):
            self._rebuild()

    def _try(self) -> None:
        if self.distributors.fault() or not takes_writes(self.store):
            return
        self.health.recovered()
        # Whatever an error broke off is taken up, by the same steps as after a crash.
        self.takeover.complete_runs()
        self.runningtasks.adopt()
        self.waitlist.list(everything=True)

    def _rebuild(self) -> None:
        """Somebody removed folders (git clean, rm): make them again and write down what is still
        known."""
        made = self.store.prepare()
        if (
            ".state/active" in made
            or ".state" in made
            or not os.path.exists(self.layout.watcher_card)
        ):
            self.lock.release()
            self.lock.acquire()
            self.card.write()
            self._write_journals()
        if made:
            words = f"made again: {', '.join(sorted(made))} (removed or replaced while watching)"
            self.listener.hear(Remark(About.TIDIED, "", words))

    def _write_journals(self) -> None:
        """Those that somebody has removed, from what is remembered of them."""
        for life in self.runningtasks.running.values():
            if life.records and not os.path.exists(self.layout.journal(life.id)):
                written_again(self.store, life.id, life.records).close()
