"""The paths that hints name: which part of the watcher looks at each. What no hint tells is found by
`coordination.rescans`."""

from __future__ import annotations

import os
from collections.abc import Collection

from orchestrator.coordination.byhand import BY_MOVE
from orchestrator.coordination.rooms import Rooms
from orchestrator.files.holds import BEFORE, HELD
from orchestrator.files.layout import CANCEL, stem_of
from orchestrator.model.status import FINISHED, MOVES, Status

SETTINGS = "settings"


class HintedPaths:
    """Takes the hints of one watcher."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms, layout = rooms, rooms.layout
        self._settings = (layout.tools, layout.agents, layout.schedules, layout.templates)

    def look(self) -> None:
        """Look at what was told of since the last pass: each folder and each file once, however
        often it was named."""
        rooms, names = self._rooms, dict[str, bool]()
        folders = set[str]()
        for path, renamed in rooms.hints.take():
            folder, name = os.path.split(path)
            if path == rooms.layout.config or folder in self._settings:
                folders.add(SETTINGS)
                continue
            folder = os.path.basename(folder)
            if ".reply" in name and rooms.lives.replies.hint(name):
                continue
            if renamed and folder in MOVES and rooms.byhand.arrived(Status(folder), name):
                rooms.cancels.request(rooms.running[stem_of(name)], BY_MOVE)
            if folder == Status.INBOX:
                names[name] = names.get(name, False) or renamed
            elif folder in (HELD, BEFORE):
                folders.add(HELD)
            elif folder == Status.RUNNING and name.endswith(CANCEL):
                folders.add(folder)
            rooms.reviews.due = rooms.reviews.due or folder in FINISHED
        self._look_into(folders)
        if rooms.hints.overflown():
            rooms.waitlist.list(everything=True)
        for name, renamed in names.items():
            rooms.waitlist.look(name, renamed)

    def _look_into(self, folders: Collection[str]) -> None:
        rooms = self._rooms
        if SETTINGS in folders:  # before the files that were dropped after them
            rooms.rereading.look(whole=True)
        if HELD in folders:
            rooms.holdnews.look()
        if Status.RUNNING in folders:
            rooms.cancels.look()
