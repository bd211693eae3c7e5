"""Reading the ledger: the journals of tasks that were ever claimed here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.files import identity, instance, jsonlines, opening, scan
from orchestrator.files.layout import Layout
from orchestrator.model import journal as journal_model
from orchestrator.model.status import FOLDERS

if TYPE_CHECKING:
    from orchestrator.model.journal import Journal


def read(path: str) -> Journal:
    """The journal in a file; an empty one if there is none."""
    return journal_model.fold(jsonlines.read_ends(path)[0])


def of(layout: Layout, task_id: str) -> Journal | None:
    """What the ledger knows of a task; None if it was never claimed here."""
    for closed in (False, True):
        records = jsonlines.read_ends(layout.journal(task_id, closed))[0]
        if records and not is_foreign(layout, journal := journal_model.fold(records)):
            return journal
    return None


def is_foreign(layout: Layout, journal: Journal) -> bool:
    """Whether git or a copy brought this journal: it names another work directory than this one,
    whose name no commit knows.

    Version 0.1.0 named none: there the file has to be the one that was claimed.
    """
    claim = journal.claim
    if not claim:
        return False
    if "instance" in claim:
        return claim["instance"] not in instance.names_of(layout)
    return not knows_its_file(layout, journal)


def active(layout: Layout) -> list[Journal]:
    """The journals of tasks that are claimed and not finished: as many as run, however many ever
    ran."""
    found = []
    for name in sorted(scan.names(layout.active)):
        if name.endswith(".jsonl"):
            journal = read(f"{layout.active}/{name}")
            if journal.task_id:
                found.append(journal)
    return found


def closed_since(layout: Layout, since: float) -> Iterator[Journal]:
    """The journals of tasks that were put away after this moment (seconds since the epoch)."""
    try:
        if os.stat(layout.closed).st_ctime < since:
            return  # none has come into the folder, and nobody can set this time
        entries = os.scandir(layout.closed)
    except OSError:
        return
    with entries:
        for entry in entries:
            if (
                entry.name.endswith(".jsonl")
                and entry.stat(follow_symlinks=False).st_ctime >= since
            ):
                yield read(entry.path)


def blocked(layout: Layout) -> list[tuple[str, str]]:
    """Journals in ``active`` that are not understood: the keys of their ids, and why."""
    found = []
    for name in sorted(scan.names(layout.active)):
        if name.endswith(".jsonl") and (why := _problem(f"{layout.active}/{name}")):
            found.append((name.removesuffix(".jsonl"), why))
    return found


def _problem(path: str) -> str:
    try:
        opening.open_file(path).close()
    except opening.NotAFile as error:
        return str(error.strerror)
    except OSError:
        return ""
    if os.access(os.path.dirname(path), os.W_OK) and not os.access(path, os.W_OK):
        return "it may not be written to"  # and whoever works by it has to
    return read(path).problem


def undone(journal: Journal, path: str) -> bool:
    """Whether the file has not been renamed since before its task ended: a power cut has taken its
    last move back.

    A person who moves it gives it a later time of change, which nobody can set back.
    """
    ended = journal.last.get("ctime")
    try:
        return isinstance(ended, int) and os.lstat(path).st_ctime_ns <= ended
    except OSError:
        return False


def knows_its_file(layout: Layout, journal: Journal) -> bool:
    """Whether the task's file is the very one that was claimed, by inode and birth: no commit and
    no archive brings that."""
    known = (journal.inode, journal.born)
    for status in FOLDERS:
        try:
            if identity.identity_of(layout.file(status, str(journal.claim.get("file")))) == known:
                return True
        except OSError:
            continue
    return False
