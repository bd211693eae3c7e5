"""What an attempt left behind: the files a task was to produce, and those in its folder for
artifacts.

The agent chose their names, sizes and kinds. So nothing is followed, nothing but a regular file is
opened, and only so much is counted and hashed as one look may cost; called in a thread, never in
the loop.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.files import opening, scan
from orchestrator.files.layout import Layout

MOST_FILES = 1000  # of the folder for artifacts that a result lists
MOST_BYTES = 1 << 30  # that are hashed for one task
MOST_SECONDS = 20.0  # that hashing may take for one task
STEP = 1 << 20


class Allowance:
    """What may still be hashed."""

    def __init__(self) -> None:
        self.left = MOST_BYTES
        self.end = time.monotonic() + MOST_SECONDS

    def spend(self, count: int) -> bool:
        """Take so many bytes; False if they are not to be had any more."""
        self.left -= count
        return self.left >= 0 and time.monotonic() < self.end


def collect(layout: Layout, declared: Iterable[str], folder: str) -> list[dict[str, Any]]:
    """``{path, bytes, sha256}`` of every file, ``{path, missing: true}`` of a declared one that is
    not there.

    ``folder`` is the attempt's $ORCHESTRATOR_ARTIFACTS. A file that is too large to be hashed has
    no ``sha256``.
    """
    allowance = Allowance()
    found = [_described(layout.root, path, allowance) for path in declared]
    for path in _below(folder):
        found.append({**_described(layout.root, path, allowance), "path": layout.shown(path)})
    return found


def none(folder: str) -> bool:
    """Whether there is nothing at all in the folder for artifacts."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return False


def _below(folder: str) -> Iterator[str]:
    """Paths in the folder and below it, as many as a result lists; links are not followed."""
    count = 0
    for place, folders, names in scan.walk(folder):
        folders.sort()
        for name in sorted(names):
            if count == MOST_FILES:
                return
            count += 1
            yield os.path.join(place, name)


def _described(root: str, path: str, allowance: Allowance) -> dict[str, Any]:
    """Size and hash of a file inside the project; never of anything a link leads to."""
    full = os.path.join(root, path)
    inside = os.path.realpath(full).startswith(os.path.realpath(root) + os.sep)
    try:
        info = os.lstat(full)
        if not inside or not stat.S_ISREG(info.st_mode):
            folder = inside and stat.S_ISDIR(info.st_mode)
            return {"path": path} if folder else {"path": path, "missing": True}
        digest = _hash(full, info.st_size, allowance)
    except OSError:
        return {"path": path, "missing": True}
    return {"path": path, "bytes": info.st_size, **({"sha256": digest} if digest else {})}


def _hash(path: str, size: int, allowance: Allowance) -> str:
    """Its SHA-256; empty if it costs more than is allowed."""
    if size > allowance.left:
        return ""
    digest = hashlib.sha256()
    with opening.open_file(path) as file:
        while chunk := file.read(STEP):
            if not allowance.spend(len(chunk)):
                return ""
            digest.update(chunk)
    return digest.hexdigest()
