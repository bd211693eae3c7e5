"""Which files of the project changed while a tool ran, according to git.

Two looks at ``git status``, before and after: what is new or different in the second, and what was
committed in between. Attempts that run side by side in one tree see each other's changes; git
cannot tell whose they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from orchestrator.files import git, opening

MOST = 500  # paths that are kept in a result
Look = dict[str, Any]  # {"head": commit, "files": {path: [status, mtime in ns, size]}}


def look(root: str, work: str) -> Look | None:
    """The state of the tree outside the work directory; None without git, or if it takes too
    long."""
    try:
        repository = git.nearest(root)
        if repository is None:
            return None
        with git.reading(repository) as reader:
            listed = _text(
                reader.ask(
                    "status",
                    "--porcelain=v1",
                    "-z",
                    "--untracked-files=all",
                    "--no-renames",
                    *_outside(repository, root, work),
                )
            )
            head = _text(reader.ask("rev-parse", "-q", "--verify", "HEAD", codes=(0, 1)))
    except git.Unclear:
        return None
    files = {}
    for entry in listed.split("\0"):
        if len(entry) > 3:
            path = _from_root(repository, root, entry[3:])
            try:
                info = os.lstat(os.path.join(root, path))
                files[path] = [entry[:2], info.st_mtime_ns, info.st_size]
            except OSError:
                files[path] = [entry[:2], 0, 0]
    return {"head": head.strip(), "files": files}


def between(root: str, work: str, before: Look, after: Look) -> list[str]:
    """The paths that changed from one look to the other."""
    old, new = before["files"], after["files"]
    changed = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    if before["head"] != after["head"] and after["head"]:
        changed |= _committed(root, work, before["head"] or EMPTY_TREE, after["head"])
    return sorted(changed)[:MOST]


def _committed(root: str, work: str, before: str, after: str) -> set[str]:
    try:
        repository = git.nearest(root)
        if repository is None:
            return set()
        with git.reading(repository) as reader:
            names = _text(
                reader.ask(
                    "diff",
                    "--name-only",
                    "-z",
                    "--no-renames",
                    "--end-of-options",
                    before,
                    after,
                    *_outside(repository, root, work),
                )
            )
    except git.Unclear:
        return set()
    return {_from_root(repository, root, name) for name in names.split("\0") if name}


def _outside(repository: git.Repository, root: str, work: str) -> tuple[str, ...]:
    """The pathspec of the project without its work directory, from the checkout's folder."""
    project = os.path.relpath(os.path.realpath(root), repository.folder)
    inside = os.path.normpath(os.path.join(project, work))
    return ("--", f":(literal){project}", f":(exclude,literal){inside}")


def _from_root(repository: git.Repository, root: str, path: str) -> str:
    """A path of the checkout as the project calls it."""
    return os.path.relpath(os.path.join(repository.folder, path), os.path.realpath(root))


def _text(answer: git.Answer) -> str:
    return os.fsdecode(answer.out)


EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def save(path: str, seen: Look) -> None:
    """Keep a look beside the logs, so that a later watcher can still compare."""
    data = json.dumps(seen).encode("utf-8", "surrogateescape")
    if os.path.lexists(path):
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)


def load(path: str) -> Look | None:
    try:
        seen = json.loads(opening.read_bytes(path).decode("utf-8", "surrogateescape"))
        return (
            seen
            if isinstance(seen.get("files"), dict) and isinstance(seen.get("head"), str)
            else None
        )
    except (OSError, ValueError, RecursionError, AttributeError):
        return None


def since(root: str, work: str, paths: Iterable[str]) -> list[str]:
    """The files that changed since the first look that was kept in one of these files; empty if
    none was."""
    kept = (load(path) for path in paths)
    before = next((found for found in kept if found is not None), None)
    after = look(root, work) if before is not None else None
    if before is None or after is None:
        return []
    return between(root, work, before, after)
