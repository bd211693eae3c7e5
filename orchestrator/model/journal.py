"""The ledger's memory of one task: records appended over its life, folded into what they mean.

A journal is a list of records (one JSON object a line in ``.state/active`` or ``.state/closed``):

``claim``    the exact text of the request, its hash and inode, and how it was routed
``dispatched``  a distributor that is not on this machine is about to be offered the attempt, or (``offered``) has been: from
             here on it *may* have run, and only that distributor knows
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

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from orchestrator.records import dataclass, field, replace

Record = Mapping[str, Any]
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
    is empty for an attempt of this machine."""

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
_PHASES = {
    "claim": Phase.CLAIMED,
    "dispatched": Phase.DISPATCHED,
    "started": Phase.STARTED,
    "exit": Phase.ENDED,
    "lost": Phase.ENDED,
    "retry": Phase.RETRYING,
    "final": Phase.FINAL,
    "requeue": Phase.REQUEUED,
}


VERSION = 1  # of the records: a journal with a higher one is left alone
_NUMBERED = ("dispatched", "started", "exit", "lost")
_KNOWN = frozenset((*_PHASES, *_FACTS, "told"))
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
    return Journal(Phase.BLOCKED, problem=why) if why else _fold(known)


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


def _fold(records: list[Record]) -> Journal:
    phase, tries, link = Phase.UNCLAIMED, 0, 0
    claim: Record = {}
    last: Record = {}
    acting: Record = {}
    attempts: list[AttemptFacts] = []
    checks: list[AttemptFacts] = []
    facts: dict[str, Record] = {}
    told: list[str] = []
    replies: list[Record] = []
    fresh, unanswered, collided, turn = False, 0, 0, False
    approved = ""
    then: tuple[Record, ...] = ()
    earlier: tuple[str, ...] = ()
    times = 0
    for record in records:
        kind = record.get("record")
        if kind == "tree":
            earlier += _branch_left(facts, record)
        if kind in _FACTS:
            facts[_FACTS[kind]] = record
        if kind == "told" and "taken" in record:
            replies.append({**record, "to": record["taken"]})
            unanswered = 0
        elif kind == "told":
            told.append(str(record.get("text", "")).strip("\n") + "\n")
            unanswered += bool(record.get("asked"))
            turn = turn or bool(record.get("conflict"))
            approved = told[-1] if record.get("plan") else approved
            if "reply" in record:
                unanswered = 0
                replies.append({**record, "to": len(attempts) + 1})
        if kind not in _PHASES:
            continue
        if kind == "started" and record.get("check"):
            checks.append(AttemptFacts(record["attempt"], record))
            phase = Phase.STARTED
            continue
        if kind in ("exit", "lost") and checks and checks[-1].ended is None:
            checks[-1] = AttemptFacts(checks[-1].number, checks[-1].started, record)
            phase = Phase.ENDED
            continue
        if kind == "started":
            told, fresh = [], False
            collided, turn = collided + turn, False
        phase, last = _PHASES[kind], record
        if kind == "claim":
            claim, tries, link = record, 0, 0
            acting = {name: record.get(name) for name in ACTING}
        elif kind == "dispatched":
            if attempts and attempts[-1].number == record["attempt"]:
                attempts[-1] = replace(attempts[-1], dispatched=record)
                phase = Phase.STARTED if attempts[-1].started else Phase.DISPATCHED
            else:
                attempts.append(AttemptFacts(record["attempt"], {}, dispatched=record))
                tries += 1
        elif kind == "started":
            if attempts and attempts[-1].dispatched and attempts[-1].number == record["attempt"]:
                attempts[-1] = replace(attempts[-1], started=record)
            else:
                attempts.append(AttemptFacts(record["attempt"], record))
                tries += 1
        elif kind in ("exit", "lost"):
            if not attempts or attempts[-1].number != record["attempt"]:
                attempts.append(AttemptFacts(record["attempt"], {}))  # it failed before it started
                tries += 1
            attempts[-1] = replace(attempts[-1], ended=record)
        if kind == "final" and "times" in record:  # an end, and no move by a person
            then, times = tuple(record.get("then", ())), record["times"]
        if kind in ("claim", "requeue"):
            then, collided, turn = (), 0, False
        if "read" in record and attempts:
            attempts[-1] = replace(attempts[-1], read=record["read"])
        if kind == "requeue":
            fresh = bool(record.get("fresh"))
            approved = "" if fresh else approved
        if kind == "retry":
            tries = 0 if record.get("renew") else tries
            acting = {**acting, **record.get("next", {})}
        if record.get("link", link) != link:
            link, tries = record["link"], 0
    return Journal(
        phase,
        claim,
        tuple(attempts),
        tries,
        link,
        last,
        acting,
        checks=tuple(checks),
        told="\n".join(told),
        replies=tuple(replies),
        approved=approved,
        fresh=fresh,
        then=then,
        times=times,
        unanswered=unanswered,
        collided=collided,
        tree=facts.get("tree", {}),
        earlier=earlier,
        change=facts.get("change", {}),
        merge=facts.get("merge", {}),
    )
