"""Who else could change what is trusted here. Checked as ssh checks its files: in doubt, refuse."""

from __future__ import annotations

import os
import stat

from orchestrator.files import ownership
from orchestrator.files.layout import Layout
from orchestrator.files.scan import MOST_SETTINGS, NO_FOLDER
from orchestrator.model.status import Status


def unsafe(layout: Layout) -> list[tuple[str, str]]:
    """``(path, why)`` of everything that others could use to run programs as this user."""
    found = []
    paths = [
        layout.work,
        layout.folder(Status.INBOX),
        layout.config,
        layout.tools,
        *(settings := (layout.tools, layout.agents, layout.templates, layout.schedules)),
        layout.state,
    ]
    paths += [f"{folder}/{name}" for folder in settings for name in _names(folder)]
    for path in paths:
        try:
            info = os.stat(path)
        except OSError as error:
            if error.errno in NO_FOLDER:  # nothing that could be read
                continue
            raise
        if info.st_uid not in ownership.ours() and not ownership.is_safe(layout.root):
            found.append((path, "belongs to another user"))
        elif info.st_mode & stat.S_IWOTH:
            found.append((path, "can be written by everyone"))
    return found


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))[:MOST_SETTINGS]
    except OSError:
        return []
