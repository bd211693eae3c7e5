"""Large runs are expanded in a thread, so that the loop goes on meanwhile; small ones are not worth
it."""

from __future__ import annotations

import threading
from queue import SimpleQueue

from orchestrator.coordination.groups import Groups
from orchestrator.coordination.intake import RunFile
from orchestrator.store.transitions import Store

LARGE = 200  # tasks of a run
LOOK = 0.05  # seconds between two looks at whether one has ended
Ended = tuple[str, RunFile, Exception | None]


class Expansions:
    """A crash in the middle is made good by `store.runs.complete`; so the thread keeps nobody from
    leaving."""

    def __init__(self, groups: Groups, store: Store) -> None:
        self._groups, self._store = groups, store
        self._names: set[str] = set()
        self._done: SimpleQueue[Ended] = SimpleQueue()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __bool__(self) -> bool:
        return bool(self._names)

    def begin(self, name: str, look: RunFile) -> None:
        """Expand the run in this file of the inbox."""
        threading.Thread(target=self._work, args=(name, look), daemon=True, name="expand").start()
        self._names.add(name)

    def ended(self) -> list[Ended]:
        """Those that have ended since the last call: the file's name, what it said, and what was
        raised."""
        found = []
        while not self._done.empty():
            found.append(self._done.get())
        self._names -= {name for name, _, _ in found}
        return found

    def now(self, name: str, look: RunFile) -> Ended:
        """Expand a small one here; how it ended."""
        try:
            self._groups.accept(self._store, name, look)
        except Exception as error:  # told by who asks how it ended
            return name, look, error
        return name, look, None

    def _work(self, name: str, look: RunFile) -> None:
        self._done.put(self.now(name, look))
