"""Watching that git does not come to track what this machine believes: a pull could write it."""

from __future__ import annotations

from orchestrator.files import origin, trust
from orchestrator.files.aside import Aside, Busy
from orchestrator.files.layout import Layout


class StateGuard:
    """``problem`` says why nothing is claimed; empty while git tracks nothing of what is ours
    alone."""

    def __init__(self, layout: Layout) -> None:
        self._layout, self._tracked = layout, origin.Tracked(trust.believed_below(layout))
        self._aside = Aside()
        self.problem = ""

    def look(self) -> bool:
        """Ask git again if its index has changed; whether the answer is another one."""
        try:
            before, path = self.problem, self._aside.ask("", self._tracked.look)
        except Busy:
            return False
        self.problem = ""
        if path:
            shown = self._layout.shown(path)
            self.problem = (
                f"nothing starts: git tracks {shown}; git rm -r --cached"
                f" {origin.top_of(shown)}, and commit that"
            )
        return self.problem != before
