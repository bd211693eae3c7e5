"""Opening the write side for a verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.app import App
from orchestrator.errors import Unusable
from orchestrator.files import configuration, permissions, schemas
from orchestrator.store.eventlog import EventLog
from orchestrator.store.transitions import Store
from orchestrator.tools import specs

if TYPE_CHECKING:
    from orchestrator.model.config import Config
    from orchestrator.tools.specs import Toolbox


def open_store(app: App, rehearsing: bool = False) -> Store:
    """The store of the work directory, with its folders in place; for a dry run one that writes
    nothing."""
    layout = app.layout
    store = Store(layout, EventLog(layout, "cli"), rehearsing=rehearsing)
    if not rehearsing:
        store.prepare()
    return store


def refuse_unsafe(app: App) -> None:
    """`Unusable` if others could change what is trusted here, as ssh refuses its files."""
    for path, why in permissions.unsafe(app.layout):
        shown = app.layout.shown(path)
        verb = "chown $USER" if why.startswith("belongs") else "chmod o-w"
        raise Unusable(f"{shown} {why}: others could run programs as you", f"{verb} {shown}")


def open_config(app: App, lazily: bool = False) -> tuple[Config, Toolbox]:
    """The checked configuration and the tools; ``lazily`` for a verb that asks for a few of them
    and is over at once."""
    config = configuration.load_config(app.layout, schemas.check)
    return config, specs.load_tools(app.layout, lazily)
