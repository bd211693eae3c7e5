"""The names in the inbox: the listing is the truth, whatever was told of single files."""

from __future__ import annotations

import os
from collections.abc import Iterable

from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.coordination.nontasks import NonTasks
from orchestrator.files.layout import Layout, is_draft, stem_of
from orchestrator.files.scan import names
from orchestrator.model.status import Status
from orchestrator.store.transitions import Store


class Listing:
    """Lists the folder, and tells once of what lies there and is no task."""

    def __init__(self, layout: Layout, store: Store, listener: Listener) -> None:
        self._folder = layout.folder(Status.INBOX)
        self._store, self._listener = store, listener
        self._nontasks = NonTasks(layout)
        self._stamp = 0  # the folder's time at the last listing

    def take(self) -> set[str]:
        """The names that tasks and runs may have."""
        try:
            self._stamp = os.stat(self._folder).st_mtime_ns
        except FileNotFoundError:
            self._store.prepare()
        listed = names(self._folder)
        present = {name for name in listed if stem_of(name) and not is_draft(name)}
        self._nontasks.keep(listed)
        self.no_tasks(name for name in listed if name not in present)
        more, self._nontasks.more = self._nontasks.more, 0
        if more:
            why = f"{more} more files in inbox/ are not tasks: orchestrator doctor"
            self._listener.hear(Remark(About.IGNORED, "", why))
        return present

    def outdated(self) -> bool:
        """Whether names have come or gone since the last listing."""
        try:
            return os.stat(self._folder).st_mtime_ns != self._stamp
        except FileNotFoundError:
            return True

    def no_tasks(self, listed: Iterable[str]) -> None:
        """These are not run."""
        for name, why in self._nontasks.news(listed):
            self._listener.hear(Remark(About.IGNORED, name, why))
