"""What this machine has been told to trust in a project, read from *outside* the project.

``$XDG_STATE_HOME/orchestrator/projects/<key>/``, the key made of the project's real path. It is
believed only if the project is the one it was made for: the file ``work/.state/instance`` is still
the very same file with the same text. No commit, archive or copy can bring that about. The file
also says by which inode and birth it is known, so that a copy can be told where nothing can be
remembered (a home that cannot be written, another user's home).

    place.json       the project's path, its instance, and by what that file is known
    approved.jsonl   files of the inbox that count without a question: id, hash, and by what the file is known
    settings.json    the settings that were last accepted: a hash for each file, and what is held
    settings/work/   the accepted files themselves
    alive.json       between which moments attempts were alive
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from orchestrator.files import identity, journals, jsonlines, opening, statehome
from orchestrator.files import instance as instance_file
from orchestrator.files.layout import Layout
from orchestrator.files.scan import names
from orchestrator.libraries import later
from orchestrator.records import dataclass, field

if TYPE_CHECKING:
    from orchestrator.files.identity import Identity

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = later("hashlib")

# How a project and what is known of it fit together.
KNOWN = "known"  # it is the one
FRESH = "fresh"  # nothing was ever done here
# somebody removed .state (git clean): the same path, and nothing in it that could be believed
REMOVED = "removed"
MOVED = "moved"  # its very file has another path, and nothing of that name is at its old one
# its state was made elsewhere, or what is known is another one's
COPIED = "copied"
NOWHERE = "nowhere"  # there is no folder of ours to remember anything in


@dataclass(frozen=True, slots=True)
class Trust:
    """Where trust in a project is kept (``folder``, empty if nowhere) and whether it may be
    believed (``state``).

    ``source`` is the folder that holds what is known now; it differs from ``folder`` after a
    project was moved.
    """

    folder: str
    state: str
    instance: str = ""
    source: str = ""
    why: str = ""

    @property
    def believed(self) -> bool:
        """Whether what is remembered counts."""
        return self.state in (KNOWN, REMOVED, MOVED)

    @property
    def approvals(self) -> str:
        """The path of ``approved.jsonl``; empty if there is none to believe."""
        return f"{self.source}/approved.jsonl" if self.believed else ""


def folder_of(layout: Layout) -> str:
    """The folder for this project's path; empty without a home."""
    home = statehome.state_home()
    key = hashlib.sha256(os.fsencode(os.path.realpath(layout.root))).hexdigest()[:24]
    return f"{home}/projects/{key}" if home else ""


def believed_below(layout: Layout) -> tuple[str, ...]:
    """The folders of which git must track nothing: this machine alone writes, and believes, what
    lies there."""
    return tuple(filter(None, (*layout.own, folder_of(layout))))


def _made_here(layout: Layout) -> bool:
    """Whether ``.state/instance`` is the file it says it is, and no copy of it."""
    known_by = _known_by(layout)
    return known_by is not None and instance_file.lines(layout)[1] == instance_file.known_line(
        known_by
    )


def of(layout: Layout) -> Trust:
    """What is known of this project, and whether it may be believed."""
    folder = folder_of(layout)
    why = unsafe_home(folder) if folder else "there is no home folder"
    if why:
        return _nowhere(layout, why)
    instance, place = instance_file.name_of(layout), read_json(f"{folder}/place.json")
    if place:
        return _at_its_place(layout, folder, instance, place)
    if not instance:
        if _has_state(layout):
            why = "its work/.state was not made on this machine, or by an older version"
            return _copy(folder, why)
        # A copy of hard links shares the original's.
        if os.path.lexists(instance_file.path_of(layout)):
            why = "its work/.state/instance is no file of its own"
            return _copy(folder, why)
        return Trust(folder, FRESH)
    return _elsewhere(layout, folder, instance)


def _nowhere(layout: Layout, why: str) -> Trust:
    instance = instance_file.name_of(layout)
    if instance and not _made_here(layout) and _has_state(layout):
        return _copy("", f"its work/.state was made elsewhere, and {why}")
    return Trust("", NOWHERE, instance, why=why)


def _at_its_place(layout: Layout, folder: str, instance: str, place: dict[str, Any]) -> Trust:
    if instance and instance == place.get("instance"):
        if _known_by(layout) == (place.get("ino"), place.get("born")):
            return Trust(folder, KNOWN, instance, folder)
        return _copy(folder, "its work/.state is a copy (of a backup, or an archive)")
    if not instance and not _has_state(layout):
        return Trust(folder, REMOVED, str(place.get("instance") or ""), folder)
    if instance and _made_here(layout):
        return Trust(folder, COPIED, why="this machine knows another project at this path")
    return _copy(folder, "its work/.state was made for another project")


