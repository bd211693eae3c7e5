"""The primitives over a folder that both sides see (``folder:///shared/orchestrator``): for
machines with a common file system.

Nothing here is locked: a process that is frozen, or a machine that is gone, holds nobody up. A
record is a folder with a file for each revision, and the next one is made by a hard link, which one
of many gets, on NFS, too. Old revisions are removed, so a writer that was asleep for long could
make one of those again; therefore each names the one before it, and a write counts only if it is
the newest, or what the newest comes from.

Whoever may write into the folder is trusted as a watcher and as a worker: it is for one user's own
machines (docs/explanation/security.md).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from orchestrator import waiting
from orchestrator.distributors.engines.base import (
    ACK_WAIT,
    AT_ONCE,
    BLOB_MOST,
    CARD_MOST,
    CARDS_MOST,
    EVENT_MOST,
    KEPT,
    OFFER_MOST,
    PATIENCE,
    RECORD_MOST,
    Down,
    Offer,
    Record,
)
from orchestrator.files import opening
from orchestrator.model.units import DAY
from orchestrator.patterns import regex
from orchestrator.store import atomic

SCHEME = "folder"
Answer = TypeVar("Answer")
# ``log`` is for what workers say that an engine starts (`launchers.commands`).
KINDS = ("record", "event", "blob", "offer", "taken", "note", "card", "log", "new")
RECORDS, EVENTS, BLOBS, OFFERS, TAKEN, NOTES, CARDS, LOGS, NEW = KINDS
REVISIONS = 32  # of a record that are kept
NOTES_MOST = 1 << 18  # bytes of words of one topic, after which its file begins anew
LISTEN = 0.25  # seconds between looks for words
_NUMBER = regex(r"[0-9]{12}\Z")  # of a revision
HEAD = 4  # bytes before each event: how many it has


def folder_of(url: str) -> str:
    """The folder that an address means; empty if it is none."""
    scheme, _, path = url.partition("://")
    return os.path.normpath(path) if scheme == SCHEME and path.startswith("/") else ""


class FolderEngine:
    """``url`` is ``folder:///`` and a path; ``consumer`` names this process."""

    def __init__(self, url: str, consumer: str) -> None:
        self._root = folder_of(url)
        self._consumer = f"{consumer}.{uuid.uuid4().hex[:12]}"
        # A file system that hangs holds these threads and nothing else.
        self._threads = ThreadPoolExecutor(4, "folder")
        self._listening: list[asyncio.Task[None]] = []
        self._torn = 0  # events that were not written whole: the next ones go into another file

    async def _ask(self, work: Callable[[], Answer]) -> Answer:
        loop = asyncio.get_running_loop()

        def asked_for() -> Answer:
            if not os.path.isdir(f"{self._root}/{NEW}"):
                self._prepare()  # else what is away would look as if it had never been
            return work()

        try:
            asked = loop.run_in_executor(self._threads, asked_for)
            return await waiting.within(PATIENCE * 4, asked)
        except TimeoutError:
            raise Down(f"{self._root}: the file system does not answer") from None
        except OSError as error:
            raise Down(f"{self._root}: {error.strerror or error}") from None

    async def connect(self) -> None:
        await self._ask(self._sweep)

    def _prepare(self) -> None:
        if not os.path.isdir(os.path.dirname(self._root)):
            # a mount that is not there is not made
            raise OSError(0, f"there is no folder {os.path.dirname(self._root)} here")
        _have(self._root)
        probe = f"{self._root}/{uuid.uuid4().hex}"
        atomic.write_temporary(probe, b"")
        try:
            os.link(probe, f"{probe}.link")
            atomic.remove(f"{probe}.link")
        except OSError as error:
            raise OSError(0, f"hard links do not work here: {error.strerror}") from None
        finally:
            atomic.remove(probe)
        for name in KINDS:
            _have(f"{self._root}/{name}")

    def _sweep(self) -> None:
        """Remove what nobody can need any more."""
        now = time.time()
        for kind in (RECORDS, EVENTS, BLOBS, LOGS, NEW):
            age = DAY if kind == NEW else KEPT
            folder = f"{self._root}/{kind}"
            for _, name in _by_age(folder, now - age):
                atomic.remove_tree(f"{folder}/{name}")

    async def close(self) -> None:
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- files
    # ----------------------------------------------------------------------------------------------

    def _new(self, data: bytes) -> str:
        """A file of our own, which is then linked or moved to where it belongs."""
        path = f"{self._root}/{NEW}/{uuid.uuid4().hex}"
        atomic.write_temporary(path, data, mode=0o600)
        return path

    def _put(self, path: str, data: bytes) -> None:
        """Have this in the file, at once."""
        new = self._new(data)
        try:
            _have(os.path.dirname(path))
            os.rename(new, path)
        except OSError:
            atomic.remove(new)
            raise

    # -- records
    # ----------------------------------------------------------------------------------------------

    async def read(self, name: str) -> Record | None:
        return await self._ask(lambda: self._read(name))

    def _read(self, name: str) -> Record | None:
        folder = f"{self._root}/{RECORDS}/{name}"
        while True:
            last = _last(folder)
            if not last:
                return None
            try:
                _, _, value = _revision(folder, last)
                return Record(value, last)
            except FileNotFoundError:
                continue  # it was removed because there are many newer ones

    async def write(self, name: str, value: bytes, revision: int | None) -> int | None:
        return await self._ask(lambda: self._write(name, value, revision or 0))

    def _write(self, name: str, value: bytes, revision: int) -> int | None:
        folder = f"{self._root}/{RECORDS}/{name}"
        _have(folder)
        try:
            if _last(folder) != revision:
                return None
            before = _revision(folder, revision)[1] if revision else ""
        except FileNotFoundError:
            return None
        mine = uuid.uuid4().hex
        new = self._new(f"{before} {mine}\n".encode() + value)
        try:
            made = revision + 1
            if not _linked(new, _path(folder, made)) or not _stands(folder, made, mine):
                return None
        finally:
            atomic.remove(new)
        for old in _revisions(folder):
            if old <= made - REVISIONS:
                atomic.remove(_path(folder, old))
        return made

    # -- offers
    # ----------------------------------------------------------------------------------------------

    async def push(self, pool: str, dispatch: str, data: bytes) -> None:
        await self._ask(lambda: self._put(f"{self._root}/{OFFERS}/{_short(pool)}/{dispatch}", data))

    async def pull(self, pool: str) -> Offer | None:
        return await self._ask(lambda: self._pull(_short(pool)))

    def _pull(self, pool: str) -> Offer | None:
        waiting, taken = f"{self._root}/{OFFERS}/{pool}", f"{self._root}/{TAKEN}/{pool}"
        now = time.time()
        for _, name in _by_age(taken, now - ACK_WAIT):
            _moved(f"{taken}/{name}", f"{waiting}/{name}")  # nobody has acknowledged it
        for _, name in _by_age(waiting, math.inf):
            _have(taken)
            target = f"{taken}/{name}"
            if not _moved(f"{waiting}/{name}", target):
                continue  # another was faster
            try:
                os.utime(target)
                return Offer(name, opening.read_bytes(target, OFFER_MOST), target)
            except opening.NotAFile:
                atomic.remove_tree(target)
            except FileNotFoundError:
                continue
        return None

    async def acknowledge(self, offer: Offer) -> None:
        await self._ask(lambda: atomic.remove(str(offer.token)))

    # -- events
    # ----------------------------------------------------------------------------------------------

    async def append(self, dispatch: str, data: bytes) -> None:
        await self._ask(lambda: self._append(dispatch, data))

    def _append(self, dispatch: str, data: bytes) -> None:
        """Each process has a file of its own there, so that what one of them leaves torn is in
        nobody's way."""
        folder = f"{self._root}/{EVENTS}/{dispatch}"
        _have(folder)
        path = f"{folder}/{self._consumer}.{self._torn}"
        fd = opening.descriptor(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            atomic.write_all(fd, len(data).to_bytes(HEAD, "big") + data)
        except OSError:
            self._torn += 1
            raise
        finally:
            os.close(fd)

    async def events(self, dispatch: str, after: str) -> list[tuple[str, bytes]]:
        return await self._ask(lambda: self._events(dispatch, after))

    def _events(self, dispatch: str, after: str) -> list[tuple[str, bytes]]:
        folder = f"{self._root}/{EVENTS}/{dispatch}"
        offsets: dict[str, int] = json.loads(after or "{}")
        found: list[tuple[str, bytes]] = []
        for name in sorted(_names(folder)):
            while len(found) < AT_ONCE:
                at = offsets.get(name, 0)
                data = _frame(f"{folder}/{name}", at)
                if data is None:
                    break
                offsets[name] = at + HEAD + len(data)
                found.append((json.dumps(offsets), data))
        return found

    # -- blobs, words, cards
    # ------------------------------------------------------------------------------------------

    async def store(self, name: str, data: bytes) -> None:
        if len(data) > BLOB_MOST:
            raise ValueError(f"{name} has more than {BLOB_MOST >> 20} MiB")
        await self._ask(lambda: self._put(f"{self._root}/{BLOBS}/{name}", data))

    async def load(self, name: str, most: int) -> bytes | None:
        def get() -> bytes | None:
            try:
                return opening.read_bytes(f"{self._root}/{BLOBS}/{name}", most)
            except (FileNotFoundError, opening.NotAFile):
                return None

        return await self._ask(get)

    async def drop(self, dispatch: str, blobs: list[str]) -> None:
        def away() -> None:
            atomic.remove_tree(f"{self._root}/{EVENTS}/{dispatch}")
            for name in blobs:
                atomic.remove(f"{self._root}/{BLOBS}/{name}")

        await self._ask(away)

    async def notify(self, topic: str, word: str) -> None:
        await self._ask(lambda: self._note(f"{self._root}/{NOTES}/{topic}", word))

    def _note(self, path: str, word: str) -> None:
        fd = opening.descriptor(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.fstat(fd).st_size > NOTES_MOST:
                os.ftruncate(fd, 0)
            os.write(fd, f"{word}\n".encode())
        finally:
            os.close(fd)

    async def listen(self, topic: str, heard: Callable[[str], None]) -> None:
        path = f"{self._root}/{NOTES}/{topic}"
        at = await self._ask(lambda: len(_from(path, 0)))
        task = asyncio.get_running_loop().create_task(self._hear(path, at, heard))
        self._listening.append(task)

    async def _hear(self, path: str, at: int, heard: Callable[[str], None]) -> None:
        """Nothing tells of changes that another machine makes, so it is looked for them."""
        while True:
            await asyncio.sleep(LISTEN)
            try:
                data, at = await self._ask(lambda at=at: _words(path, at))  # type: ignore[misc]
            except Down:
                continue
            for word in data.decode("utf-8", "replace").split("\n"):
                if word:
                    heard(word)

    async def show(self, worker: str, card: bytes) -> None:
        path = f"{self._root}/{CARDS}/{worker}"
        if card:
            await self._ask(lambda: self._put(path, card))
        else:
            await self._ask(lambda: atomic.remove(path))

    async def cards(self) -> dict[str, bytes]:
        def every() -> dict[str, bytes]:
            found = {}
            for name in _names(f"{self._root}/{CARDS}")[: CARDS_MOST + 1]:
                try:
                    found[name] = opening.read_bytes(f"{self._root}/{CARDS}/{name}", CARD_MOST)
                except (FileNotFoundError, opening.NotAFile):
                    continue
            return found

        return await self._ask(every)


def _names(folder: str) -> list[str]:
    """What is in a folder; nothing if there is none."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _have(folder: str) -> None:
    """Have a folder there. Those above it are never made: a mount that went away this moment would
    be made on this machine, and look as if nothing had ever been in it."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass


def _path(folder: str, revision: int) -> str:
    return f"{folder}/{revision:012d}"


def _revisions(folder: str) -> list[int]:
    return [int(name) for name in _names(folder) if _NUMBER.match(name)]


def _last(folder: str) -> int:
    return max(_revisions(folder), default=0)


def _revision(folder: str, number: int) -> tuple[str, str, bytes]:
    """Of a revision: the mark of the one before it, its own, its value."""
    with opening.open_file(_path(folder, number)) as file:
        data = file.read(RECORD_MOST)  # one that is longer is cut, and so means nothing
    head, _, value = data.partition(b"\n")
    before, _, own = head.decode("ascii", "replace").partition(" ")
    return before, own, value


def _linked(new: str, path: str) -> bool:
    """Whether this is the one that has the name now. The first answer of a file server may have
    been lost: then it already exists."""
    try:
        os.link(new, path)
    except FileExistsError:
        return os.stat(new).st_nlink == 2
    return True


def _stands(folder: str, made: int, mine: str) -> bool:
    """Whether a revision that we made is the newest, or the one before it comes from ours.

    If neither can be seen any more it does not count: then it is read again, as after any write
    that another was faster with.
    """
    if _last(folder) == made:
        return True
    try:
        return _revision(folder, made + 1)[0] == mine
    except OSError:
        return False


def _by_age(folder: str, before: float) -> list[tuple[float, str]]:
    """What is in a folder, the oldest first, but for what is newer than this."""
    found = []
    for name in _names(folder):
        try:
            moment = os.lstat(f"{folder}/{name}").st_mtime
        except FileNotFoundError:
            continue
        if moment <= before:
            found.append((moment, name))
    return sorted(found)


def _moved(source: str, target: str) -> bool:
    try:
        os.rename(source, target)
    except FileNotFoundError:
        return False
    except OSError:
        odd = [path for path in (source, target) if os.path.isdir(path)]
        for path in odd:  # no offer is a folder, and every pull would fail at it
            atomic.remove_tree(path)
        if not odd:
            raise
        return False
    return True


def _frame(path: str, at: int) -> bytes | None:
    """The event at an offset; None if it is not there, or not whole yet."""
    try:
        fd = opening.descriptor(path)
    except (FileNotFoundError, opening.NotAFile):  # a file server puts folders of its own there
        return None
    try:
        size = int.from_bytes(os.pread(fd, HEAD, at).rjust(HEAD, b"\xff"), "big")
        if size > EVENT_MOST:
            return None
        data = os.pread(fd, size, at + HEAD)
        return data if len(data) == size else None
    finally:
        os.close(fd)


def _from(path: str, at: int) -> bytes:
    try:
        return opening.read_bytes(path, NOTES_MOST * 2)[at:]
    except FileNotFoundError:
        return b""


def _words(path: str, at: int) -> tuple[bytes, int]:
    """What was said since an offset, and the offset after it; from the first if the file has begun
    anew."""
    try:
        size = os.lstat(path).st_size
    except FileNotFoundError:
        return b"", 0
    if size == at:
        return b"", at
    data = _from(path, at if size > at else 0)
    return data, (at if size > at else 0) + len(data)


def _short(pool: str) -> str:
    return hashlib.sha256(pool.encode()).hexdigest()[:16]
