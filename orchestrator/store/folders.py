"""The folders of a work directory, made where they are missing."""

from __future__ import annotations

import os

from orchestrator.files.layout import FOLDER_NAMES, STATE_FOLDERS, Layout
from orchestrator.store import atomic, places


def make(layout: Layout) -> list[str]:
    """Create the folders that are missing; their names."""
    made = []
    places.check_folders(layout)
    for name in FOLDER_NAMES:
        if not os.path.isdir(layout.folder(name)):
            os.makedirs(layout.folder(name), exist_ok=True)
            made.append(name)
    if not os.path.isdir(layout.state):
        os.makedirs(layout.state, mode=0o700, exist_ok=True)
        made.append(".state")
    new = [layout.folder(name) for name in made]
    for path in (f"{layout.state}/{name}" for name in STATE_FOLDERS):
        if not os.path.isdir(path):
            os.makedirs(path, mode=0o700, exist_ok=True)
            new.append(path)
    # A file whose folder did not survive a power cut has not survived it either, whatever was fsynced.
    for folder in dict.fromkeys((*new, *(os.path.dirname(path) for path in new))):
        atomic.sync_folder(folder)
    return made
