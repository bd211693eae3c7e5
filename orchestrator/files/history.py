"""Whether git has had what a file says: the very bytes, at the very path, in the history of any of its refs.

The index tells only what git tracks *now*.  Git writes files that it does not track (``restore --source``, a pull that was
broken off or undone by ``reset``, ``rm --cached``, an index of somebody's own); their bytes are in its history all the same.
The stash does not count: no fetch brings it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.files import git, opening
from orchestrator.files.scan import names
from orchestrator.libraries import later
from orchestrator.patterns import bytes_regex

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = later("hashlib")

_PACK_HEAD = b"\xfftOc\0\0\0\x02"
_FANOUT = 256 * 4  # bytes
_IDENT = bytes_regex(rb"\$Id: [^$\n]*\$")
_MOST_STORES = 16  # object stores that borrow from one another


def blobs(reader: git.Reader, inside: str, data: bytes) -> list[str]:
    """The ids of those blobs that the history has at the path ``inside`` the checkout, and that git would write as ``data``.

    Costs no process unless the repository has such an object.  Raises `git.Unclear`.
    """
    there = [oid for oid in _ids(data) if _may_have(reader.repository, oid)]
    return [oid for oid in there if _in_history(reader, inside, oid)]


def brought(repository: git.Repository, inside: str, data: bytes) -> bool:
    """Whether there are such `blobs`.  Raises `git.Unclear`."""
    if not any(_may_have(repository, oid) for oid in _ids(data)):
        return False
    with git.reading(repository) as reader:
        return bool(blobs(reader, inside, data))


def _ids(data: bytes) -> list[str]:
    """What git calls these bytes, and what it may have written as them: with other line ends, or an ``$Id$`` filled in."""
    plain = data.replace(b"\r\n", b"\n")
    texts = dict.fromkeys((data, plain, _IDENT.sub(b"$Id$", data), _IDENT.sub(b"$Id$", plain)))
    return [
        digest(b"blob %d\0" % len(text) + text).hexdigest()
        for text in texts
        for digest in (hashlib.sha1, hashlib.sha256)
    ]


def _in_history(reader: git.Reader, inside: str, oid: str) -> bool:
    if reader.ask("cat-file", "-e", oid, codes=(0, 1, 128)).code:
        return False
    tips = [tip for tip in _fetched(reader.repository) if _is_commit(reader, tip)]
    found = reader.ask(
        *("log", "--exclude=refs/stash", "--all", *tips, "--full-history", "-m", "--format=%H"),
        *("-n1", f"--find-object={oid}", "--", f":(literal,icase){inside}"),
    )
    return bool(found.out.strip())


def _fetched(repository: git.Repository) -> Iterator[str]:
    """What was fetched last, also where no ref remembers it."""
    try:
        lines = opening.read_bytes(f"{repository.git_dir}/FETCH_HEAD").decode("ascii", "replace")
    except OSError:
        return
    for line in lines.splitlines()[:100]:
        oid = line.partition("\t")[0]
        if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", oid):
            yield oid


def _is_commit(reader: git.Reader, oid: str) -> bool:
    return reader.ask("cat-file", "-e", f"{oid}^{{commit}}", codes=(0, 1, 128)).code == 0


def _may_have(repository: git.Repository, oid: str) -> bool:
    """Whether an object may be there, from the names of files and the indexes of packs alone."""
    raw = bytes.fromhex(oid)
    for objects in _stores(repository):
        if os.path.lexists(f"{objects}/{oid[:2]}/{oid[2:]}"):
            return True
        packs = (name for name in names(f"{objects}/pack") if name.endswith(".idx"))
        if any(_pack_may_have(f"{objects}/pack/{name}", raw) for name in packs):
            return True
    return False


def _stores(repository: git.Repository) -> list[str]:
    """The folders of objects: the repository's own, and those that it borrows from."""
    found = [f"{repository.common}/objects"]
    for objects in found:  # grows while it is walked
        try:
            text = os.fsdecode(opening.read_bytes(f"{objects}/info/alternates"))
        except OSError:
            continue
        for line in text.splitlines():
            path = os.path.realpath(os.path.join(objects, line))
            if line and not line.startswith("#") and path not in found:
                found.append(path)
        if len(found) > _MOST_STORES:
            raise git.Unclear(f"{objects} borrows from too many others")
    return found


def _pack_may_have(path: str, oid: bytes) -> bool:
    """Binary search in a pack's index; one of another format may have anything."""
    try:
        with opening.open_file(path) as file:
            if file.read(8) != _PACK_HEAD:
                return True
            counts = file.read(_FANOUT)
            first = oid[0]
            low = int.from_bytes(counts[4 * first - 4 : 4 * first], "big") if first else 0
            high = int.from_bytes(counts[4 * first : 4 * first + 4], "big")
            while low < high:
                middle = (low + high) // 2
                file.seek(8 + _FANOUT + middle * len(oid))
                found = file.read(len(oid))
                if found == oid:
                    return True
                if found < oid:
                    low = middle + 1
                else:
                    high = middle
    except FileNotFoundError:
        return False
    return False
