"""Putting the work directory in order after a crash. Nothing here guesses: the ledger and its locks
decide."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from enum import Enum

from orchestrator.files import journals, opening, owners, scan
from orchestrator.files.identity import is_file
from orchestrator.files.layout import Layout, is_draft, stem_of
from orchestrator.files.returning import Returning
from orchestrator.model import ids
from orchestrator.model.journal import Journal, Phase
from orchestrator.model.status import FOLDERS, OPEN, WAITING, Status
from orchestrator.patterns import regex
from orchestrator.records import dataclass
from orchestrator.store import atomic, placing
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store

# Who wrote it comes last (`files.owners`). A pid has seven digits at most: the random part may be
# digits alone.
_SUBMIT_LEFTOVER = regex(r"\..+\.(\d{1,7}(?:-\d*)?(?:\.[0-9a-f]{12})?)\.tmp\Z")


class Step(Enum):
    """How an unfinished task goes on."""

    START = "start"  # claimed, never started
    ADOPT = "adopt"  # its supervisor lives
    REATTACH = "reattach"  # offered elsewhere: who has it knows
    LOST = "lost"  # started, and nobody is there
    FINISH = "finish"  # ended, not finished
    RETRY = "retry"  # another attempt is due


@dataclass(slots=True)
class Unfinished:
    """A journal in ``active`` and what is to be done about it. ``entry`` is open, and locked unless
    it is ADOPT."""

    entry: Entry
    step: Step


def tidy(store: Store) -> list[str]:
    """Remove temporary files of dead processes and complete half-finished moves; what was done, in
    words."""
    layout, done = store.layout, []
    for name in scan.names(f"{layout.state}/tmp"):
        path = f"{layout.state}/tmp/{name}"
        if owners.abandoned(path, ".".join(name.split(".")[:2])):
            atomic.remove_tree(path)
            done.append(f"removed a leftover: .state/tmp/{name}")
    for folder in WAITING:
        for name in scan.names(layout.folder(folder)):
            found = _SUBMIT_LEFTOVER.match(name)
            if found and owners.abandoned(layout.file(folder, name), found[1]):
                atomic.remove(layout.file(folder, name))
                done.append(f"removed a half-written submission: {folder}/{name}")
    for first, second, name in doubled(layout):
        # A move by link and unlink that was cut in the middle: the later folder was the commit.
        later, earlier = (
            (first, second) if FOLDERS.index(first) < FOLDERS.index(second) else (second, first)
        )
        atomic.remove(layout.file(earlier, name))
        done.append(f"completed a move: {name} is in {later}/")
    return done


def doubled(layout: Layout) -> list[tuple[Status, Status, str]]:
    """Files that lie in two folders as one inode."""
    seen: dict[str, tuple[Status, int]] = {}
    found = []
    for status in (*OPEN, Status.REVIEW):
        for _, name in scan.task_names(layout.folder(status)):
            try:
                info = os.lstat(layout.file(status, name))
            except FileNotFoundError:
                continue
            if info.st_nlink < 2:
                continue
            for other in FOLDERS:
                path = layout.file(other, name)
                try:
                    if (
                        other is not status
                        and os.lstat(path).st_ino == info.st_ino
                        and name not in seen
                    ):
                        seen[name] = (status, info.st_ino)
                        found.append((status, other, name))
                except OSError:
                    continue
    return found


def unfinished(store: Store, known: frozenset[str] = frozenset()) -> list[Unfinished]:
    """Every claimed and unfinished task except those whose key is in ``known``."""
    found = []
    for name in sorted(scan.names(store.layout.active)):
        key = name.removesuffix(".jsonl")
        if key in known or key == name:
            continue
        try:
            entry = store.ledger.open(key)
        except opening.NotAFile:  # it blocks its id, and nothing else (`journals.blocked` tells)
            continue
        if entry is None or entry.closed:
            continue
        step = step_of(store, entry)
        if step is None:
            entry.close()
        else:
            found.append(Unfinished(entry, step))
    return found


def step_of(store: Store, entry: Entry) -> Step | None:
    """What to do about an active journal; None if it needed only to be put away."""
    if not entry.lock():
        # A supervisor is at it, whatever the journal says by now; or `orchestrator run` is.
        return Step.ADOPT if entry.journal.task_id else None
    entry.refresh()
    phase = entry.journal.phase
    if phase is Phase.BLOCKED:
        return None
    if phase in (Phase.FINAL, Phase.REQUEUED):
        store.ledger.retire(entry)
        return None
    if phase is Phase.UNCLAIMED:
        # A power cut took the claim's text; it was never durable, so nothing has started.
        _back_to_the_inbox(store, os.path.basename(entry.path).removesuffix(".jsonl"))
        atomic.remove(entry.path)
        return None
    if phase is Phase.CLAIMED:
        return Step.START if _in_running(store, entry) else None
    attempt = entry.journal.attempt
    if phase is Phase.DISPATCHED or (
        phase is Phase.STARTED and not entry.journal.checking and attempt and attempt.where
    ):
        return Step.REATTACH
    return {Phase.STARTED: Step.LOST, Phase.ENDED: Step.FINISH, Phase.RETRYING: Step.RETRY}[phase]


def _back_to_the_inbox(store: Store, key: str) -> None:
    """A file in running/ beside an empty journal never started (a rename can survive without
    either). One that git may have brought, as well as the journal, stays for `foreign`."""
    layout = store.layout
    returning = Returning(layout, store.trust)
    for task_id, name in scan.task_names(layout.folder(Status.RUNNING)):
        if ids.key(task_id) != key:
            continue
        path = layout.file(Status.RUNNING, name)
        if os.path.lexists(layout.file(Status.INBOX, name)):
            continue  # another has its name by now: `strays` asks a person about this one
        with suppress(FileExistsError, FileNotFoundError):
            if not returning.why_not(task_id, Status.RUNNING, name, "hold", store.clock.wall()):
                store.vouch_for(task_id, path)
                atomic.move(path, layout.file(Status.INBOX, name))


def _in_running(store: Store, entry: Entry) -> bool:
    """Complete our own half-finished claim: the file may still be in the inbox, or be gone."""
    claim, layout = entry.journal.claim, store.layout
    source, target = (
        layout.file(Status.INBOX, claim["file"]),
        layout.file(Status.RUNNING, claim["file"]),
    )
    if os.path.lexists(target):
        return True
    try:
        if os.lstat(source).st_ino == claim["ino"]:
            atomic.move(source, target)
            return True
    except FileNotFoundError:
        pass
    if entry.journal.attempts:
        store.ledger.retire(entry)  # it ran before; its new claim was withdrawn
        return False
    atomic.remove(entry.path)
    return False


def foreign(store: Store) -> list[str]:
    """Files in running/ that this machine never claimed (git brought them) go to review/; their
    ids."""
    layout, found = store.layout, []
    for journal in journals.active(layout):
        name = str(journal.claim.get("file") or "")
        if name and not os.path.lexists(layout.file(Status.RUNNING, name)):
            placing.named_again(layout, name, journal.inode, journal.born)
    for task_id, name in scan.sorted_names(layout.folder(Status.RUNNING)):
        if os.path.exists(layout.journal(task_id)) or _ended_here(store, task_id, name):
            continue
        try:
            atomic.move(layout.file(Status.RUNNING, name), layout.file(Status.REVIEW, name))
        except (FileExistsError, FileNotFoundError):
            continue
        found.append(task_id)
    return found


def take_up(store: Store) -> list[str]:
    """Tasks in inbox/ and running/ whose journal has been put away follow it again; what was done,
    in words.

    A power cut may take the renames of a task's file back and keep the later one of its journal.
    """
    layout, done = store.layout, []
    for status in (Status.INBOX, Status.RUNNING):
        for task_id, name in scan.sorted_names(layout.folder(status)):
            if os.path.lexists(layout.journal(task_id, closed=True)):
                with suppress(FileNotFoundError, FileExistsError, opening.NotAFile):
                    done += _follow(store, task_id, status, name)
    return done


def _follow(store: Store, task_id: str, status: Status, name: str) -> list[str]:
    entry, path = store.ledger.open(task_id), store.layout.file(status, name)
    if entry is None:
        return []
    with entry:
        if not entry.closed or not entry.lock() or not _is_its_file(entry.journal, path):
            return []
        phase = entry.journal.phase
        if phase in (Phase.BLOCKED, Phase.UNCLAIMED):
            return []
        if phase is Phase.FINAL:
            return _to_its_end(store, entry.journal, status, name)
        if phase is not Phase.REQUEUED:
            store.ledger.activate(entry)
            return [f"took {task_id} up again: its file was back in {status}/"]
        if status is Status.INBOX:
            return []
        store.vouch_for(task_id, path)
        atomic.move(path, store.layout.file(Status.INBOX, name))
        return [f"completed a move: {name} is in inbox/"]


def _is_its_file(journal: Journal, path: str) -> bool:
    """Whether this very file is the one that the journal knows, and no copy of it."""
    return is_file(path, journal.inode, journal.born)


def _to_its_end(store: Store, journal: Journal, status: Status, name: str) -> list[str]:
    """It has ended; only who moved it into the inbox since then wants it to run again."""
    path = store.layout.file(status, name)
    if status is Status.INBOX and not journals.undone(journal, path):
        return []
    target = Status(str(journal.last.get("status")))
    atomic.move(path, store.layout.file(target, name))
    return [f"completed a move: {name} is in {target}/"]


def _ended_here(store: Store, task_id: str, name: str) -> bool:
    """Whether this machine knows the file in running/ after all: a copy of what has ended here
    (`git stash -u`, the task ends, `stash pop`) is kept with its logs; a task whose journal was put
    away too early is taken up again."""
    try:
        entry = store.ledger.open(task_id)
    except opening.NotAFile:  # it blocks its id, and nothing else
        return True
    if entry is None:
        return False
    with entry:
        journal, path = entry.journal, store.layout.file(Status.RUNNING, name)
        if not entry.lock() or journal.phase is Phase.BLOCKED:
            return True
        if journal.phase not in (Phase.FINAL, Phase.REQUEUED):
            store.ledger.activate(entry)
            return True
        if journal.phase is Phase.FINAL and _is_its_file(journal, path):
            with suppress(FileNotFoundError, FileExistsError):
                _to_its_end(store, journal, Status.RUNNING, name)
                return True
        text = _text(path)
        if text is None or hashlib.sha256(text).hexdigest() != journal.claim.get("sha256"):
            return False
        placing.put_away(store.layout, task_id, path)
    return True


def _text(path: str) -> bytes | None:
    """What is in a file; None if it is none: a pipe or a folder in its place must not end a watcher
    that begins."""
    try:
        return opening.read_bytes(path)
    except OSError:
        return None


def newly_blocked(store: Store, told: set[str]) -> list[str]:
    """Journals that are not understood and were not told yet, in words. They block their ids and
    nothing else."""
    found = [(key, why) for key, why in journals.blocked(store.layout) if key not in told]
    told.update(key for key, _ in found)
    return [f"{key} is left alone: its journal is not understood: {why}" for key, why in found]


def stale_requests(store: Store) -> list[str]:
    """Remove requests to cancel tasks that are not running; whom they were about."""
    found = []
    for key in scan.names(f"{store.layout.state}/cancel"):
        if not os.path.exists(f"{store.layout.active}/{key}.jsonl"):
            atomic.remove(f"{store.layout.state}/cancel/{key}")
            found.append(key)
    return found


def drop_copies(layout: Layout, listed: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    """Of one task's file in several folders keep the first and remove the others, if they are the
    same to the byte now."""
    done = []
    for kept, others in listed:
        text = _text(f"{layout.work}/{kept}")
        for other in others:
            if text is not None and _text(f"{layout.work}/{other}") == text:
                atomic.remove(f"{layout.work}/{other}")
                done.append((kept, other))
    return done


def stale_notes(layout: Layout) -> list[str]:
    """Ids of notes in the inbox whose file is gone."""
    listed = scan.names(layout.folder(Status.INBOX))
    stems = {stem_of(name) for name in listed if not is_draft(name)}
    return [
        name.removesuffix(".error.md")
        for name in listed
        if name.endswith(".error.md") and name.removesuffix(".error.md") not in stems
    ]
