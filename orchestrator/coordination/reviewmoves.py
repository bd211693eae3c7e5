"""What people move out of review/ with ``mv``: it was there at the last look, and lies in done/ or
failed/ now.

What was in review is remembered in ``.state/review.json``, so that a move while nobody watched is
seen at the next start. It is remembered until what follows from the move is made, or
(`coordination.reviews`) merged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice

from orchestrator.coordination import merges, runreviews
from orchestrator.coordination.news import Listener, Moved
from orchestrator.files import eventreader, journals, jsonlines, opening, results, scan
from orchestrator.files.identity import born, number_of
from orchestrator.files.layout import Layout, stem_of
from orchestrator.files.text import one_line
from orchestrator.model.status import Status
from orchestrator.records import dataclass
from orchestrator.store import smallfiles, verdicts
from orchestrator.store.transitions import Store


@dataclass(frozen=True, slots=True)
class Found:
    """``made`` are files that were placed in the inbox because of a verdict, ``merges`` those that
    a person has put into done/ and whose branch is to be merged: names."""

    made: tuple[str, ...] = ()
    merges: tuple[str, ...] = ()


RECENT = 400  # events among which the verdict on a task that has left review/ is looked for
SLACK = 2.0  # seconds by which the times of two files may disagree


_WORDS = {"task_approved": "approved", "task_rejected": "rejected"}


class ReviewMoves:
    """Looks at the names in review/, and at nothing else while they stay the same."""

    def __init__(self, layout: Layout, store: Store, listener: Listener) -> None:
        self.layout, self.store, self.listener = layout, store, listener
        self._known: Mapping[str, int] | None = (
            None  # names and by what their files are known; 0: not known
        )
        self._written: Mapping[str, int] | None = None
        self._merging: set[str] = set()  # names of what is merged, which is told by who merges

    def look(self) -> Found:
        """What has been decided since.  OSError if the disk refuses."""
        now = self._in_review()
        before = self._at_start() if self._known is None else self._known
        made: list[str] = []
        merges: list[str] = []
        waits: dict[str, int] = {}
        for name in sorted(before.keys() - now.keys()):
            if self._to_merge(name, before[name]):
                merges.append(name)
                waits[name] = before[name]
                self._merging.add(name)
            elif (placed := self._settled(name)) is None:
                waits[name] = before[name]
            else:
                made += [f"{task_id}.yaml" for task_id in placed]
                if self._known is not None and name not in self._merging:
                    self._tell(stem_of(name))
                self._merging.discard(name)
        known = {**now, **waits}
        if known != self._written:
            self._remember(known)
            self._written = known
        else:
            self._remember_still()
        self._known = known
        return Found(tuple(made), tuple(merges))

    def entered(self, name: str) -> None:
        """A task of ours has come to review/: somebody may move it before the next look."""
        if self._known is not None:
            self._known = {name: 0, **self._known}

    def _in_review(self) -> dict[str, int]:
        folder = self.layout.folder(Status.REVIEW)
        found = {}
        for _, name in scan.task_names(folder):
            try:
                path = f"{folder}/{name}"
                found[name] = number_of(os.lstat(path).st_ino, born(path))
            except FileNotFoundError:
                continue
        return found

    def _to_merge(self, name: str, known_by: int) -> bool:
        """Whether a person has said yes to a branch: the very file that was in review is in done/,
        and nothing is merged."""
        if merges.is_by_hand(self.layout, name):
            return True
        return runreviews.is_by_hand(self.store, name, known_by)

    def _settled(self, name: str) -> list[str] | None:
        task_id = stem_of(name)
        place = scan.locate(self.layout, task_id)
        if place is None or place[0] not in verdicts.KINDS:
            return []
        if place[0] is Status.DONE and results.is_request(self.layout, task_id):
            return []  # git brought it there
        placed = verdicts.settle(self.store, task_id, place[1], place[0])
        for made in placed or ():
            self.listener.hear(Moved(made, "follows", f"follows {task_id}"))
        return placed

    def _tell(self, task_id: str) -> None:
        """A verdict, by whatever verb or move. What has left review/ may also have run again since:
        the log knows."""
        for event in islice(eventreader.newest_first(self.layout), RECENT):
            kind, said = event.get("event"), str(event.get("summary") or "")
            if event.get("task_id") != task_id or kind not in ("task_finished", *_WORDS):
                continue
            if kind in _WORDS:
                self.listener.hear(Moved(task_id, _WORDS[kind], one_line(said, 200)))
            return

    def _at_start(self) -> Mapping[str, int]:
        """What is remembered, and what has come to review/ since that was written: the last watcher
        may have been killed."""
        try:
            written = os.lstat(self._path).st_mtime
        except OSError:
            return {}
        found = dict(self._remembered())
        for journal in journals.closed_since(self.layout, written - SLACK):
            place = scan.locate(self.layout, journal.task_id)
            if place is not None and journal.last.get("status") == Status.REVIEW:
                found.setdefault(place[1], number_of(journal.inode, journal.born))
        return found

    def _remembered(self) -> Mapping[str, int]:
        try:
            found = jsonlines.loads(opening.read_bytes(self._path, 1 << 24))
            named = found if isinstance(found, dict) else dict.fromkeys(found, 0)
            return {str(name): int(known_by) for name, known_by in named.items()}
        except (OSError, ValueError, TypeError):
            return {}

    def _remember_still(self) -> None:
        """The next watcher need not look at what ended before this moment."""
        with suppress(OSError):  # nothing lies there, or what is not ours
            os.utime(self._path, follow_symlinks=False)

    def _remember(self, known: Mapping[str, int]) -> None:
        smallfiles.replace(self.layout, self._path, known, "review")

    @property
    def _path(self) -> str:
        return f"{self.layout.state}/review.json"
