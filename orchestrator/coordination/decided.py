"""Verdicts by ``mv`` of tasks that are not to be merged: what was in review at the last look, and lies in done/ or failed/ now.

What was in review is remembered in ``.state/review.json``, so that a move while nobody watched is seen at the next start.
"""

from __future__ import annotations

import json
import os

from orchestrator.coordination.life import Tell
from orchestrator.files import opening, owners, results, scan
from orchestrator.files.layout import Layout, stem_of
from orchestrator.model.status import Status
from orchestrator.store import atomic, verdicts
from orchestrator.store.transitions import Store


class Decided:
    """Looks at the names in review/, and at nothing else while they stay the same."""

    def __init__(self, layout: Layout, store: Store, tell: Tell) -> None:
        self.layout, self.store, self.tell = layout, store, tell
        self._known: set[str] | None = None

    def look(self) -> list[str]:
        """The names of the files that were placed in the inbox because of a verdict.  OSError if the disk refuses."""
        now = {name for _, name in scan.task_names(self.layout.folder(Status.REVIEW))}
        before = self._remembered() if self._known is None else self._known
        made: list[str] = []
        waits: set[str] = set()
        for name in sorted(before - now):
            placed = self._settled(name)
            if placed is None:
                waits.add(name)
            else:
                made += [f"{task_id}.yaml" for task_id in placed]
        known = now | waits
        if known != before or (self._known is None and known):
            self._remember(known)
        self._known = known
        return made

    def _settled(self, name: str) -> list[str] | None:
        task_id = stem_of(name)
        place = scan.locate(self.layout, task_id)
        if place is None or place[0] not in verdicts.KINDS:
            return []
        if place[0] is Status.DONE and results.awaits_merge(self.layout, task_id):
            return []  # a request to merge (`coordination.verdicts`), and then the verb makes what follows
        placed = verdicts.settle(self.store, task_id, place[1], place[0])
        for made in placed or ():
            self.tell("moved", made, word="follows", text=f"follows {task_id}")
        return placed

    def _remembered(self) -> set[str]:
        try:
            return {str(name) for name in json.loads(opening.read_bytes(self._path, 1 << 24))}
        except (OSError, ValueError, TypeError, RecursionError):
            return set()

    def _remember(self, known: set[str]) -> None:
        temporary = f"{self.layout.state}/tmp/{owners.own()}.review"
        atomic.remove(temporary)
        os.makedirs(os.path.dirname(temporary), mode=0o700, exist_ok=True)
        atomic.publish(self._path, json.dumps(sorted(known)).encode(), temporary, replace=True)

    @property
    def _path(self) -> str:
        return f"{self.layout.state}/review.json"