def _elsewhere(layout: Layout, folder: str, instance: str) -> Trust:
    home = os.path.dirname(folder)
    for name in sorted(names(home)):
        source = f"{home}/{name}"
        place = read_json(f"{source}/place.json")
        if place.get("instance") != instance or unsafe(source):
            continue
        old = str(place.get("root") or "")
        there = bool(old) and instance_file.name_of(Layout(old)) == instance
        same = _known_by(layout) == (place.get("ino"), place.get("born"))
        if not same and _made_here(layout):
            # Another project began at the old path first, and the name went to that.
            why = f"this project was moved, and another one has taken its place at {old}"
            return Trust(folder, COPIED, why=why)
        if there or not same:
            return _copy(folder, f"it is a copy of {'' if there else 'what was '}{old}")
        return Trust(folder, MOVED, instance, source)
    if _made_here(layout):  # with another home, or this one could not be written
        return Trust(folder, FRESH, instance)
    why = f"its work/.state was made elsewhere: nothing is known about it in {home}"
    return _copy(folder, why)


def _copy(folder: str, why: str) -> Trust:
    return Trust(folder, COPIED, why=f"this project came as a copy: {why}")


def _has_state(layout: Layout) -> bool:
    """Whether there is anything that a watcher would go by and that was not begun in this very
    place."""
    if names(f"{layout.state}/active") or names(f"{layout.state}/expanding"):
        # Version 0.1.0 kept no instance: one attempt of it that was begun here shows that the rest
        # was not copied.
        known = journals.active(layout)
        return not any(journals.knows_its_file(layout, journal) for journal in known)
    fresh = not os.path.lexists(layout.state)
    return fresh and any(name.endswith(".jsonl") for name in names(layout.events))


def _known_by(layout: Layout) -> Identity | None:
    try:
        return identity.identity_of(instance_file.path_of(layout))
    except OSError:
        return None


def unsafe(folder: str) -> str:
    """Why what lies in this folder cannot be believed: others could have written it; empty if
    nothing speaks against it."""
    try:
        info = os.stat(folder)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror}"
    if info.st_uid != os.geteuid():
        return f"{folder} belongs to another user"
    if info.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        return f"{folder} can be written by others"
    return ""


def unsafe_home(folder: str) -> str:
    """`unsafe`, of a project's folder and the two that it lies in."""
    projects = os.path.dirname(folder)
    return next(filter(None, map(unsafe, (folder, projects, os.path.dirname(projects)))), "")


def read_json(path: str) -> dict[str, Any]:
    """A JSON object in one of these files; empty if there is none that can be read."""
    try:
        found = jsonlines.loads(opening.read_bytes(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(slots=True)
class Vouched:
    """Files that count without a question. Reads on where it stopped; ``also`` are those that no
    disk has taken yet."""

    path: str = ""
    also: set[tuple[str, str, Identity]] = field(default_factory=set)
    _seen: set[tuple[str, str, Identity]] = field(default_factory=set)
    _read: tuple[int, int] = (0, 0)  # inode and how many bytes
    _news: set[str] = field(default_factory=set)

    def __contains__(self, fact: tuple[str, str, Identity]) -> bool:
        """Whether a file of this id, hash and identity is one of them."""
        if fact in self.also or fact in self._seen:
            return True
        self._refresh()
        return fact in self._seen

    def news(self) -> set[str]:
        """The ids that others have vouched for since the last call; of those in ``also`` it was
        known."""
        self._refresh()
        news, self._news = self._news, set()
        return news

    def _refresh(self) -> None:
        try:
            info = os.stat(self.path)
        except OSError:
            return
        inode, size = info.st_ino, info.st_size
        if (inode, size) == self._read:
            return
        if inode != self._read[0] or size < self._read[1]:
            self._seen, self._read = set(), (inode, 0)
        try:
            with opening.open_log(self.path) as file:
                file.seek(self._read[1])
                data = file.read()
        except OSError:
            return
        end = data.rfind(b"\n") + 1
        for record in jsonlines.split(data[:end])[0]:
            known_by = (record.get("ino"), record.get("born"))
            fact = (str(record.get("id")), str(record.get("sha256")), known_by)
            self._seen.add(fact)  # type: ignore[arg-type]
            if fact not in self.also:
                self._news.add(fact[0])
        self._read = (inode, self._read[1] + end)
