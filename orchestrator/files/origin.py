"""Where a file of a folder of tasks came from: whether git may have brought it. A pull must not be
code execution.

Git writes the files of a pull first and its index last, under ``index.lock``. So "not tracked" is
believed only of a file that was seen before the question was asked, if there is no lock and the
index is the same before and after it. What cannot be answered clearly is not "no". Nor is "not
tracked": git may have written a file that its index does not name (`files.history`).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from orchestrator.files import git, history
from orchestrator.files.aside import Busy as Busy
from orchestrator.files.text import one_line
from orchestrator.libraries import later
from orchestrator.model import ids
from orchestrator.records import dataclass, field

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = later("hashlib")

AGAIN = 0.25  # seconds after which git is asked again
OLD_LOCK = 10.0  # seconds after which a lock is told of: its git may have been killed
TRIES = 5
SLOW = 1.0  # seconds: git that took longer, and gave no answer, is left alone for a while
LEFT_ALONE = 10.0  # seconds
GITLINK = b"160000"

Stamp = tuple[int, int, int, int]


@dataclass(slots=True)
class Origins:
    """Asks git which names of a folder it tracks; again only when an index has changed."""

    _asked: dict[tuple[str, str], tuple[Stamp, frozenset[str]]] = field(default_factory=dict)
    _brought: set[tuple[str, str]] = field(default_factory=set)
    _failed: dict[str, tuple[float, git.Unclear]] = field(default_factory=dict)

    def tracked(self, folder: str, name: str, now: float) -> bool | None:
        """Whether git tracks ``name`` in a folder (a path), a file that the caller has seen; None
        if no repository holds it.

        Raises `Busy` while git works, and `git.Unclear` if there is no clear answer.
        """
        place = os.path.realpath(folder)
        repositories = list(git.above(place))
        found = False if repositories else None
        for repository in repositories:
            found = ids.key(name) in self._names(repository, place, now) or found
        return found

    def brought(self, folder: str, name: str, data: bytes, now: float) -> bool | None:
        """Whether git may have brought ``<folder>/<name>``, which says ``data``: it tracks the
        name, or has had these bytes there.

        None if no repository holds it.  Raises as `tracked`.
        """
        tracked = self.tracked(folder, name, now)
        return self._wrote(folder, name, data) if tracked is False else tracked

    def wrote(self, folder: str, name: str, data: bytes, now: float) -> bool | None:
        """`brought`, but what a person has made of a file that git tracks is not git's."""
        tracked = self.tracked(folder, name, now)
        return None if tracked is None else self._wrote(folder, name, data)

    def _wrote(self, folder: str, name: str, data: bytes) -> bool:
        path = f"{os.path.realpath(folder)}/{name}"
        fact = path, hashlib.sha256(data).hexdigest()
        if fact not in self._brought:
            found = (
                history.brought(repository, os.path.relpath(path, repository.folder), data)
                for repository in git.above(os.path.dirname(path))
            )
            if not any(found):
                return False
            self._brought.add(fact)
        return True

    def _names(self, repository: git.Repository, place: str, now: float) -> frozenset[str]:
        for _ in range(TRIES):
            before = stamp(repository, now)
            known = self._asked.get((repository.git_dir, place))
            if known is not None and known[0] == before:
                return known[1]
            names = self._patiently(repository, place)
            if stamp(repository, now) == before:
                self._asked[repository.git_dir, place] = (before, names)
                return names
        raise Busy

    def _patiently(self, repository: git.Repository, place: str) -> frozenset[str]:
        """`_ask`, but not again soon for each file of the folder if git was slow and gave no
        answer."""
        until, error = self._failed.get(repository.git_dir, (0.0, None))
        began = time.monotonic()
        if error is not None and began < until:
            raise error
        try:
            return _ask(repository, place)
        except git.Unclear as error:
            if time.monotonic() - began > SLOW:
                self._failed[repository.git_dir] = (time.monotonic() + LEFT_ALONE, error)
            raise


def stamp(repository: git.Repository, now: float) -> Stamp:
    """What tells whether the index has changed. Raises `Busy` if it is locked, and `git.Unclear` if
    it has been for long."""
    lock = f"{repository.index}.lock"
    try:
        age = now - os.lstat(lock).st_ctime
    except FileNotFoundError:
        pass
    else:
        if age < OLD_LOCK:
            raise Busy
        since = time.strftime("%H:%M:%S", time.localtime(now - age))
        raise git.Unclear(
            f"{lock} has been there since {since}: a git command is still running, or was killed"
            " (then remove it)"
        )
    try:
        info = os.stat(repository.index)
    except FileNotFoundError:
        return (0, 0, 0, 0)
    return info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_size


def _ask(repository: git.Repository, folder: str) -> frozenset[str]:
    """The keys of the names that git tracks below the folder, in whatever case it has its path."""
    inside = os.path.relpath(folder, repository.folder)
    with git.reading(repository) as reader:
        listed = reader.ask("ls-files", "-s", "-z", "--", f":(literal,icase){inside}").out
    found = set()
    for entry in listed.split(b"\0"):
        facts, _, path = entry.partition(b"\t")
        if not path:
            continue
        if facts.startswith(GITLINK) and os.fsdecode(path).casefold() == inside.casefold():
            if not os.path.lexists(f"{folder}/.git"):
                raise git.Unclear(f"{inside} is a submodule without its repository")
        found.add(ids.key(os.path.basename(os.fsdecode(path))))
    return frozenset(found)


def tracked_below(*paths: str) -> str:
    """One path that git tracks below these, but for a ``.gitkeep``; empty if there is none, or no
    git that could say so.

    A lock does not matter here: what the index says now is what counts.
    """
    specs: dict[git.Repository, list[str]] = {}
    try:
        for real in map(os.path.realpath, paths):
            for repository in git.above(real):
                inside = os.path.relpath(real, repository.folder)
                specs.setdefault(repository, []).append(f":(literal,icase){inside}")
        for repository, below in specs.items():
            with git.reading(repository) as reader:
                listed = reader.ask("ls-files", "-z", "--", *below).out
            for name in map(os.fsdecode, listed.split(b"\0")):
                if name and os.path.basename(name) != ".gitkeep":
                    return os.path.join(repository.folder, name)
    except git.Unclear:
        return ""
    return ""


def top_of(shown: str) -> str:
    """``work/logs`` of a path below it; one outside the project as it is."""
    return shown if os.path.isabs(shown) else "/".join(shown.split("/")[:2])


@dataclass(slots=True)
class Tracked:
    """`tracked_below`, asked again only when an index has changed."""

    paths: tuple[str, ...]
    _seen: tuple[object, ...] = ()
    _found: str = ""

    def look(self) -> str:
        """One path that git tracks below; empty if there is none."""
        seen = tuple(map(indexes, self.paths))
        if None in seen:
            return self._found
        if seen != self._seen:
            self._seen, self._found = seen, tracked_below(*self.paths)
        return self._found


def indexes(path: str) -> tuple[object, ...] | None:
    """By what it is known whether a repository that holds ``path`` tracks other files than before;
    None if that cannot be said."""
    try:
        return tuple(_index_of(repository) for repository in git.above(os.path.realpath(path)))
    except git.Unclear:
        return None


def _index_of(repository: git.Repository) -> object:
    try:
        info = os.stat(repository.index)
    except OSError:
        return None
    return info.st_ino, info.st_mtime_ns, info.st_size


def unclear_text(error: Exception) -> str:
    """Why a file is held although git did not say that it brought it."""
    return f"git does not say whether it came through git: {one_line(str(error), 200)}"
