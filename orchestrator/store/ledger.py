"""The ledger: one journal per task that was ever claimed here. It decides whether something has
run.

``.state/active/<key>.jsonl`` while the task is claimed, ``.state/closed/<key>.jsonl`` afterwards.
Creating the journal is the claim's commit point: it fails if there is one. A flock on the journal's
descriptor means that somebody works on it; it is handed to the supervisor with the attempt and
never unlocked, only closed, so that it stays held exactly as long as the supervisor lives.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import Taken
from orchestrator.files import journals, jsonlines, opening
from orchestrator.files.layout import Layout
from orchestrator.model import ids
from orchestrator.model.journal import Journal, fold
from orchestrator.store import smallfiles
from orchestrator.store.atomic import move, remove, write_all


class Entry:
    """An open journal. ``journal`` is what it says so far; close it, or hand ``fd`` on with
    `detach`."""

    def __init__(self, path: str, fd: int, records: list[dict[str, Any]], closed: bool) -> None:
        self.path, self.fd, self.closed = path, fd, closed
        self._records = records
        self._journal: Journal | None = None

    @property
    def journal(self) -> Journal:
        """What it says so far."""
        if self._journal is None:
            self._journal = fold(self._records)
        return self._journal

    @property
    def records(self) -> Sequence[Mapping[str, Any]]:
        """Those of which it consists."""
        return tuple(self._records)

    @property
    def claimed(self) -> bool:
        """Whether it begins as every journal does, whatever follows."""
        return bool(self._records) and self._records[0].get("record") == "claim"

    def append(self, record: Mapping[str, Any], sync: bool = False) -> None:
        """Add a record; with ``sync`` it survives a power cut."""
        append_record(self.fd, record, sync)
        self._records.append(dict(record))
        self._journal = None

    def lock(self, patience: float = 0.0) -> bool:
        """Take the liveness lock; False if a supervisor or another process works on this task.

        What it says is read again once the lock is held.
        """
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    return False
                time.sleep(0.005)
        self.refresh()
        return True

    def refresh(self) -> None:
        """Read again what others appended."""
        self._records, self._journal = _read(self.fd), None

    def detach(self) -> int:
        """The descriptor, for somebody else to close."""
        fd, self.fd = self.fd, -1
        return fd

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Entry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    __del__ = close  # a step that was broken off by an error must not keep the lock


class Ledger:
    """All journals of one work directory."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def create(self, task_id: str, claim: Mapping[str, Any]) -> Entry:
        """The first claim of a task.  `Taken` if it ever was claimed here."""
        target = self.layout.journal(task_id)
        if os.path.exists(self.layout.journal(task_id, closed=True)):
            raise Taken(f"{task_id} has run here before")
        temporary = smallfiles.scratch(self.layout, ids.key(task_id))
        fd = os.open(
            temporary, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        try:
            write_all(fd, _line(claim))
            # Locked before it has its name: nobody ever sees a claim whose claimant is not there.
            fcntl.flock(fd, fcntl.LOCK_EX)
            move(temporary, target)
        except BaseException as error:
            os.close(fd)
            remove(temporary)
            if isinstance(error, FileExistsError):
                raise Taken(f"{task_id} is claimed already") from None
            raise
        return Entry(target, fd, [dict(claim)], closed=False)

    def open(self, task_id: str) -> Entry | None:
        """The journal of a task, active or closed; None if it was never claimed here. One that git
        or a copy brought goes out of the way."""
        entry = self.unread(task_id)
        if entry is not None:
            entry.refresh()
            if journals.is_foreign(self.layout, entry.journal):
                self.set_aside(entry)
                return None
        return entry

    def unread(self, task_id: str) -> Entry | None:
        """The same, for a caller who takes the lock first: until then its ``journal`` says
        nothing."""
        for closed in (False, True):
            entry = self._open(self.layout.journal(task_id, closed), closed)
            if entry is not None:
                return entry
        return None

    def _open(self, path: str, closed: bool) -> Entry | None:
        try:
            fd = opening.descriptor(path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            return None
        return Entry(path, fd, [], closed)

    def activate(self, entry: Entry) -> None:
        """A closed journal is claimed again."""
        if entry.closed:
            path = f"{self.layout.active}/{os.path.basename(entry.path)}"
            move(entry.path, path)
            entry.path, entry.closed = path, False

    def retire(self, entry: Entry) -> None:
        """The task is finished, or waits to be claimed again: its journal leaves the active
        ones."""
        if not entry.closed:
            path = f"{self.layout.closed}/{os.path.basename(entry.path)}"
            try:
                os.rename(entry.path, path)
            except FileNotFoundError:
                if not os.path.exists(path):  # else somebody else has put it away already
                    raise
            entry.path, entry.closed = path, True

    def set_aside(self, entry: Entry) -> None:
        """A journal that was not begun here goes out of the way, unless somebody works by it; it is
        kept."""
        if entry.lock():
            folder = f"{self.layout.state}/aside"
            os.makedirs(folder, mode=0o700, exist_ok=True)
            os.rename(entry.path, f"{folder}/{os.path.basename(entry.path)}.{time.time_ns()}")
        entry.close()


def _read(fd: int) -> list[dict[str, Any]]:
    return jsonlines.split_ends(fd)[0]


def append_record(fd: int, record: Mapping[str, Any], sync: bool) -> None:
    """One line, after a line end if a power cut left the last line torn."""
    size = os.fstat(fd).st_size
    torn = size and os.pread(fd, 1, size - 1) != b"\n"
    write_all(fd, (b"\n" if torn else b"") + _line(record))
    if sync:
        os.fsync(fd)


def _line(record: Mapping[str, Any]) -> bytes:
    # A file's name may be no UTF-8; raw bytes of it would make the whole line unreadable, an escape
    # is read back as it was.
    return (
        json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "backslashreplace"
        )
        + b"\n"
    )
