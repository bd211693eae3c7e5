"""What becomes of replies: told by the attempt that follows, which they bring about if the task has
ended.

A running task goes on with another attempt when it ends; one that has ended goes back to the inbox;
one that waits is told when it starts. Files that are not whole yet are looked at again.
"""

from __future__ import annotations

import os
from dataclasses import replace

from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.coordination.replytrust import ReplyTrust
from orchestrator.coordination.settings import Configured
from orchestrator.errors import OrchestratorError
from orchestrator.files import journals, replies, results, scan
from orchestrator.files import steering as said
from orchestrator.files.aside import Busy
from orchestrator.files.layout import Layout, stem_of
from orchestrator.files.replies import Reply
from orchestrator.model.journal import Phase
from orchestrator.model.question import answer
from orchestrator.model.status import ENDED, FOLDERS, Status
from orchestrator.store import moves, replying, steering
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store

LOOK = 0.5  # seconds between looks whether a running tool has taken what it was told
AGAIN = 0.1  # seconds until a file that is not whole yet is looked at again
SELDOM = 1.0  # the same, if somebody takes longer
RESTS = 2.0  # seconds after which somebody is taken to be still at it
SLICE = 0.02  # seconds for looking in a pass


class Replies:
    """The replies of one work directory."""

    def __init__(self, layout: Layout, configured: Configured, store: Store) -> None:
        self.layout, self.store = layout, store
        self._trust = ReplyTrust(layout, configured, store)
        self._due: dict[str, float] = {}  # ids that have replies, and when (monotonic) to look
        self._since: dict[str, float] = {}  # when those that are not whole were first seen
        self._stamps: dict[Status, int] = {}

    # -- finding them
    # ----------------------------------------------------------------------------------------------

    def hint(self, name: str) -> bool:
        """A file of this name has come; whether it is a reply."""
        task_id = replies.replied_to(name)
        if task_id:
            self._due[task_id] = 0.0
        return bool(task_id)

    def scan(self) -> None:
        """The authoritative look: what lies in folders that have changed."""
        for folder in FOLDERS:
            try:
                stamp = os.stat(self.layout.folder(folder)).st_mtime_ns
            except OSError:
                continue
            if stamp != self._stamps.get(folder):
                self._stamps[folder] = stamp
                for task_id, _, _ in replies.listed(self.layout, (folder,)):
                    self._due.setdefault(task_id, 0.0)

    @property
    def resting(self) -> bool:
        """Whether some are to be looked at that nobody is still writing."""
        now = self.store.clock.monotonic()
        return any(now - self._since.get(task_id, now) < RESTS for task_id in self._due)

    def next_look(self) -> list[float]:
        """Moments (monotonic) of further looks."""
        return [min(self._due.values())] if self._due else []

    # -- telling them
    # ----------------------------------------------------------------------------------------------

    def look(self, listener: Listener) -> list[str]:
        """See to those that came, for so long that others need not wait; names of the files that
        are in the inbox again by that."""
        monotonic = self.store.clock.monotonic
        now = monotonic()
        back: list[str] = []
        for task_id in [task_id for task_id, due in self._due.items() if due <= now]:
            if monotonic() > now + SLICE:
                break
            del self._due[task_id]
            ready, wait = self._trust.ready(task_id)
            place = scan.locate(self.layout, task_id)
            if place is not None and place[0] is Status.RUNNING and self._give(task_id, ready):
                self._due.setdefault(task_id, now + LOOK)
            if place is not None and place[0] in ENDED and ready:  # else told as it starts, or ends
                try:
                    if why := self._trust.unseen(task_id, place):
                        self._trust.complain(ready[0], why)
                    else:
                        back += self._again(task_id, place[1], ready)
                except (OrchestratorError, Busy):  # somebody works on it
                    wait = True
            self._look_again(task_id, wait)
        for name in back:
            listener.hear(Remark(About.REPLIED, stem_of(name)))
        for task_id, text in self._trust.complaints:
            listener.hear(Remark(About.WARNED, task_id, text))
        self._trust.complaints.clear()
        return back

    def _look_again(self, task_id: str, wait: bool) -> None:
        now = self.store.clock.monotonic()
        if wait:
            rests = now - self._since.setdefault(task_id, now) > RESTS
            self._due[task_id] = now + (SELDOM if rests else AGAIN)
        else:
            self._since.pop(task_id, None)

    def send(self, task_id: str) -> str:
        """See to the replies of one task now. Why that is left to a watcher: somebody works on the
        task; empty if it is done."""
        place = scan.locate(self.layout, task_id)
        ready, _ = self._trust.ready(task_id)
        if place is not None and place[0] in ENDED and ready:
            try:
                if why := self._trust.unseen(task_id, place):
                    return why
                self._again(task_id, place[1], ready)
            except OrchestratorError as error:
                return error.message
            except Busy:
                return "a git command is running in this project"
        elif place is not None and place[0] is Status.RUNNING:
            self._give(task_id, ready)
        return ""

    def _give(self, task_id: str, ready: list[Reply]) -> bool:
        """Tell a tool that runs and can be told; whether there is something that it has not taken
        yet."""
        journal = journals.of(self.layout, task_id) if ready else None
        if journal is None or not said.takes_words(self.layout, journal):
            return False
        left = False
        for reply in ready:
            try:
                if steering.give(self.store, journal, reply):
                    replying.discard(self.store, reply)
                else:
                    left = True
            except (OSError, ValueError) as error:  # then it is told by the next attempt
                self._trust.complain(reply, f"it cannot be told while it runs: {error}")
        return left

    def at_start(self, entry: Entry) -> None:
        """The attempt that is about to start is told what was said meanwhile."""
        task_id = entry.journal.task_id
        ready = self._chosen(task_id, self._trust.ready(task_id)[0])
        self._take(entry, ready, "delivered as it starts")

    def at_end(self, entry: Entry) -> bool:
        """Whether an attempt that has ended is followed by another, because somebody has said
        something."""
        steering.settle(self.store, entry)
        number = entry.journal.next_attempt
        ready, wait = self._trust.ready(entry.journal.task_id)
        self._look_again(entry.journal.task_id, wait)
        self._take(entry, ready, f"attempt {number} follows at once")
        return any(record["to"] == number for record in entry.journal.replies)

    def approve(self, task_id: str) -> list[str]:
        """A person's yes to replies that git brought: they count, and are seen to.  Their names."""
        found = []
        for folder, name in replies.names_of(self.layout, task_id):
            reply = replies.look(self.layout, folder, name)
            if reply is not None and not reply.problem and self._trust.gate(reply) is not None:
                found.append(reply)
        place = scan.locate(self.layout, task_id)
        if found and place is not None:
            self.store.judged(task_id, place[0], "its agent gets the reply that came through git")
        for reply in found:
            self.store.vouch([reply.fact])
        if found:
            self.send(task_id)
        return [reply.name for reply in found]

    def _again(self, task_id: str, name: str, ready: list[Reply]) -> list[str]:
        """A task that has ended goes back to the inbox, and its next attempt is told. A copy that
        was told already goes."""
        entry = self.store.ledger.open(task_id)
        waits = entry is None
        if entry is not None:
            with entry:
                if not entry.lock() or entry.journal.phase is Phase.BLOCKED:
                    raise OrchestratorError(f"{task_id} is busy")
                number = entry.journal.next_attempt
                for reply in self._chosen(task_id, ready):
                    replying.tell(self.store, entry, reply, f"starts attempt {number}")
                waits = any(record["to"] == number for record in entry.journal.replies)
        if waits:
            moves.retry(self.store, task_id, by="reply")
        for reply in ready if entry is not None else ():
            replying.discard(self.store, reply)
        return [name] if waits else []

    def _chosen(self, task_id: str, ready: list[Reply]) -> list[Reply]:
        """The same; what is the number of an option says which, if the last turn ended with a
        question."""
        if not ready:
            return []
        question = str(results.read(self.layout, task_id).get("question") or "")
        return [replace(reply, text=answer(question, reply.text)) for reply in ready]

    def _take(self, entry: Entry, ready: list[Reply], summary: str) -> None:
        for reply in ready:
            replying.tell(self.store, entry, reply, summary)
            replying.discard(self.store, reply)
