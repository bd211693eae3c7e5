"""Which replies count: whole ones that were made here, or that somebody has approved. What is wrong
with the others is said once."""

from __future__ import annotations

from functools import cached_property

from orchestrator.coordination.settings import Configured
from orchestrator.files import replies, returning, scan
from orchestrator.files.approval import busy_gate
from orchestrator.files.aside import Aside, Busy
from orchestrator.files.layout import Layout
from orchestrator.files.opening import lies
from orchestrator.files.replies import Reply
from orchestrator.model.gates import Gate
from orchestrator.model.status import Status
from orchestrator.store.transitions import Store


class ReplyTrust:
    """Judges the replies of one work directory.  ``complaints``: ids and words, until somebody
    tells them."""

    def __init__(self, layout: Layout, configured: Configured, store: Store) -> None:
        self._layout, self._configured, self._store = layout, configured, store
        self.complaints: list[tuple[str, str]] = []
        self._complained: dict[str, str] = {}

    def ready(self, task_id: str) -> tuple[list[Reply], bool]:
        """The replies of a task that count now, and whether there are some that are not whole
        yet."""
        found, wait = [], False
        for folder, name in replies.names_of(self._layout, task_id):
            quiet = self._configured.config.quiet
            reply = replies.look(self._layout, folder, name, quiet, self._origin.vouched)
            if reply is None:
                wait = wait or lies(self._layout.file(folder, name))
                continue
            gate = None if reply.problem else self.gate(reply)
            why = reply.problem or (gate.why if gate else "")
            if why:
                self.complain(reply, why)
                continue
            found.append(reply)
        return found, wait

    def gate(self, reply: Reply) -> Gate | None:
        """What keeps a reply from counting: git has brought it, and nobody has approved it."""
        origin, now = self._origin, self._store.clock.wall()
        from_git = self._configured.config.from_git
        if from_git == "run" or origin.vouched(reply):
            return None
        asked = reply.path, reply.fact, from_git
        try:
            return self._aside.ask(asked, lambda: origin.gate(reply, from_git, now))
        except Busy:
            return busy_gate()

    def unseen(self, task_id: str, place: tuple[Status, str]) -> str:
        """Why a reply does not bring the task back: its file is another one by now, and git has
        brought it, or another file has its name. Empty if it does. `Busy` if git has to be asked
        later."""
        folder, name = place
        if scan.namesake(self._layout, task_id):
            return "another file in inbox/ has the task's name: rename that file, or remove it"
        from_git, now = self._configured.config.from_git, self._store.clock.wall()
        try:
            why = self._aside.ask(
                (folder, name),
                lambda: self._returning.why_not(task_id, folder, name, from_git, now),
            )
        except FileNotFoundError:
            return "its file was moved meanwhile"
        return f"{why}; orchestrator retry {task_id}   if you mean it" if why else ""

    @cached_property
    def _returning(self) -> returning.Returning:
        return returning.Returning(self._layout, self._store.trust)

    @cached_property
    def _aside(self) -> Aside:
        return Aside()

    @cached_property
    def _origin(self) -> replies.Origin:
        return replies.Origin(self._store.trust)

    def complain(self, reply: Reply, why: str) -> None:
        """Say once what is wrong with a reply."""
        if self._complained.get(reply.path) != why:
            self._complained[reply.path] = why
            self.complaints.append((reply.task_id, f"{reply.folder}/{reply.name}: {why}"))
