"""What the task files of a work directory call themselves, for dependencies that go by those names.

Only files of an older format have such names; so this is read when one of them names a task that no
file has as its id. The beginnings of files are read, and each once for as long as it does not
change.
"""

from __future__ import annotations

import os
import re

from orchestrator.files import opening
from orchestrator.files.scan import names
from orchestrator.model import ids
from orchestrator.model.aliases import Aliases
from orchestrator.model.names import is_draft, stem_of
from orchestrator.model.status import FOLDERS
from orchestrator.patterns import bytes_regex

HEAD = 4096  # bytes in which a file says its own id
MOST = 20_000  # files of a folder that are looked at
_OWN = bytes_regex(
    rb"^(?:x-)?(?:id|task_id)[ \t]*:[ \t]*['\"]?([^'\"\s#][^'\"\n#]{0,100}?)['\"]?[ \t]*\r?$", re.M
)

_Stamp = tuple[tuple[int, int], ...]
_known: dict[str, tuple[_Stamp, Aliases]] = {}
_heads: dict[tuple[str, int, int], list[str]] = {}


def beside(path: str) -> Aliases:
    """The names of all tasks in the work directory in whose folder the file lies; none for a file
    elsewhere."""
    work = os.path.dirname(os.path.dirname(path))
    if not os.path.isfile(f"{work}/orchestrator.yaml"):
        return Aliases()
    stamp = tuple(_stamp(f"{work}/{status}") for status in FOLDERS)
    kept = _known.get(work)
    if kept is None or kept[0] != stamp:
        kept = _known[work] = (stamp, _read(work))
    return kept[1]


def _stamp(folder: str) -> tuple[int, int]:
    try:
        info = os.stat(folder)
    except OSError:
        return (0, 0)
    return (info.st_ino, info.st_mtime_ns)


def _read(work: str) -> Aliases:
    found = Aliases()
    for status in FOLDERS:
        folder = f"{work}/{status}"
        for name in sorted(names(folder))[:MOST]:
            stem = stem_of(name)
            if stem and not is_draft(name) and not ids.problem(stem):
                found.add(stem, stem, _own(f"{folder}/{name}"))
    return found


def _own(path: str) -> list[str]:
    """What a file calls itself."""
    try:
        fd = opening.descriptor(path)
    except OSError:
        return []
    try:
        info = os.fstat(fd)
        key = (path, info.st_ino, info.st_mtime_ns)
        if key not in _heads:
            head = os.read(fd, HEAD)
            _heads[key] = [
                name.decode("utf-8", "replace").strip() for name in _OWN.findall(head)[:2]
            ]
        return _heads[key]
    except OSError:
        return []
    finally:
        os.close(fd)
