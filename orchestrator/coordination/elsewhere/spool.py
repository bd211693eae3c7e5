"""The spool folder of a worker: one folder for each dispatch that it has, or has had, until its
watcher has all of it.

``order.json`` is on disk before the dispatch is claimed. The journal is the supervisor's, as for an
attempt of a watcher's own machine; so a worker that was killed is no loss: the next one with this
folder goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid

from orchestrator.errors import Busy, Unusable
from orchestrator.files import journals, jsonlines, opening
from orchestrator.files.layout import ARTIFACTS, OWN
from orchestrator.files.lockstate import locked
from orchestrator.model.journal import AttemptFacts
from orchestrator.patterns import regex
from orchestrator.records import dataclass
from orchestrator.store import atomic
from orchestrator.store.ledger import append_record

DISPATCH = regex(r"^[0-9a-f]{32}\Z")
ZOMBIE = "zombie"  # the watcher has given it up: what it did is kept here, and told
DEPARTED = "departed"  # this worker was told to end it


def boottime() -> float:
    """Seconds since the machine was started, those of its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Entry:
    """The folder of one dispatch."""

    folder: str

    @property
    def dispatch(self) -> str:
        return os.path.basename(self.folder)

    @property
    def run_dir(self) -> str:
        """Its logs."""
        return f"{self.folder}/run"

    @property
    def tree(self) -> str:
        """Where it works, unless both sides have the same folder."""
        return f"{self.folder}/tree"

    @property
    def journal(self) -> str:
        return f"{self.folder}/journal.jsonl"

    @property
    def cancel(self) -> str:
        return f"{self.folder}/cancel"

    @property
    def leash(self) -> str:
        return f"{self.folder}/leash"

    def order(self) -> bytes:
        """The envelope.  OSError if it is not there."""
        return opening.read_bytes(f"{self.folder}/order.json")

    def touch(self, moment: float) -> None:
        """At this moment (`boottime`) the dispatch was still ours."""
        fd = opening.descriptor(self.leash, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(fd, b"%-24.3f" % moment, 0)
        finally:
            os.close(fd)

    def stop(self) -> None:
        """Ask for its end; the supervisor looks for this file."""
        if not os.path.exists(self.cancel):
            atomic.write_temporary(self.cancel, b"{}", sync=False)

    def depart(self) -> None:
        """Remember that it is not its watcher who wants its end."""
        if not self.departed:
            atomic.write_temporary(f"{self.folder}/{DEPARTED}", b"", sync=False)

    @property
    def departed(self) -> bool:
        return os.path.exists(f"{self.folder}/{DEPARTED}")

    def facts(self) -> AttemptFacts | None:
        """What the journal says; None if nothing has started."""
        return journals.read(self.journal).attempt

    @property
    def begun(self) -> bool:
        """Whether an attempt has started here, or a supervisor has the journal and is about to
        write that."""
        return locked(self.journal) or self.facts() is not None

    def locked(self, claim: str) -> int:
        """The journal, made if it is not there, with the lock that lives as long as the attempt."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        fd = opening.descriptor(self.journal, flags, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if not os.fstat(fd).st_size:
            append_record(fd, {"record": "claim", "id": claim, "file": "", "text": ""}, sync=False)
        return fd

    def set_aside(self) -> None:
        """It is kept, and never gone on with."""
        atomic.remove(f"{self.folder}/{ZOMBIE}")
        atomic.write_temporary(f"{self.folder}/{ZOMBIE}", b"")

    @property
    def aside(self) -> bool:
        return os.path.exists(f"{self.folder}/{ZOMBIE}")

    def remove(self) -> None:
        atomic.remove_tree(self.folder)


class Spool:
    """The folder, locked: two workers never share one. ``worker`` is the id that this one always
    has.

    Raises `Busy` or `Unusable`.
    """

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self._lock = opening.descriptor(f"{self.folder}/lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Unusable(f"the spool folder {folder}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Busy(f"another worker has the spool folder {folder}", "--spool OTHER") from None
        self.worker = self._identity()

    def _identity(self) -> str:
        path = f"{self.folder}/worker.json"
        try:
            known = str(jsonlines.loads(opening.read_bytes(path))["id"])
            if DISPATCH.match(known):
                return known
        except (OSError, ValueError, KeyError, TypeError):
            pass
        made = uuid.uuid4().hex
        atomic.publish(path, json.dumps({"id": made}).encode(), f"{path}.new", replace=True)
        return made

    def create(self, dispatch: str, order: bytes) -> Entry:
        """A folder for a dispatch, on disk when this returns; FileExistsError if there is one."""
        entry = Entry(f"{self.folder}/{dispatch}")
        os.mkdir(entry.folder, 0o700)
        try:
            for name in ("", f"/{ARTIFACTS}", f"/{OWN}"):
                os.mkdir(f"{entry.run_dir}{name}", 0o700)
            atomic.write_temporary(f"{entry.folder}/order.json", order, mode=0o600)
            atomic.sync_folder(entry.folder)
            atomic.sync_folder(self.folder)
        except OSError:
            entry.remove()  # else the offer, when it comes again, would look as if it were taken
            raise
        return entry

    def entries(self) -> list[Entry]:
        """What it has."""
        names = sorted(name for name in os.listdir(self.folder) if DISPATCH.match(name))
        return [Entry(f"{self.folder}/{name}") for name in names]

    def close(self) -> None:
        os.close(self._lock)
