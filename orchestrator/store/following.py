"""Tasks that follow from the end of another: they appear in the inbox exactly once, wherever the
process is killed in between.

1. their files are written into ``.state/tmp``, fsynced, and the folder is renamed to
``.state/following/<cause>``; 2. the cause enters its folder, and its journal says so (the commit
point); 3. every file in ``following/<cause>`` is renamed into the inbox; the folder is removed when
it is empty.

All of it happens under the lock on the journal of the cause. What a crash left is judged by that
journal: if the cause is where the folder says, step 3 is repeated; else the folder is thrown away,
since the step it belongs to is made again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Protocol

from orchestrator.files import bounds, opening, scan
from orchestrator.files.identity import Identity
from orchestrator.files.layout import Layout
from orchestrator.files.requests import Unreadable, read
from orchestrator.files.trust import Trust
from orchestrator.model.journal import Phase, Record
from orchestrator.model.status import Status
from orchestrator.store import atomic, bounding, smallfiles
from orchestrator.store.eventlog import Event, EventLog, GroupCommit
from orchestrator.store.ledger import Entry, Ledger
from orchestrator.store.trusting import fact_of

# in each folder: instance of the work directory, id of the cause, the folder it is to enter
CAUSE = ".cause"


class Writer(Protocol):
    """What is needed of the store."""

    layout: Layout
    log: EventLog | GroupCommit
    ledger: Ledger

    @property
    def trust(self) -> Trust:
        """Where trust in this project is kept."""
        ...

    def vouch(self, facts: Iterable[tuple[str, str, Identity]]) -> None:
        """Files that this machine knows."""
        ...


def due(then: Sequence[Record], target: Status) -> list[Record]:
    """What is to be made when the cause enters this folder."""
    return [item for item in then if str(target) in item.get("at", ())]


def stage(store: Writer, cause: str, target: Status, made: Sequence[Record]) -> None:
    """Step 1.  OSError if the disk refuses: then there is nothing but a leftover."""
    layout = store.layout
    folder = smallfiles.scratch(layout, "follow")
    os.makedirs(os.path.dirname(layout.following(cause)), mode=0o700, exist_ok=True)
    os.mkdir(folder)
    for item in made:
        atomic.write_temporary(f"{folder}/{item['id']}.yaml", str(item["text"]).encode())
    facts = f"{store.trust.instance}\n{cause}\n{target}\n"
    atomic.write_temporary(f"{folder}/{CAUSE}", facts.encode())
    atomic.sync_folder(folder)
    atomic.remove_tree(layout.following(cause))
    os.rename(folder, layout.following(cause))
    atomic.sync_folder(os.path.dirname(layout.following(cause)))


def place(store: Writer, cause: str) -> list[str]:
    """Step 3, as often as it takes; the ids of what was placed. Events come before what they tell
    of."""
    layout, folder = store.layout, store.layout.following(cause)
    staged = sorted(name for name in scan.names(folder) if name != CAUSE)
    fresh = [name for name in staged if not _used(store, name)]
    told = [_event(store, cause, name) for name in fresh]
    told += [_refusal(store, cause, name) for name in staged if _others(store, folder, name)]
    if told:
        store.log.commit_and_wait(told)
    inherited = bounds.of_id(layout, cause)
    if inherited is not None:
        for name in fresh:
            bounding.keep(layout, name.removesuffix(".yaml"), inherited)
    store.vouch(fact_of(name.removesuffix(".yaml"), f"{folder}/{name}") for name in fresh)
    placed = []
    for name in staged:
        if name in fresh and _moved(f"{folder}/{name}", f"{layout.folder('inbox')}/{name}"):
            placed.append(name.removesuffix(".yaml"))
        else:
            atomic.remove(f"{folder}/{name}")
    atomic.sync_folder(layout.folder("inbox"))
    atomic.remove_tree(folder)
    return placed


def _moved(source: str, target: str) -> bool:
    try:
        atomic.move(source, target)
    except (FileExistsError, FileNotFoundError):  # somebody made it, or one of this name, meanwhile
        return False
    return True


def _used(store: Writer, name: str) -> bool:
    """Whether a task of this id is, or was, anywhere."""
    task_id = name.removesuffix(".yaml")
    if scan.locate(store.layout, task_id) is not None:
        return True
    return any(os.path.exists(store.layout.journal(task_id, closed)) for closed in (False, True))


def _others(store: Writer, folder: str, name: str) -> bool:
    """Whether the id is used by a task that is not the one that is to be made."""
    task_id = name.removesuffix(".yaml")
    text = opening.read_bytes(f"{folder}/{name}")
    entry = store.ledger.open(task_id)
    if entry is not None:
        with entry:
            return bool(entry.journal.claim.get("sha256") != hashlib.sha256(text).hexdigest())
    found = scan.locate(store.layout, task_id)
    if found is None:
        return False
    try:
        return opening.read_bytes(store.layout.file(*found)) != text
    except OSError:
        return True


def _event(store: Writer, cause: str, name: str) -> Event:
    task_id = name.removesuffix(".yaml")
    return store.log.event(
        "task_submitted",
        task_id,
        0,
        task_id=task_id,
        phase="submit",
        status="inbox",
        summary=f"follows {cause}",
        parent=cause,
    )


def _refusal(store: Writer, cause: str, name: str) -> Event:
    task_id = name.removesuffix(".yaml")
    return store.log.event(
        "task_refused",
        task_id,
        f"follows {cause}",
        task_id=task_id,
        phase="submit",
        summary=f"it was to follow {cause}, but there is another task of this id",
        parent=cause,
    )


def complete(store: Writer) -> list[str]:
    """Finish, or throw away, what a killed process left half made; the ids that were placed."""
    placed: list[str] = []
    for key in sorted(scan.names(f"{store.layout.state}/following")):
        facts = _facts(f"{store.layout.state}/following/{key}")
        if facts is None or facts[0] != store.trust.instance:
            continue  # git or a copy brought it
        placed += _completed(store, facts[1])
    return placed


def _facts(folder: str) -> tuple[str, str, str] | None:
    try:
        instance, cause, target, *_ = read(f"{folder}/{CAUSE}").raw.decode().split("\n")
    except (OSError, Unreadable, ValueError):
        if not scan.names(folder):  # what a crash left of a folder whose files were all placed
            atomic.remove_tree(folder)
        return None
    return instance, cause, target


def _completed(store: Writer, cause: str) -> list[str]:
    entry = store.ledger.open(cause)
    if entry is None:
        return []
    with entry:
        return settled(store, entry) if entry.lock() else []


def settled(store: Writer, entry: Entry) -> list[str]:
    """Finish, or throw away, what is left half made of the task whose journal this is, open and
    locked."""
    journal = entry.journal
    folder = store.layout.following(journal.task_id)
    facts = _facts(folder) if os.path.isdir(folder) else None
    if facts is None or journal.phase not in (Phase.FINAL, Phase.REQUEUED):
        return []  # there is nothing, or its last step is made again, and this with it
    found = scan.locate(store.layout, journal.task_id)
    entered = found is not None and str(found[0]) in (facts[2], str(Status.ARCHIVE))
    # The record of an end is appended after the move, that of a person's move before it.
    said = journal.last.get("status") == facts[2]
    if said and ("times" in journal.last or entered):
        return place(store, journal.task_id)
    atomic.remove_tree(folder)
    return []
