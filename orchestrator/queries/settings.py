"""The settings that a project has now, for who only reads."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError
from orchestrator.files import configuration, schemas
from orchestrator.files.layout import Layout
from orchestrator.tools import specs

if TYPE_CHECKING:
    from orchestrator.files.documents import Document
    from orchestrator.model.config import Config
    from orchestrator.tools.specs import Toolbox


class Settings:
    """The settings of one work directory as one look finds them: each is read when it is first
    asked for, and once."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @cached_property
    def _document(self) -> Document:
        return configuration.read_config(self.layout)

    @cached_property
    def config(self) -> Config | None:
        """What is configured; None if that cannot be read."""
        try:
            return configuration.config_of(self.layout, self._document)
        except OrchestratorError:
            return None

    def may_set(self, key: str) -> bool:
        """Whether the configuration may have this key; False is sure."""
        return configuration.may_set(self.layout, key)

    @cached_property
    def wrong(self) -> OrchestratorError | None:
        """Why no watcher could start with them; None if nothing is wrong with orchestrator.yaml."""
        try:
            configuration.config_of(self.layout, self._document, schemas.check)
        except OrchestratorError as error:
            return error
        return None

    @cached_property
    def toolbox(self) -> Toolbox:
        """The tools, each of which is read when it is first asked for."""
        return specs.load_tools(self.layout, lazily=True)

    @cached_property
    def changed(self) -> int | None:
        """When the last of them was written, in nanoseconds since the epoch; None if that is not
        known."""
        kinds = (self.layout.tools, self.layout.agents, self.layout.templates)
        folders = [path for path in kinds if os.path.isdir(path)]
        try:
            files = [entry.path for folder in folders for entry in os.scandir(folder)]
            paths = [self.layout.config, *folders, *files]
            return max(os.lstat(path).st_mtime_ns for path in paths)
        except OSError:
            return None
