"""When the settings' files have changed: whether that counts now, or waits for a person."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchestrator.coordination.life import Life
from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.coordination.settings import AT_START, Settings
from orchestrator.files import scan
from orchestrator.files.aside import Aside, Busy
from orchestrator.files.layout import Layout
from orchestrator.model import ids

AGAIN = 0.2  # seconds after which git is asked again for an answer that it has not given
ASKING = "nothing starts: git has not said yet whether it brought the settings that have changed"


class Changes:
    """Looks at the settings' files. While an attempt runs, what changed in them may be the
    attempt's doing.

    Whether git brought them is asked beside the loop; as long as there is no answer (``asking``),
    nothing starts.
    """

    def __init__(self, layout: Layout, settings: Settings, running: Mapping[str, Life]) -> None:
        self.layout, self.settings, self.running = layout, settings, running
        self.due = math.inf  # when (the loop's time) to look whether they have settled
        self.exposed = False  # an attempt runs, or has run since they were looked at
        self.asking = ""
        self._aside = Aside()

    @property
    def acting(self) -> bool:
        """Whether an attempt runs. One that has ended, and keeps its slot until that is judged,
        changes nothing any more."""
        return any(life.in_slot and not life.ending for life in self.running.values())

    def look(self, now: float, whole: bool) -> bool:
        """Whether they are to be read: they differ, and stand still or were told to be ``whole``.

        If nothing runs after this, nothing that has run can have changed them unnoticed.
        """
        self.due = math.inf
        if self.settings.differ():
            if not whole and not self.settings.settled():
                self.due = now + self.settings.config.quiet
                return False
            return True
        self.asking = ""
        self.settle()
        return False

    def settle(self) -> None:
        """They are as they were read; once nothing runs, whatever comes next is a person's."""
        if self.settled():
            self.exposed = False
            self.settings.quiet(self._others_run())

    @property
    def pending(self) -> bool:
        """Whether they are to be looked at again at a moment that is known."""
        return self.due < math.inf

    def settled(self) -> bool:
        """Whether attempts may have changed them, and nothing runs any more that could change them
        again."""
        return self.exposed and not self.acting and not self.pending

    def expose(self) -> None:
        """An attempt begins: from here on changes may be its doing."""
        if not self.exposed:
            self.settings.exposed()
        self.exposed = True

    def read(self, listener: Listener, now: float) -> list[str]:
        """Take them over, or tell what they would change; the names of what counts from now on.

        If git does not answer at once: nothing yet, and they are to be looked at again soon.
        """
        before = self.settings.problem
        theirs = self.exposed or self._others_run()
        always = self.settings.config.reload == "always"
        judged = self.settings.stamp()
        take = self.settings.may_take(theirs, always)
        brought = ""
        if take is None:
            asked = judged, always
            try:
                brought = self._aside.ask(asked, lambda: self.settings.brought(always))
            except Busy:
                self.asking, self.due = ASKING, now + AGAIN
                return []
            take = not brought
        self.asking = ""
        changed = list(self.settings.read(take, judged, brought))
        if self.settings.differ():
            self.due = now + AGAIN
        problem = self.settings.problem
        if problem not in ("", before):
            about = About.HELD_SETTINGS if self.settings.held else About.MISCONFIGURED
            listener.hear(Remark(about, "", problem))
        elif changed or (before and not problem):
            text = ", ".join(_at_start(name) for name in changed)
            listener.hear(Remark(About.CONFIGURED, "", text or "as they were"))
        return changed

    def _others_run(self) -> bool:
        """Whether `orchestrator run` is at a task."""
        mine = {ids.key(task_id) for task_id in self.running}
        return any(
            name.removesuffix(".jsonl") not in mine for name in scan.names(self.layout.active)
        )


def _at_start(name: str) -> str:
    return f"{name} (at the next start)" if name in AT_START else name
