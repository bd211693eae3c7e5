"""What a watcher and a worker say to each other: the envelope, the record of a dispatch, its
events.

The record of a dispatch goes one way: absent, ``offered``, ``claimed`` by a worker, ``running``,
and then ``finished`` or ``lost``, which exclude each other. Every step is a compare-and-set, so a
dispatch is claimed at most once, ever; an offer without its record is void. What the other side
sends is checked here, and nowhere else; anything that is wrong is `Nonsense`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, field, replace
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.files import schemas
from orchestrator.files.documents import Document
from orchestrator.files.text import one_line
from orchestrator.model.result import session_name
from orchestrator.records import dataclass

VERSION = 1  # of all that is said here
ENVELOPE_MOST = 64 << 10  # bytes; what is larger travels as blobs
RECORD_MOST = 16 << 10
NUMBER_MOST = 1 << 53  # of any number in a record: one more of it is a number, too
NAME_MOST = 100  # characters of what a worker is called
PIECE = 256 << 10  # bytes of a log in one event
HEAD_MOST = 16 << 10  # bytes of an event before its bytes of log
PROMPT_MOST = 8 << 20
CODE_MOST = 256 << 20  # bytes of a bundle, either way
FILES_MOST = 64 << 20  # and of the files beside it
LEFTOVERS = 2.0  # seconds that a supervisor gives what a tool left running

OFFERED, CLAIMED, RUNNING, FINISHED, LOST = "offered", "claimed", "running", "finished", "lost"
OVER = (FINISHED, LOST)
LOGS = ("stdout", "stderr")
# How an attempt can end over there (`model.attempt.AttemptEnd`).  Of those that nobody can account
# for the coordination says that they are lost: the supervisor was killed, or ended it because its
# worker had lost touch.
UNKNOWN = ("lost", "leash")
CAUSES = (
    "",
    "cancelled",
    "timeout",
    "silence",
    "log_limit",
    "start",
    "not_installed",
    "not_home",
    *UNKNOWN,
)
TOPIC = "offers"
CANCELLED_UNCLAIMED: Mapping[str, Any] = {"cause": "cancelled", "code": None, "signal": None}


class Nonsense(OrchestratorError):
    """What came is nothing that the other side of this version would send."""


def record_name(dispatch: str) -> str:
    """The record of a dispatch."""
    return f"d.{dispatch}"


def worker_topic(worker: str) -> str:
    """What a worker listens to."""
    return f"k.{worker}"


def watcher_topic(project: str) -> str:
    """What a watcher listens to."""
    return f"w.{project}"


def once_pool(dispatch: str) -> str:
    """The pool of a dispatch that one worker is started for (``orchestrator worker --once``)."""
    return f"once.{dispatch}"


def blob(dispatch: str, what: str) -> str:
    """A blob of a dispatch: ``prompt``, ``given`` (files), ``code``; back come ``work`` and
    ``made`` (files)."""
    return f"{dispatch}.{what}"


BLOBS = ("prompt", "given", "code", "work", "made")


@dataclass(frozen=True, slots=True)
class State:
    """The record of a dispatch. ``beat`` is counted up while the worker lives, ``end`` is how the
    attempt ended, ``done`` that all of it is home. ``again`` is how often the watcher has asked for
    all of it once more, ``told`` how often the worker has begun from the first."""

    state: str
    worker: str = ""  # its id
    name: str = ""  # what people call it
    beat: int = 0
    cancel: bool = False
    started: float = (
        0.0  # when the tool was started, seconds since the epoch, by the worker's clock
    )
    session: str = ""
    end: Mapping[str, Any] = field(default_factory=dict)
    done: bool = False
    again: int = 0
    told: int = 0

    def bytes(self) -> bytes:
        """As it is kept."""
        return json.dumps({"v": VERSION, **asdict(self)}, separators=(",", ":")).encode()

    def but(self, **changes: Any) -> State:
        """The same but for these."""
        return replace(self, **changes)


_STATE = {
    "state": str, "worker": str, "name": str, "beat": int, "cancel": bool, "started": (int, float), "session": str, "end": dict,
    "done": bool, "again": int, "told": int,
}  # fmt: skip


def state_from(data: bytes) -> State:
    """The record in these bytes.  Raises `Nonsense`."""
    known = _mapping(data, RECORD_MOST, "a record")
    given = {name: known[name] for name in _STATE if name in known}
    for name, kind in _STATE.items():
        if name in given and not isinstance(given[name], kind):  # type: ignore[arg-type]
            raise Nonsense(f"a record whose {name} is wrong")
    for name in ("beat", "started", "again", "told"):
        if not 0 <= given.get(name, 0) <= NUMBER_MOST:
            raise Nonsense(f"a record whose {name} is too large, or less than nothing")
    if given.get("state") not in (OFFERED, CLAIMED, RUNNING, *OVER):
        raise Nonsense("a record in no known state")
    # Its worker becomes a topic at the broker, in the watcher's name; people read what it is called.
    if given.get("worker"):
        given["worker"] = _hex(given["worker"], 32)
    given["name"] = one_line(given.get("name", ""), NAME_MOST)
    given["session"] = session_name(given.get("session", ""))
    if given["state"] == FINISHED:
        given["end"] = end_of(given.get("end", {}))
    return State(**given)


def end_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """How an attempt ended, as a worker says: only what is known, each of its type. Raises
    `Nonsense`."""
    end: dict[str, Any] = {"cause": data.get("cause", ""), "code": None, "signal": None}
    if end["cause"] not in CAUSES:
        raise Nonsense("an end with an unknown cause")
    for name, most in (
        ("code", 255),
        ("signal", 64),
        ("duration_ms", 1 << 40),
        ("leftovers", 1 << 20),
    ):
        value = data.get(name)
        if value is not None:
            end[name] = _number(value, most, name)
    end["message"] = str(data.get("message", ""))[:2000]
    for name in (*LOGS, "work", "made"):
        value = data.get(name)
        if value is None:
            continue
        if not isinstance(value, dict):
            raise Nonsense(f"an end whose {name} is wrong")
        end[name] = {
            "size": _number(value.get("size"), 1 << 40, name),
            "sha256": _hex(value.get("sha256"), 64),
        }
        if name == "work":
            end[name]["commit"] = _hex(value.get("commit"), 40)
    return end


def lost_at(name: str, farm: str) -> str:
    """Who lost an attempt, for people."""
    return f"its worker {name} ({farm})" if name else f"its worker ({farm})"


def _number(value: Any, most: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise Nonsense(f"an end whose {name} is not a number")
    return value


def _hex(value: Any, size: int) -> str:
    if not isinstance(value, str) or len(value) != size or set(value) - set("0123456789abcdef"):
        raise Nonsense("an invalid hash")
    return value


def envelope(told: Mapping[str, Any]) -> bytes:
    """An envelope, which fits its schema.  ValueError if it does not, or is too large."""
    data = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    opened(data)
    return data


def opened(data: bytes) -> dict[str, Any]:
    """What an envelope says. Raises `Nonsense`, in words that a person at the other end
    understands."""
    told = _mapping(data, ENVELOPE_MOST, "an order")
    if told.get("v") != VERSION:
        theirs = str(told.get("v"))[:20]
        raise Nonsense(
            f"the order is of version {theirs} and this worker's is {VERSION}: the same release is"
            " needed on both sides"
        )
    problems = schemas.check("envelope", Document("", told))
    if problems:
        raise Nonsense(f"the order does not fit its schema: {problems[0].message}")
    return told


def _mapping(data: bytes, most: int, what: str) -> dict[str, Any]:
    if len(data) > most:
        raise Nonsense(f"{what} of {len(data)} bytes; {most} at most")
    try:
        found = json.loads(data, parse_constant=_real, parse_float=_real)
    except (ValueError, RecursionError):
        raise Nonsense(f"{what} that is not JSON") from None
    if not isinstance(found, dict):
        raise Nonsense(f"{what} that is not a mapping")
    return found


def _real(text: str) -> float:
    """A number that is one: NaN is neither more nor less than any limit, and 1e999 is infinite. A
    schema takes 1.0 for a whole number, so here it is one."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a number")
    return int(value) if value.is_integer() else value


@dataclass(frozen=True, slots=True)
class Piece:
    """An event: bytes of a log at an offset (``cut``: it ends there now), or, without a ``log``,
    commits that a worker has while it asks for the code."""

    log: str = ""
    at: int = 0
    cut: bool = False
    data: bytes = b""
    has: tuple[str, ...] = ()

    def bytes(self) -> bytes:
        """As it is sent: a line of JSON, and the bytes."""
        head: dict[str, Any] = {"log": self.log, "at": self.at}
        if self.cut:
            head["cut"] = True
        if not self.log:
            head = {"has": list(self.has)}
        return json.dumps(head).encode() + b"\n" + self.data


def piece_from(data: bytes) -> Piece:
    """The event in these bytes.  Raises `Nonsense`."""
    head, _, rest = data.partition(b"\n")
    told = _mapping(head, HEAD_MOST, "an event")
    if "has" in told:
        has = told["has"] if isinstance(told["has"], list) else []
        return Piece(has=tuple(_hex(item, 40) for item in has[:200]))
    if told.get("log") not in LOGS or len(rest) > PIECE:
        raise Nonsense("an event for an unknown log")
    return Piece(
        told["log"], _number(told.get("at"), 1 << 40, "offset"), told.get("cut") is True, rest
    )
