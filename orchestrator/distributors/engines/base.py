"""The six primitives that a broker is asked for, and what goes wrong with one.

1. *push* an offer into a pool, *pull* one without waiting, *acknowledge* it; the same dispatch is
there at most once; 2. *records*: a value and its revision, written by compare-and-set alone; 3.
*events* of one dispatch, appended and read in order, as often as one likes; 4. *notify*: a word to
everybody who listens to a topic; it may be lost, so whoever listens looks by itself as well; 5.
*blobs*: what is too large for the others; 6. *cards* of workers: the newest one of each.

What a broker holds may be lost at any moment.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from orchestrator.errors import OrchestratorError
from orchestrator.model.units import DAY
from orchestrator.patterns import bytes_regex
from orchestrator.records import dataclass

KEPT = 7 * int(DAY)  # seconds for which records, events, blobs and cards are kept
OFFERED = 2 * int(DAY)  # and offers: an offer without its record is void
BLOB_MOST = 256 << 20  # bytes of one blob
PATIENCE = 3.0  # seconds for one answer
ACK_WAIT = (
    30.0  # seconds after which an offer that was pulled and not acknowledged is given to another
)
AT_ONCE = 16  # events of one answer
# Whoever has an account at the broker may put larger things there: nobody reads them.
OFFER_MOST = RECORD_MOST = EVENT_MOST = 1 << 20  # bytes of one
CARD_MOST = 16 << 10  # bytes of a worker's card; a longer one is left out
CARDS_MOST = 1000  # workers whose cards are read
EPOCH = bytes_regex(rb"[0-9a-f]{32}\Z")


class Down(OrchestratorError):
    """The broker cannot be reached, or refuses: try again later."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that was pulled; ``token`` is what acknowledges it."""

    dispatch: str
    data: bytes
    token: object


@dataclass(frozen=True, slots=True)
class Record:
    """A record and the revision that the next write names."""

    value: bytes
    revision: int


class Engine(Protocol):
    """A broker, seen from one process: one connection, or a few, however many dispatches there are.

    Every method raises `Down` if it does not answer. Names are letters, digits, ``-``, ``_`` and
    ``.``.
    """

    async def connect(self) -> None:
        """Connect; `Down` if that cannot be, with the reason in words and without credentials."""

    async def close(self) -> None:
        """Disconnect."""

    async def push(self, pool: str, dispatch: str, data: bytes) -> None:
        """Put an offer into a pool; one of the same dispatch is replaced."""

    async def pull(self, pool: str) -> Offer | None:
        """An offer of a pool, if there is one now."""

    async def acknowledge(self, offer: Offer) -> None:
        """It is taken: nobody gets it any more."""

    async def read(self, name: str) -> Record | None:
        """A record; None if there is none."""

    async def write(self, name: str, value: bytes, revision: int | None) -> int | None:
        """Compare and set: the new revision, or None if the record is not at ``revision`` (None: is
        there already)."""

    async def append(self, dispatch: str, data: bytes) -> None:
        """Add an event."""

    async def events(self, dispatch: str, after: str) -> list[tuple[str, bytes]]:
        """Some events after a cursor (empty: from the first), each with its own; an empty list if
        there are no more now."""

    async def store(self, name: str, data: bytes) -> None:
        """Keep a blob."""

    async def load(self, name: str, most: int) -> bytes | None:
        """A blob; None if there is none, or if it has more than ``most`` bytes."""

    async def drop(self, dispatch: str, blobs: list[str]) -> None:
        """The events and blobs of a dispatch are not needed any more."""

    async def notify(self, topic: str, word: str) -> None:
        """Tell everybody who listens."""

    async def listen(self, topic: str, heard: Callable[[str], None]) -> None:
        """Call ``heard`` with each word, until `close`."""

    async def show(self, worker: str, card: bytes) -> None:
        """A worker's card; an empty one takes it away."""

    async def cards(self) -> dict[str, bytes]:
        """The cards of all workers; of more than `CARDS_MOST`, those of one more."""


async def epoch(engine: Engine) -> str:
    """What names this broker's data: another answer means that what it held before is lost.

    It is written again, unchanged, by whoever asks: nothing that is in use expires.
    """
    known = await engine.read("epoch")
    if known is None or not EPOCH.match(known.value):
        made = uuid.uuid4().hex
        revision = None if known is None else known.revision
        if await engine.write("epoch", made.encode(), revision) is not None:
            return made
        known = await engine.read("epoch")
        if known is None or not EPOCH.match(known.value):
            raise Down("the broker lost its data while it was asked for its name")
    await engine.write("epoch", known.value, known.revision)
    return known.value.decode("ascii")


def shown(text: str) -> str:
    """An address, or a text with one in it, as people may see it: without user and password. It is
    one that `unreadable` finds nothing wrong with."""
    return re.sub(r"//[^/?#\n]*@", "//", text)


def has_password(url: str) -> bool:
    """Whether an address may carry credentials: such a one must not be seen in a command or a
    file."""
    return not url.startswith("folder:") and ("@" in url or "password=" in url)


def unreadable(url: str) -> str:
    """Why nobody can tell where the password in an address ends, in words that have nothing of it;
    empty if everybody can."""
    try:
        parts = urlsplit(url)
        _ = parts.port
        rest = url.partition("//")[2].removeprefix(parts.netloc)
        if url.isprintable() and not has_password(rest):
            return ""
    except ValueError:
        pass
    return (
        "the address cannot be read: user and password stand before the @, and have none of"
        " / ? # [ ] in them"
    )
