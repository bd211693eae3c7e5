"""Whether git brought a change of the settings: a file, the link that leads to one, or what a
person's own edit was merged into.

Times of files on disk cannot be brought by a pull. Git writes an object first and the file after
it; of a person's own edit, committed since, git's object is younger than the file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack

from orchestrator.files import git, history, merged
from orchestrator.files.layout import WORK, Layout

LINK = " ->"  # what ends the name of an entry that says through which links a file is reached
Snapshot = Mapping[str, bytes]  # what each settings file says, by its path below work/


def place_of(layout: Layout, path: str) -> str:
    """Where a file of settings is meant to lie; no link is followed but those above the project."""
    return os.path.normpath(f"{os.path.realpath(layout.root)}/{WORK}/{path.removesuffix(LINK)}")


def links_to(layout: Layout, path: str) -> bytes:
    """The links by which a file of settings is reached, a line each; empty if it lies where it is
    meant to."""
    place = place_of(layout, path)
    if os.path.realpath(place) == place:
        return b""
    root = os.path.realpath(layout.root)
    lines = [f"{os.path.relpath(link, root)} -> {target}" for link, target in links(place)]
    return os.fsencode("\n".join(lines))


def links(place: str) -> Iterator[tuple[str, str]]:
    """Each link on the way to a place, and what it says."""
    here, todo = "/", place.split("/")[::-1]
    for _ in range(1000):  # links may lead in a circle
        part = todo.pop() if todo else ""
        if part in ("", ".", ".."):
            here = os.path.dirname(here) if part == ".." else here
            if not todo:
                return
            continue
        path = os.path.join(here, part)
        try:
            target = os.readlink(path)
        except OSError:
            here = path
            continue
        yield path, target
        here = "/" if target.startswith("/") else here
        todo += target.split("/")[::-1]


def sum_of(path: str, raw: bytes) -> str:
    """By what an accepted version of a file is remembered."""
    return hashlib.sha256(os.fsencode(path) + b"\0" + raw).hexdigest()


def brought(
    layout: Layout,
    changed: Iterable[str],
    now: Snapshot,
    before: Snapshot,
    earlier: Collection[str],
) -> dict[str, str]:
    """Which of these files git brought, and in what words; ``earlier`` are the sums of what was
    accepted here at any time.  A file of which git says nothing clear may have been brought."""
    found: dict[str, str] = {}
    with ExitStack() as stack:
        readers: dict[str, git.Reader] = {}
        for path in changed:
            try:
                why = _why(layout, path, now, before, earlier, _Readers(stack, readers))
            except git.Unclear as error:
                why = f"may have come through git, which does not say: {error}"
            if why:
                found[path] = why
    return found


class _Readers:
    """The repositories that hold a file; each is opened once."""

    def __init__(self, stack: ExitStack, opened: dict[str, git.Reader]) -> None:
        self._stack, self._opened = stack, opened

    def of(self, path: str) -> Iterator[tuple[git.Reader, str]]:
        """Each reader, and the path from its checkout's folder."""
        for repository in git.above(os.path.dirname(path)):
            folder = repository.folder
            if folder not in self._opened:
                self._opened[folder] = self._stack.enter_context(git.reading(repository))
            yield self._opened[folder], os.path.relpath(path, folder)


def _why(
    layout: Layout,
    path: str,
    now: Snapshot,
    before: Snapshot,
    earlier: Collection[str],
    readers: _Readers,
) -> str:
    if path.endswith(LINK):
        return _of_links(layout, path, before, readers) if path in now else ""
    real = os.path.realpath(place_of(layout, path))
    if path not in now or not os.path.lexists(real):
        went = any(_went(*found) for found in readers.of(real))
        return "was removed through git" if went else ""
    raw = now[path]
    for reader, inside in readers.of(real):
        if _came(reader, inside, raw, sum_of(path, raw) in earlier):
            return "came through git"
        if sum_of(path, raw) in earlier:
            continue
        if merged.brought(reader, inside, raw, lambda text: sum_of(path, text) in earlier):
            return "was merged with what came through git"
    return ""


def _of_links(layout: Layout, path: str, before: Snapshot, readers: _Readers) -> str:
    known = {
        line for name, said in before.items() if name.endswith(LINK) for line in said.split(b"\n")
    }
    root = os.path.realpath(layout.root)
    for link, target in links(place_of(layout, path)):
        relative = os.path.relpath(link, root)
        if os.fsencode(f"{relative} -> {target}") not in known and any(
            _came(reader, inside, os.fsencode(target), False) for reader, inside in readers.of(link)
        ):
            return "is a link that came through git"
    return ""


def _came(reader: git.Reader, inside: str, raw: bytes, known: bool) -> bool:
    """Whether git wrote this file or link: it has the same, and had it before it was there.

    An object that is packed was fetched, or is old. What is ``known`` was accepted here before: who
    wrote that again by hand may."""
    staged = merged.staged(reader, inside)
    if staged and _as_staged(reader, f":(literal){inside}"):
        return merged.older(reader, staged[0], inside)
    if known:
        return False
    return any(merged.older(reader, oid, inside) for oid in history.blobs(reader, inside, raw))


def _as_staged(reader: git.Reader, pathspec: str) -> bool:
    """Whether a file is as the index has it, as far as git looks: it does not where somebody has
    set ``--assume-unchanged`` or ``--skip-worktree``."""
    looked = reader.ask("ls-files", "-v", "-z", "--", pathspec).out.startswith(b"H ")
    return looked and not reader.ask("diff-files", "--name-only", "-z", "--", pathspec).out


def _went(reader: git.Reader, inside: str) -> bool:
    """Whether git took this file away: it does not track it, and has had one there. What that said
    is no matter: other line ends, or a filter, may have made the file of it."""
    if reader.ask("ls-files", "-z", "--", f":(literal){inside}").out:
        return False
    return history.has_name(reader, inside)
