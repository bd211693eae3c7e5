"""What lies in the inbox and is no task: told once, so that nothing that somebody dropped is passed
over in silence."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Iterator

from orchestrator.files.layout import Layout
from orchestrator.model.names import NOTE, copy_of, is_draft, stem_of
from orchestrator.model.status import Status

MANY = 100  # names that are told one by one; of more of them only the number is told


class NonTasks:
    """Remembers what was told of; a name that went away and comes back is told of again.

    ``more`` counts those that were too many to be told by name, until somebody takes the number.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._told: set[str] = set()
        self.more = 0

    def keep(self, listed: Iterable[str]) -> None:
        """Forget what is not there any more."""
        self._told.intersection_update(listed)

    def news(self, listed: Iterable[str]) -> Iterator[tuple[str, str]]:
        """``(name, why it is no task)`` of those of the names that have not been told of."""
        for name in listed:
            if name in self._told:
                continue
            if len(self._told) >= MANY:
                self._count(name)
                continue
            why = explain(self._layout.file(Status.INBOX, name), name)
            if why:
                self._told.add(name)
                yield name, why

    def _count(self, name: str) -> None:
        """Without a look at the file: there may be hundreds of thousands."""
        if copy_of(name) or not (stem_of(name) or of_no_interest(name)):
            self._told.add(name)
            self.more += 1


def of_no_interest(name: str) -> bool:
    """Whether nobody takes it for a task: a draft, or a file that is ours."""
    return is_draft(name) or name.endswith(NOTE) or name == ".gitkeep"


def explain(path: str, name: str) -> str:
    """Why the file is no task, and what to do about it; empty if it is one, or of no interest."""
    copy = copy_of(name)
    if copy:
        return f"looks like a copy ({copy}) and is never run; if it is a task, rename it"
    if of_no_interest(name):
        return ""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return ""
    if stat.S_ISDIR(mode):
        return (
            "is a folder; only files directly in inbox/ are tasks: orchestrator import"
            f" {shlex.quote(f'work/inbox/{name}')}"
        )
    if stem_of(name):
        return ""
    end = (
        "its name ends in " + ext
        if (ext := os.path.splitext(name)[1])
        else "its name has no ending"
    )
    return f"is not run: {end}, and names of tasks end in .yaml, .yml or .md"
