"""Whether a file of the inbox may count, for the watcher: the rules are those of `files.approval`,
and what is wrong with a file is told by `coordination.complaints`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.clock import Clock
from orchestrator.coordination.settings import Settings
from orchestrator.files import origin
from orchestrator.files.approval import Approval, Arrived, Verdict, named_files
from orchestrator.files.aside import Aside
from orchestrator.files.identity import identity_of
from orchestrator.files.layout import Layout, stem_of
from orchestrator.files.requests import Content
from orchestrator.model.status import Status
from orchestrator.model.task import Task
from orchestrator.store.transitions import Store


class InboxTrust:
    """Judges files of one inbox, and remembers what this machine may vouch for."""

    def __init__(self, layout: Layout, store: Store, settings: Settings, clock: Clock) -> None:
        self._layout, self._store, self._settings, self._clock = layout, store, settings, clock
        self._pending: list[Arrived] = []
        self._indexes = origin.indexes(layout.folder(Status.INBOX))
        self.reset()

    def reset(self) -> None:
        """Trust is kept elsewhere now."""
        self._approval = Approval(self._layout, self._store.trust)
        self._aside = Aside()
        self._approval.vouched.news()  # what was vouched for before is none

    def arrived(self, name: str, content: Content, tasks: Iterable[Task]) -> Arrived | None:
        """What has to be known to judge a file that was read; None if another one lies there by
        now."""
        try:
            identity = identity_of(f"{self._layout.work}/inbox/{name}")
        except OSError:
            return None
        if identity[0] != content.stat.st_ino:
            return None
        config = self._settings.config
        named = named_files(tasks, config) if config.from_git == "trusted" else ()
        return Arrived(stem_of(name), name, content.sha256, identity, named)

    def judge(self, arrived: Arrived) -> Verdict | None:
        """Whether it may count; None while a git command is at work: ask again soon."""
        config, approval, now = self._settings.config, self._approval, self._clock.wall()
        if approval.counts(arrived, config.from_git) or approval.apart():
            return Verdict()
        asked = arrived, config.from_git, config.trusted
        try:
            verdict = self._aside.ask(asked, lambda: approval.asked(*asked, now))
        except origin.Busy:
            return None
        if verdict.mine:
            self._pending.append(arrived)
            self._approval.vouched.also.add(arrived.fact)
        return verdict

    def news(self) -> set[str]:
        """Ids that somebody else has vouched for since the last call."""
        return self._approval.vouched.news()

    def git_moved(self) -> bool:
        """Whether a repository that holds the inbox has changed what it tracks since the last
        call."""
        before = self._indexes
        self._indexes = origin.indexes(self._layout.folder(Status.INBOX))
        return self._indexes is None or self._indexes != before

    def flush(self, wanted: Callable[[str], bool]) -> None:
        """Write down what was here before git tracked it, if it is still ``wanted``: what has
        started needs it no more."""
        if self._pending:
            pending, self._pending = self._pending, []
            self._store.vouch(item.fact for item in pending if wanted(item.id))
