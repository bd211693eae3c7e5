"""The ledger's memory of one task: records appended over its life, folded into what they mean.

A journal is a list of records (one JSON object a line in ``.state/active`` or ``.state/closed``):

``claim``    the exact text of the request, its hash and inode, and how it was routed
``dispatched``  the attempt is for a distributor that is not on this machine, and nobody there knows of it yet
``offered``  it is about to be offered there, over the ``broker`` with this data: from here on it *may* have run, and
             only that distributor knows
``started``  written by the supervisor before the tool is executed: from here on it *has* run
``exit``     written by the supervisor: how the tool ended (the result is committed)
``lost``     written by recovery: the supervisor is gone and left no exit record
``retry``    another attempt is due at ``not_before``, by tool ``link`` of the fallback chain: ``next`` says who that is
``final``    the task lies in a finished folder (or ``review``) for good
``requeue``  it may be claimed again: a person asked, or a drained watcher gave it back
``tree``     it has a tree of its own: its branch and the commit it began from (`store.trees.Tree`)
``saved``    what an attempt left in the tree is in a ref (`model.isolation.Change`)
``told``     what the next attempt is to be told, in the session of the one before; with ``reply`` a person said it (with
             ``taken`` to this attempt, which was told while it ran), with
             ``plan`` a person has approved its plan
``merge``    a merge is about to move a branch; ``merged``: it has

A ``started`` record with a ``check`` is that of a check, and the ``exit`` or ``lost`` after it its
end.

``retry``, ``final`` and ``requeue`` remember in ``read`` what was understood of the attempt before
them. Only the holder of the journal's lock appends, so the order of records is the order of facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from orchestrator.records import dataclass, field, replace

Record = Mapping[str, Any]
REJECTED = "It was rejected: "  # how the next attempt is told of a person's no
ACTING = ("agent", "tool", "model", "on")


class Phase(Enum):
    """How far a claimed task has come."""

    UNCLAIMED = "unclaimed"  # nothing durable was written: never started
    CLAIMED = "claimed"
    DISPATCHED = "dispatched"  # offered elsewhere: nobody here knows whether it has started
    STARTED = "started"
    ENDED = "ended"
    RETRYING = "retrying"
    FINAL = "final"
    REQUEUED = "requeued"
    BLOCKED = "blocked"  # it is not understood: nothing is done with its task


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One execution: ``started``; once it ended, ``ended`` (an ``exit`` or ``lost`` record); once
    it was understood, ``read`` (`model.result.kept`). ``dispatched`` says where it was offered; it
    is empty for an attempt of this machine. Its ``offered`` is the last ``offered`` record's
    ``broker``; empty: nobody has been offered it; missing: nobody knows."""

    number: int
    started: Record
    ended: Record | None = None
    read: Record = field(default_factory=dict)
    dispatched: Record = field(default_factory=dict)

    @property
    def planned(self) -> bool:
        """Whether it was to plan only."""
        return bool(self.started.get("plan") or self.dispatched.get("plan"))

    @property
    def where(self) -> str:
        """The distributor that has it; empty: a supervisor of this machine."""
        return str(self.dispatched.get("where", ""))


@dataclass(frozen=True, slots=True)
class Journal:
    """What the records of one task add up to."""

    phase: Phase = Phase.UNCLAIMED
    claim: Record = field(default_factory=dict)
    attempts: tuple[AttemptFacts, ...] = ()
    tries: int = 0  # attempts since the last claim, or since it fell back to another tool
    link: int = 0  # which tool of the fallback chain is to act
    last: Record = field(default_factory=dict)
    settled: Record = field(default_factory=dict)  # its newest end or verdict, the archive apart
    # Agent, tool and model of the newest or the next attempt.
    acting: Record = field(default_factory=dict)
    tree: Record = field(default_factory=dict)
    earlier: tuple[str, ...] = ()  # branches that it worked on before it began anew
    change: Record = field(default_factory=dict)  # the newest ``saved``
    merge: Record = field(default_factory=dict)  # the newest ``merge`` or ``merged``
    told: str = ""  # to the attempt that follows
    replies: tuple[
        Record, ...
    ] = ()  # ``told`` records of what people said, with the attempt they went to
    collided: int = 0  # attempts that were told to resolve a conflict, since its claim or a retry
    unanswered: int = 0  # questions since its claim, or a reply, that nobody answered
    approved: str = ""  # what was told with the yes to its plan
    fresh: bool = False  # the next attempt begins anew: no session, no tree of the one before
    then: tuple[Record, ...] = ()  # tasks to be made when its file enters a folder: id, text, at
    times: int = 0  # how often it has ended here
    checks: tuple[AttemptFacts, ...] = ()  # numbered by the attempt that they prove
    problem: str = ""  # why it is blocked

    @property
    def checking(self) -> bool:
        """Whether a check was started that has not ended."""
        return bool(self.checks) and self.checks[-1].ended is None

    @property
    def merged(self) -> str:
        """The commit by which the work was merged; empty if it was not, or has changed since."""
        same = self.merge.get("tip") == self.change.get("tip")
        return self.merge.get("new", "") if same and self.merge.get("record") == "merged" else ""

    @property
    def task_id(self) -> str:
        return str(self.claim.get("id", ""))

    @property
    def attempt(self) -> AttemptFacts | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def rejected(self) -> str:
        """That a person took its work for a failure, and why, in words; empty if nobody did."""
        if self.settled.get("status") != "failed" or "outcome" in self.settled:
            return ""
        said = [line for line in self.told.splitlines() if line.startswith(REJECTED)]
        why = f": {said[-1].removeprefix(REJECTED)}" if said else ""
        return f"rejected by a person{why}"

    @property
    def plan_waits(self) -> bool:
        """Whether it has made a plan that waits in review for a yes."""
        return bool(self.last.get("plan")) and self.last.get("status") == "review"

    @property
    def next_attempt(self) -> int:
        return len(self.attempts) + 1

    @property
    def inode(self) -> int:
        """The inode the task's file is known by: the latest that a record names."""
        return int(self.last.get("ino", self.claim.get("ino", 0)))

    @property
    def born(self) -> int | None:
        """When the file of that inode came into being, in ns; None if that is not known."""
        return (self.last if "ino" in self.last else self.claim).get("born")


