"""Where the file of a claimed task lies, and how it gets where it belongs, whatever people or git
did to it meanwhile.

Nothing is overwritten: another file in its place, and what was edited while it ran, are kept with
its logs.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

from orchestrator.files import identity as identity_files
from orchestrator.files import opening, scan
from orchestrator.files.layout import Layout
from orchestrator.model.journal import Journal
from orchestrator.model.status import FOLDERS, Status
from orchestrator.store import atomic, folders, smallfiles

RECENT = 60 * 10**9  # ns: what was renamed just now has changed within this time


def put(layout: Layout, journal: Journal, name: str, target: Status) -> list[str]:
    """Have the task's file in ``target``; what was odd on the way."""
    oddities: list[str] = []
    source, final = layout.file(Status.RUNNING, name), layout.file(target, name)
    task_id, known_by = journal.task_id, (journal.inode, journal.born)
    found = whereabouts(layout, name, *known_by)
    if found is None and (other := named_again(layout, name, *known_by)):
        oddities.append(f"its file had been renamed to {other}")
        found = Status.RUNNING
    if found is None:
        if not identity_files.is_file(final, *known_by):
            oddities += put_away(layout, task_id, final)
            text = journal.claim["text"].encode()
            smallfiles.put(layout, final, text, "restored", anew=True)
            oddities.append("its file was gone and has been put back")
        return oddities
    place = layout.file(found, name)
    if place != final:
        oddities += put_away(layout, task_id, final)
        try:
            atomic.move(place, final)
        except FileNotFoundError:
            folders.make(layout)
            atomic.move(place, final)
        if place != source:
            oddities.append(f"its file was in {found}/")
    info = os.lstat(final)
    if info.st_mtime_ns != journal.claim.get("mtime_ns"):
        try:
            edited = opening.read_bytes(final)
        except opening.TooLarge:
            oddities += put_away(layout, task_id, final)
            return oddities + put(layout, journal, name, target)
        if hashlib.sha256(edited).hexdigest() != journal.claim["sha256"]:
            _keep_edited(layout, journal, final, edited)
            oddities.append("its file was edited while it ran; the edit is kept with its logs")
    return oddities


def whereabouts(layout: Layout, name: str, inode: int, born: int | None) -> Status | None:
    """The folder in which the very file that was claimed lies now."""
    for status in FOLDERS:
        if identity_files.is_file(layout.file(status, name), inode, born):
            return status
    return None


def named_again(layout: Layout, name: str, inode: int, born: int | None) -> str:
    """A running task's file that somebody has renamed where it lies has its name again; the name
    that it had meanwhile, else empty.

    Under another name it would be a task that nobody has claimed, whose work is being done already.
    """
    for other in scan.names(layout.folder(Status.RUNNING)):
        path = layout.file(Status.RUNNING, other)
        if other != name and identity_files.is_file(path, inode, born):
            try:
                atomic.move(path, layout.file(Status.RUNNING, name))
            except (FileExistsError, FileNotFoundError):
                return ""
            return other
    return ""


def put_back(layout: Layout, name: str, inode: int, born: int | None) -> bool:
    """A running task's file that somebody moved lies in running/ again; whether it had to be
    moved."""
    status = whereabouts(layout, name, inode, born)
    if status is None or status is Status.RUNNING:
        return False
    try:
        atomic.move(layout.file(status, name), layout.file(Status.RUNNING, name))
    except (FileExistsError, FileNotFoundError):
        return False
    return True


def put_away(layout: Layout, task_id: str, path: str) -> list[str]:
    """Another file is where this one belongs (git brought it): it is kept with the logs, and
    told."""
    if not os.path.lexists(path):
        return []
    os.makedirs(layout.logs(task_id), exist_ok=True)
    kept = f"{layout.logs(task_id)}/displaced-{time.time_ns()}-{os.path.basename(path)}"
    os.rename(path, kept)
    return [f"another file was in its place and is kept as {layout.shown(kept)}"]


def _keep_edited(layout: Layout, journal: Journal, path: str, edited: bytes) -> None:
    folder = layout.logs(journal.task_id)
    os.makedirs(folder, exist_ok=True)
    kept = f"{folder}/edited-{time.time_ns()}-{os.path.basename(path)}"
    atomic.write_temporary(kept, edited)
    # In place and not by a new file: the inode is how the ledger knows it again.
    fd = opening.descriptor(path, os.O_WRONLY)
    try:
        os.ftruncate(fd, 0)
        atomic.write_all(fd, journal.claim["text"].encode())
        os.fsync(fd)
    finally:
        os.close(fd)


def identity(path: str) -> dict[str, Any]:
    """What a file is known by, whatever its name and folder."""
    return {"ino": os.lstat(path).st_ino, "born": atomic.born(path)}


def changed(path: str) -> dict[str, Any]:
    """When a rename was made, by the file system's own word for it; nothing where renames leave no
    such trace."""
    moment = os.lstat(path).st_ctime_ns
    return {"ctime": moment} if abs(time.time_ns() - moment) < RECENT else {}
