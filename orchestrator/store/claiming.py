"""A claim on its way: the journal is there and locked, the task's file moves once the journal
survives a power cut.

A rename can survive a power cut without the content, or the name, of a file that was made just
before it. So the journal's content and its name are on disk before the task's file leaves the
inbox; what all claims of the moment wait for is one fsync of their folder
(``store.eventlog.GroupCommit``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from orchestrator.clock import Clock
from orchestrator.errors import Taken
from orchestrator.files import journals, scan
from orchestrator.files.identity import Identity
from orchestrator.files.layout import Layout
from orchestrator.model.journal import Journal, Phase
from orchestrator.model.status import ENDED, Status
from orchestrator.model.units import timestamp
from orchestrator.records import dataclass
from orchestrator.store import atomic
from orchestrator.store.ledger import Entry, Ledger


class Vanished(Exception):
    """The file was withdrawn, or saved anew, before it could be claimed; look again."""


class Withdrawn(Exception):
    """A claim came to nothing; ``reason`` says why. The task's file is where it was, and nothing
    has started."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(slots=True)
class Claim:
    """``inode`` is that of the file that was read; ``undo`` takes the claim out of the ledger
    again, as far as the disk lets it, and lets go of the journal in any case: who holds it keeps
    the task from being claimed."""

    entry: Entry
    source: str
    target: str
    inode: int
    undo: Callable[[], None]
    moved: bool = False

    def secure(self) -> str:
        """Make the journal's content durable; the folder whose names have to follow
        (`atomic.sync_folder`)."""
        if not self.moved:
            os.fsync(self.entry.fd)
        return os.path.dirname(self.entry.path)

    def move(self) -> None:
        """The task's file goes to running/. `Vanished` if it is not the one that was read;
        OSError."""
        if self.moved:
            return
        try:
            atomic.move(self.source, self.target)
        except FileNotFoundError:
            raise Vanished from None
        if os.lstat(self.target).st_ino != self.inode:
            # Between our reading and our rename an editor put a newer file in its place: give it
            # back.
            atomic.move(self.target, self.source)
            raise Vanished
        self.moved = True


def claimed(
    layout: Layout, ledger: Ledger, task_id: str, record: Mapping[str, Any], clock: Clock
) -> tuple[Entry, Callable[[], None]]:
    """The journal with the claim in it, and how to take the claim back while nothing has started.

    Raises `Vanished` if the id is just being let go of, and `Taken` if it has run or is running.
    """
    first = _first(layout, ledger, task_id, record)
    if first is not None:

        def undo() -> None:
            with first, suppress(OSError):  # what cannot be removed is found half done
                atomic.remove(first.path)

        return first, undo
    entry = ledger.open(task_id)
    if entry is None:
        raise Vanished  # it was just being put away: look again
    if not entry.lock():
        entry.close()
        if entry.journal.phase in (Phase.REQUEUED, Phase.FINAL):
            raise Vanished  # a verb is about to let go of it
        raise Taken(f"{task_id} is running", "wait for it, or rename this file")
    journal = entry.journal
    if not _half_done(journal, record):
        if not _may_run_again(journal, record, layout.file(Status.INBOX, record["file"])):
            entry.close()
            raise taken(layout, journal, task_id)
        entry.append(record, sync=True)
        ledger.activate(entry)

    def give_back() -> None:
        with entry, suppress(OSError):
            entry.append(
                {
                    "record": "requeue",
                    "at": clock.wall(),
                    "ino": journal.inode,
                    "by": "claim withdrawn",
                }
            )
            ledger.retire(entry)

    return entry, give_back


def _first(layout: Layout, ledger: Ledger, task_id: str, record: Mapping[str, Any]) -> Entry | None:
    """The journal of a task that has never run here; None if there is one already."""
    if os.path.exists(layout.journal(task_id, closed=True)):
        return None
    for status in ENDED:
        if not os.path.lexists(layout.file(status, record["file"])):
            continue
        # Finished elsewhere, or the ledger was removed.
        if os.path.exists(layout.journal(task_id)):
            return None
        raise Taken(
            f"there is already a task '{task_id}' in {status}/",
            scan.namesake(layout, task_id),
        )
    try:
        return ledger.create(task_id, record)
    except Taken:
        return None


def _half_done(journal: Journal, record: Mapping[str, Any]) -> bool:
    """Whether this very claim was begun before, and cut off."""
    same = _same_file(journal, record) and journal.claim.get("sha256") == record["sha256"]
    return journal.phase is Phase.CLAIMED and same


def _may_run_again(journal: Journal, record: Mapping[str, Any], path: str) -> bool:
    """Whether it was let go of, or a final end was taken back by moving the very file."""
    if journal.phase in (Phase.REQUEUED, Phase.UNCLAIMED):
        return True
    final = journal.phase is Phase.FINAL and _same_file(journal, record)
    return final and not journals.undone(journal, path)


def _same_file(journal: Journal, record: Mapping[str, Any]) -> bool:
    """Whether the file that is to be claimed is the very one that the journal knows."""
    if journal.inode != record["ino"]:
        return False
    before, now = journal.last.get("born"), record.get("born")
    if before is None or now is None:
        # Without a birth only an untouched file is recognised; others need `retry`.
        return bool(journal.claim.get("mtime_ns") == record["mtime_ns"])
    return bool(before == now)


def refuse_rerun(layout: Layout, task_id: str, identity: Identity) -> None:
    """`Taken` if the id has run here and this is another file."""
    journal = journals.of(layout, task_id)
    if journal is None or journal.phase is not Phase.FINAL:
        return
    if (journal.inode, journal.last.get("born")) != identity:
        raise taken(layout, journal, task_id)


def taken(layout: Layout, journal: Journal, task_id: str) -> Taken:
    """Why it is not claimed, and how to have it run again."""
    again = f"run it again: orchestrator retry {task_id}; if it is another task, rename the file"
    return Taken(has_run(journal), scan.namesake(layout, task_id) or again)


def has_run(journal: Journal) -> str:
    """What its journal knows of it, in words."""
    if journal.phase is Phase.BLOCKED:
        return f"its journal is not understood ({journal.problem})"
    if journal.phase is Phase.FINAL:
        return (
            f"{journal.task_id} has run here before (it ended"
            f" {journal.last.get('status', 'finished')} at"
            f" {timestamp(journal.last.get('at', 0))[:19]}Z), and this is another file"
        )
    return f"{journal.task_id} is claimed already"
