"""The folders of a work directory, made where they are missing; what else lies there gives way
(`store.places`)."""

from __future__ import annotations

import os

from orchestrator.files.layout import FOLDER_NAMES, STATE_FOLDERS, Layout
from orchestrator.files.opening import is_folder
from orchestrator.store import atomic, places


def make(layout: Layout) -> list[str]:
    """Create the folders that are missing; their names, those of ``.state`` only if it was
    there."""
    made = []
    places.check_folders(layout)
    began = not is_folder(layout.state)
    if began:
        places.make_folder(layout, layout.state, 0o700)
        made.append(".state")
    for name in FOLDER_NAMES:
        if not is_folder(layout.folder(name)):
            places.make_folder(layout, layout.folder(name))
            made.append(name)
    new = [layout.folder(name) for name in made]
    for name in STATE_FOLDERS:
        path = f"{layout.state}/{name}"
        if not is_folder(path):
            places.make_folder(layout, path, 0o700)
            new.append(path)
            made += [] if began else [f".state/{name}"]
    # A file whose folder did not survive a power cut has not survived it either, whatever was
    # fsynced.
    for folder in dict.fromkeys((*new, *(os.path.dirname(path) for path in new))):
        atomic.sync_folder(folder)
    return made
