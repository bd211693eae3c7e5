"""Whether there is something in a person's own edit of a file that git brought."""

from __future__ import annotations

import os
from collections.abc import Callable

from orchestrator.files import git, history
from orchestrator.files.identity import born


def brought(reader: git.Reader, inside: str, raw: bytes, accepted: Callable[[bytes], bool]) -> bool:
    """Whether there is something in a person's own edit that git brought and nobody accepted.

    So it is if git wrote the file and no commit has it: ``stash pop`` and ``--autostash`` merge an
    edit with what was pulled. And it is if the version that was edited came through git.
    """
    entries = staged(reader, inside)
    for oid in history.unnamed(reader, inside, raw):
        if older(reader, oid, inside, tie=oid not in entries):
            return True
    at_head, base = history.bases(reader, inside)
    edited = [oid for oid in entries if oid != at_head]
    edited = [oid for oid in edited if history.has(reader, inside, oid)]
    for oid in (*edited, *([base] if base else ())):
        said = reader.ask("cat-file", "blob", oid).out
        written = (said, said.replace(b"\n", b"\r\n"))
        if not any(map(accepted, written)) and older(reader, oid, inside):
            return True
    return False


def staged(reader: git.Reader, inside: str) -> list[str]:
    """What the index has at a path: one blob, or those of a merge that is not finished."""
    entries = reader.entries(f":(literal){inside}")
    return [oid for mode, oid in entries if mode != "160000"]


def older(reader: git.Reader, oid: str, inside: str, tie: bool | None = None) -> bool:
    """Whether git had an object before the file that says the same was there. ``tie`` is the answer
    if both came within one tick of the kernel's clock; None leaves it to what moved HEAD last."""
    object_ = f"{reader.repository.common}/objects/{oid[:2]}/{oid[2:]}"
    made = born(object_)
    if made is None:
        return True
    # An object that was unpacked again, or copied, has the time at which git got it.
    made = min(made, os.lstat(object_).st_mtime_ns)
    changed = os.lstat(os.path.join(reader.repository.folder, inside)).st_ctime_ns
    if made == changed:
        return not reader.repository.committed_last() if tie is None else tie
    return made < changed
