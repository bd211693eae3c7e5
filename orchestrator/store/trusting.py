"""Writing what this machine trusts in a project: outside of it (see `files.trust`)."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.files import instance as instance_file
from orchestrator.files import opening, owners, statehome, trust
from orchestrator.files.identity import Identity, identity_of
from orchestrator.files.layout import Layout
from orchestrator.files.scan import names
from orchestrator.files.trust import COPIED, KNOWN, NOWHERE, Trust
from orchestrator.libraries import later
from orchestrator.store import appending, atomic, places

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = later("hashlib")

OLD_STATE = ("active", "expanding", "cancel")  # what a watcher would go on with


def establish(layout: Layout) -> Trust:
    """What is known of the project, its place taken down if this machine has a right to.

    A copy stays one until a person accepts it (`accept_copy`). Where nothing can be remembered the
    state is NOWHERE, and ``why`` says so: what is approved then counts for one process only.
    """
    _close(trust.folder_of(layout))
    found = trust.of(layout)
    if found.state in (KNOWN, COPIED):
        return found
    instance = instance_file.name_of(layout)
    try:
        if not instance:
            instance = found.instance or os.urandom(16).hex()
            _name(layout, instance)
        if found.state == NOWHERE:
            return Trust("", NOWHERE, instance, "", found.why)
        if found.state == trust.MOVED:
            os.rename(found.source, found.folder)
        return _settle(layout, found.folder, instance)
    except OSError as error:
        why = f"{error.filename or found.folder}: {error.strerror}"
        return Trust("", NOWHERE, instance, "", why)


def _close(folder: str) -> None:
    """Let nobody else write into the two folders that hold what is known of all projects (a umask
    of 002 lets the group).

    That makes nothing believed that others could have written: what is known of a project lies in a
    folder of its own, which was closed when it was made and names the project.
    """
    projects = os.path.dirname(folder)
    for path in (os.path.dirname(projects), projects) if folder else ():
        with suppress(OSError):  # then it is not believed, which is told
            info = os.lstat(path)
            if stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and info.st_mode & 0o022:
                os.chmod(path, stat.S_IMODE(info.st_mode) & ~0o022)


def _name(layout: Layout, instance: str, earlier: Iterable[str] = ()) -> None:
    """Give the work directory its name, and write beside it by what the file is known, which a
    rename keeps, and what it was called before: all at once, as a name alone is that of a copy."""
    path = instance_file.path_of(layout)
    places.clear(layout, path)
    temporary = f"{path}.{owners.fresh()}.tmp"
    try:
        atomic.write_temporary(temporary, f"{instance}\n".encode())
        known_by = instance_file.known_line(identity_of(temporary))
        appending.append(temporary, f"{known_by}\n{' '.join(earlier)}\n".encode())
        os.rename(temporary, path)
    except OSError:
        atomic.remove(temporary)
        raise
    atomic.sync_folder(layout.state)


def accept_copy(layout: Layout) -> Trust:
    """A person takes a copied project for their own: it gets a name of its own, and the attempts
    that its state tells of, which run elsewhere or never ran, are put aside."""
    folder = trust.folder_of(layout)
    if folder:
        statehome.make(folder)  # where nothing can be remembered nothing is changed
    aside = f"{layout.state}/aside-{time.strftime('%Y%m%dT%H%M%S')}-{owners.fresh()}"
    for name in OLD_STATE:
        if names(f"{layout.state}/{name}"):
            os.makedirs(aside, mode=0o700, exist_ok=True)
            os.rename(f"{layout.state}/{name}", f"{aside}/{name}")
            os.mkdir(f"{layout.state}/{name}", 0o700)
    instance, earlier = os.urandom(16).hex(), sorted(instance_file.names_of(layout))
    if not folder:
        _name(layout, instance, earlier)
        return Trust("", NOWHERE, instance, "", "there is no home folder")
    for name in ("approved.jsonl", "settings.json", "alive.json"):
        atomic.remove(f"{folder}/{name}")
    _name(layout, instance, earlier)
    return _settle(layout, folder, instance)


def _settle(layout: Layout, folder: str, instance: str) -> Trust:
    statehome.make(folder)
    if why := trust.unsafe_home(folder):
        return Trust("", NOWHERE, instance, "", why)
    inode, birth = identity_of(instance_file.path_of(layout))
    root = os.path.realpath(layout.root)
    write_json(
        f"{folder}/place.json", {"root": root, "instance": instance, "ino": inode, "born": birth}
    )
    return Trust(folder, KNOWN, instance, folder)


def fact_of(task_id: str, path: str) -> tuple[str, str, Identity]:
    """What is vouched for: a file's id, sha256 and identity, as it lies there now."""
    return task_id, hashlib.sha256(opening.read_bytes(path)).hexdigest(), identity_of(path)


def vouch(known: Trust, facts: Iterable[tuple[str, str, Identity]]) -> bool:
    """Remember files that count without a question: id, sha256, identity. False if there is nowhere
    to remember them."""
    data = b"".join(
        json.dumps({"id": task_id, "sha256": sha, "ino": inode, "born": birth}).encode() + b"\n"
        for task_id, sha, (inode, birth) in facts
    )
    if not known.approvals:
        return False
    if data:
        appending.append(known.approvals, data)
    return True


def write_json(path: str, data: object, sync: bool = True) -> None:
    """Replace one of the small files; without ``sync`` a power cut may take it back."""
    _replace(path, json.dumps(data, indent=1).encode() + b"\n", sync)


def _replace(path: str, data: bytes, sync: bool = True) -> None:
    atomic.publish(path, data, f"{path}.{owners.fresh()}.tmp", replace=True, sync=sync)
