"""What the watcher goes by: orchestrator.yaml, the agents' profiles, the tools.  Read again when one of their files changes.

What cannot be read changes nothing: the former settings stay in force until the files are right again.  An attempt that runs keeps
what it began with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import fields

from orchestrator.errors import OrchestratorError
from orchestrator.files.documents import Document, Problem
from orchestrator.files.layout import Layout, is_draft
from orchestrator.files.scan import names
from orchestrator.files.text import one_line
from orchestrator.model.config import Config
from orchestrator.tools.routing import agent_names
from orchestrator.tools.specs import Toolbox

FORMER, LEFT_OUT = "; the former settings stay in force", "; this tool is left out"
AT_START = ("distributor", "notify")  # what is built once, when the watcher starts

Load = Callable[[], tuple[Config, Toolbox]]
Stamp = tuple[tuple[str, int, int, int], ...]


class Settings:
    """``load`` reads and checks them; the first time here, and then whatever it raises is raised."""

    def __init__(self, layout: Layout, load: Load) -> None:
        self._layout, self._load = layout, load
        self._stamp = self._seen = self._files()  # before reading: what changes meanwhile is read again
        self.config, self.toolbox = load()
        self.agents = agent_names(self.config, self.toolbox.tools)
        self.problem = self._broken(self.toolbox.broken, LEFT_OUT)

    def changed(self) -> bool:
        """Whether the files are others than those last read, and no longer changing: the same as at the last call."""
        now = self._files()
        settled, self._seen = now == self._seen, now
        return settled and now != self._stamp

    @property
    def pending(self) -> bool:
        """Whether the last call of `changed` saw files that were not read yet."""
        return self._seen != self._stamp

    def read(self) -> list[str]:
        """Read them again if they have changed; the names of the settings that are others now.

        ``problem`` says what is wrong, where, and what follows; after a failure everything is as it was.
        """
        now = self._files()
        if now == self._stamp:
            return []
        self._stamp = self._seen = now
        try:
            config, toolbox = self._load()
        except OrchestratorError as error:
            self.problem = one_line(error.message + (f" - {error.hint}" if error.hint else ""), 300) + FORMER
            return []
        known = {path for path, _, _ in self.toolbox.broken}
        news = [item for item in toolbox.broken if item[0] not in known]
        self.problem = self._broken(news or toolbox.broken, FORMER if news else LEFT_OUT)
        if news:
            return []
        before, self.config, self.toolbox = (self.config, self.toolbox), config, toolbox
        self.agents = agent_names(config, toolbox.tools)
        found = [field.name for field in fields(Config) if getattr(before[0], field.name) != getattr(config, field.name)]
        was, now_ = before[1].tools, toolbox.tools
        return found + [f"tool {name}" for name in sorted({*was, *now_}) if was.get(name) != now_.get(name)]

    def _broken(self, broken: Sequence[tuple[str, Document, list[Problem]]], consequence: str) -> str:
        for path, _, problems in broken:
            first = problems[0]
            return one_line(f"{self._layout.shown(path)}:{first.line}:{first.column}: {first.message}", 300) + consequence
        return ""

    def _files(self) -> Stamp:
        """What tells whether any of the files has changed.  Their modes count: others must not be able to write them."""
        paths = [self._layout.config]
        for folder in (self._layout.tools, self._layout.agents):
            paths += [f"{folder}/{name}" for name in sorted(names(folder)) if not is_draft(name)]
        found = []
        for path in paths:
            try:
                info = os.stat(path)
                found.append((path, info.st_ino, info.st_mtime_ns, info.st_ctime_ns))
            except OSError:
                found.append((path, 0, 0, 0))
        return tuple(found)