_FACTS = {"tree": "tree", "saved": "change", "merge": "merge", "merged": "merge"}
VERSION = 1  # of the records: a journal with a higher one is left alone
_NUMBERED = ("dispatched", "offered", "started", "exit", "lost")
_TYPES = {
    "id": str,
    "file": str,
    "text": str,
    "attempt": int,
    "link": int,
    "ino": int,
    "times": int,
    "taken": int,
}


def fold(records: Iterable[Record]) -> Journal:
    """The state that a sequence of records describes; `Phase.BLOCKED` if they are not understood.

    What a later version wrote could mean that the task has run: it is never taken for less than it
    says.
    """
    known = list(records)
    why = _problem(known)
    if why:
        return Journal(Phase.BLOCKED, problem=why)
    total = _Sum()
    for record in known:
        total.add(record)
    return total.journal()


def _problem(records: list[Record]) -> str:
    """Why these records are not understood; empty if they are."""
    for number, record in enumerate(records, 1):
        kind, version = record.get("record"), record.get("v", VERSION)
        if kind not in _KNOWN:
            return f"record {number} is of a kind that this version does not know: {str(kind)[:40]}"
        if not isinstance(version, int) or version > VERSION:
            return f"record {number} is of version {str(version)[:20]}, and this is {VERSION}"
        for name, expected in _TYPES.items():
            if name in record and not isinstance(record[name], expected):
                return f"record {number}: {name} is no {expected.__name__}"
        if kind in _NUMBERED and "attempt" not in record:
            return f"record {number} has no attempt"
        for name in ("at", "not_before"):
            if not isinstance(record.get(name, 0.0), (int, float)):
                return f"record {number}: {name} is not a moment"
        for name in ("read", "next"):
            if not isinstance(record.get(name, {}), dict):
                return f"record {number}: {name} is not a mapping"
    if records and (records[0].get("record") != "claim" or "id" not in records[0]):
        return "it does not begin with a claim"
    return ""


def _branch_left(facts: Mapping[str, Record], after: Record) -> tuple[str, ...]:
    """The branch of the tree before, if the one after has another, or none; a merged one went with
    its tree."""
    branch = str(facts.get("tree", {}).get("branch", ""))
    merge, change = facts.get("merge", {}), facts.get("change", {})
    merged = merge.get("record") == "merged" and merge.get("tip") == change.get("tip")
    return (branch,) if branch and branch != after.get("branch") and not merged else ()


class _Sum:
    """What the records so far add up to: one step for each kind of record."""

    def __init__(self) -> None:
        self.phase = Phase.UNCLAIMED
        self.claim: Record = {}
        self.last: Record = {}
        self.settled: Record = {}
        self.acting: Record = {}
        self.attempts: list[AttemptFacts] = []
        self.checks: list[AttemptFacts] = []
        self.tries, self.link, self.times = 0, 0, 0
        self.then: tuple[Record, ...] = ()
        self.facts: dict[str, Record] = {}
        self.earlier: tuple[str, ...] = ()
        # what the next attempt is told, and how it begins
        self.told: list[str] = []
        self.replies: list[Record] = []
        self.approved = ""
        self.fresh = False
        self.unanswered, self.collided = 0, 0
        self.conflict = False  # the next attempt is told to resolve one

    def add(self, record: Record) -> None:
        """One record more."""
        kind = record["record"]
        if kind in _FACTS:
            self._fact(_FACTS[kind], record)
        elif kind == "told":
            self._told(record)
        elif kind == "started" and record.get("check"):
            self.checks.append(AttemptFacts(record["attempt"], record))
            self.phase = Phase.STARTED
        elif kind in ("exit", "lost") and self.checks and self.checks[-1].ended is None:
            self.checks[-1] = replace(self.checks[-1], ended=record)
            self.phase = Phase.ENDED
        else:
            self.phase, step = _STEPS[kind]
            self.last = record
            step(self, record)
            self._outcome(record)

    def _fact(self, name: str, record: Record) -> None:
        if name == "tree":
            self.earlier += _branch_left(self.facts, record)
        self.facts[name] = record

    def _told(self, record: Record) -> None:
        """To the attempt that follows; or (``taken``) to the one that ran."""
        if "taken" in record:
            self.replies.append({**record, "to": record["taken"]})
            self.unanswered = 0
            return
        text = str(record.get("text", "")).strip("\n") + "\n"
        self.told.append(text)
        self.unanswered += bool(record.get("asked"))
        self.conflict = self.conflict or bool(record.get("conflict"))
        if record.get("plan"):
            self.approved = text
        if "reply" in record:
            self.unanswered = 0
            self.replies.append({**record, "to": len(self.attempts) + 1})

    def _claimed(self, record: Record) -> None:
        self.claim, self.tries, self.link = record, 0, 0
        self.acting = {name: record.get(name) for name in ACTING}
        self._begin_anew()

    def _dispatched(self, record: Record) -> None:
        newest = self._attempt(record)
        self.attempts[-1] = replace(newest, dispatched=record)
        self.phase = Phase.STARTED if newest.started else Phase.DISPATCHED

    def _offered(self, record: Record) -> None:
        known = {**self._attempt(record).dispatched, "attempt": record["attempt"]}
        self._dispatched({**known, "offered": record.get("broker", "")})

    def _started(self, record: Record) -> None:
        self.told, self.fresh = [], False
        self.collided, self.conflict = self.collided + self.conflict, False
        newest = self.attempts[-1] if self.attempts else None
        if newest is None or newest.number != record["attempt"] or not newest.dispatched:
            newest = self._another(record)
        self.attempts[-1] = replace(newest, started=record)

    def _ended(self, record: Record) -> None:
        self.attempts[-1] = replace(self._attempt(record), ended=record)

    def _retried(self, record: Record) -> None:
        self.tries = 0 if record.get("renew") else self.tries
        self.acting = {**self.acting, **record.get("next", {})}

    def _finished(self, record: Record) -> None:
        if record.get("status") != "archive":
            self.settled = record
        if "times" in record:  # an end, and no move by a person
            self.then, self.times = tuple(record.get("then", ())), record["times"]

    def _requeued(self, record: Record) -> None:
        self._begin_anew()
        self.settled = {}
        self.fresh = bool(record.get("fresh"))
        self.approved = "" if self.fresh else self.approved

    def _begin_anew(self) -> None:
        """What is counted from a claim or a retry on."""
        self.then, self.collided, self.conflict = (), 0, False

    def _outcome(self, record: Record) -> None:
        """What an attempt came to, and which tool is next."""
        if "read" in record and self.attempts:
            self.attempts[-1] = replace(self.attempts[-1], read=record["read"])
        if record.get("link", self.link) != self.link:
            self.link, self.tries = record["link"], 0

    def _attempt(self, record: Record) -> AttemptFacts:
        """The newest attempt, if the record is about that one; else another."""
        if self.attempts and self.attempts[-1].number == record["attempt"]:
            return self.attempts[-1]
        return self._another(record)

    def _another(self, record: Record) -> AttemptFacts:
        self.attempts.append(AttemptFacts(record["attempt"], {}))
        self.tries += 1
        return self.attempts[-1]

    def journal(self) -> Journal:
        """All of it."""
        return Journal(
            self.phase,
            self.claim,
            tuple(self.attempts),
            self.tries,
            self.link,
            self.last,
            acting=self.acting,
            settled=self.settled,
            tree=self.facts.get("tree", {}),
            earlier=self.earlier,
            change=self.facts.get("change", {}),
            merge=self.facts.get("merge", {}),
            told="\n".join(self.told),
            replies=tuple(self.replies),
            collided=self.collided,
            unanswered=self.unanswered,
            approved=self.approved,
            fresh=self.fresh,
            then=self.then,
            times=self.times,
            checks=tuple(self.checks),
        )


# By kind of record: how far the task has come by it, and what else it changes.
_STEPS: Mapping[str, tuple[Phase, Callable[[_Sum, Record], None]]] = {
    "claim": (Phase.CLAIMED, _Sum._claimed),
    "dispatched": (Phase.DISPATCHED, _Sum._dispatched),
    "offered": (Phase.DISPATCHED, _Sum._offered),
    "started": (Phase.STARTED, _Sum._started),
    "exit": (Phase.ENDED, _Sum._ended),
    "lost": (Phase.ENDED, _Sum._ended),
    "retry": (Phase.RETRYING, _Sum._retried),
    "final": (Phase.FINAL, _Sum._finished),
    "requeue": (Phase.REQUEUED, _Sum._requeued),
}
_KNOWN = frozenset((*_STEPS, *_FACTS, "told"))
