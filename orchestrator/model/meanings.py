"""What a status, a folder, a priority or a kind of dependency of another program means here: tables
of words.

What is not in a table is not guessed: the caller holds it and says so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from orchestrator.model.status import FINISHED, Status
from orchestrator.patterns import regex

# Written with underscores, in lower case, without apostrophes.
_STATUSES: Mapping[Status, str] = {
    Status.INBOX: (
        "inbox new todo to_do open opened assigned in_progress inprogress in_work doing started"
        " active wip ready ready_for_development ready_for_dev ready_for_work ready_to_start"
        " ready_to_go ready_to_implement pending not_started notstarted not_yet_started unstarted"
        " queued queue planned scheduled next up_next now current incomplete underway"
        " in_development development dev working ongoing reopened triaged selected"
        " selected_for_development unassigned not_done not_complete not_completed unfinished"
        " partial partially_done partially_complete partially_completed begun implementing"
        " in_implementation created submitted requested to_be_done tbd outstanding executing"
        " running resumed claimed approved_for_implementation ready_for_implementation"
    ),
    Status.HELD: (
        "held hold on_hold onhold blocked paused pause deferred defer postponed parked shelved"
        " fridge freezer icebox frozen backlog someday maybe later future idea ideas draft drafts"
        " drafting proposed proposal waiting waiting_for waiting_on_input waiting_for_input"
        " awaiting needs_info needs_input needs_triage needs_review triage snoozed stalled stuck"
        " suspended on_ice in_review review reviewing code_review under_review ready_for_review"
        " in_testing testing qa in_qa ready_for_qa validation awaiting_review awaiting_approval"
        " pending_approval pending_review needs_approval needs_clarification needs_discussion"
        " discussion rfc spike_needed template example sample sometime unplanned unscheduled"
    ),
    Status.DONE: (
        "done completed complete finished finish closed close resolved merged shipped released"
        " delivered deployed fixed implemented verified validated success successful succeeded"
        " passed ok ready_for_release all_done done_with_warnings completed_with_warnings"
    ),
    Status.FAILED: (
        "failed fail failure error errored errors crashed timed_out timeout broken lost"
        " aborted_with_error"
    ),
    Status.CANCELLED: (
        "cancelled canceled cancel wont_do will_not_do wont_fix wontfix wontdo will_not_fix"
        " rejected reject abandoned aborted obsolete outdated dropped duplicate duplicated invalid"
        " superseded replaced declined not_planned not_needed no_longer_needed discarded deprecated"
        " removed deleted skipped skip withdrawn void stopped terminated killed"
    ),
    Status.ARCHIVE: "archive archived archives",
}
STATUSES: Mapping[str, Status] = {
    word: status for status, words in _STATUSES.items() for word in words.split()
}
_FOLDERS: Mapping[Status, str] = {
    Status.INBOX: (
        "inbox new todo to_do open assigned in_progress inprogress doing active wip ready pending"
        " queue queued next now current"
    ),
    Status.HELD: (
        "held hold on_hold onhold blocked paused deferred postponed parked shelved fridge freezer"
        " icebox frozen backlog someday later ideas idea draft drafts proposed proposals waiting"
        " review in_review"
    ),
    Status.DONE: "done completed complete finished closed resolved",
    Status.FAILED: "failed failure failures error errors",
    Status.CANCELLED: "cancelled canceled rejected abandoned obsolete wont_do wontfix discarded",
    Status.ARCHIVE: "archive archived archives",
}
FOLDERS: Mapping[str, Status] = {
    word: status for status, words in _FOLDERS.items() for word in words.split()
}
# Folders whose files are not work to do, whatever lies around them or in them: never run, held for
# a person.
SHELVES = frozenset("backup backups bak trash bin attic recycle stash template templates".split())
FINAL = frozenset((*FINISHED, Status.ARCHIVE))

_PRIORITIES: Mapping[str, str] = {
    "high": (
        "critical urgent highest high higher blocker blocking major important p0 p1 must must_have"
        " very_high asap immediate emergency showstopper sev0 sev1 medium_high high_medium 🔴 ⏫ 🔺"
    ),
    "normal": (
        "medium normal moderate mid middle average default standard p2 should should_have regular"
        " sev2 med none 🟡 🔼"
    ),
    "low": (
        "low lowest lower minor trivial p3 p4 p5 could could_have nice_to_have wont optional"
        " very_low sev3 sev4 low_medium medium_low someday 🟢 🔽 ⏬"
    ),
}
PRIORITIES: Mapping[str, str] = {
    word: priority for priority, words in _PRIORITIES.items() for word in words.split()
}

# Kinds of dependency after which a task need not wait.
SOFT = frozenset(
    "synergy synergistic synergises synergizes related relates relates_to related_to see_also soft"
    " optional informational information info reference references context parallel concurrent"
    " complements complementary enhances enhancement supports nice_to_have recommended suggested"
    " similar duplicates duplicate_of follow_up followup blocks enables unblocks downstream"
    " dependents child parent_of weak none external inspiration extends".split()
)
_SOFT_PROSE = regex(
    r"\(context\)|\b(?:synerg\w*|optional\w*|not (?:required|blocking|needed)|non-blocking|nice to"
    r" have|in parallel|informational|"
    r"for context|see also|related to|relates to|complement\w*|similar to|recommended|no (?:hard"
    r" )?dependenc\w+)",
    re.I,
)


KEY = 40  # characters of a text that is remembered


def plain(text: object) -> str:
    """A word without its writer's taste: lower case, underscores, no apostrophes, no signs around
    it."""
    said = str(text)
    return _word(said) if len(said) <= KEY else _plain(said)


def _plain(said: str) -> str:
    word = unicodedata.normalize("NFKC", said).strip()
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).lower()
    word = re.sub(r"['\u2019`]", "", word)
    return re.sub(r"[\W_]+", "_", word).strip("_")


_word = lru_cache(1024)(_plain)  # of keys, which are the same in every task


def _forms(text: object) -> list[str]:
    """The word, and what stands before a remark: ``Done (2025-11-23)``, ``blocked: waits for
    x``."""
    head = re.split(r"[(:,;\u2013\u2014|/]|\s-+\s|->", str(text).strip(), maxsplit=1)[0]
    return [plain(text), plain(head)]


class Said(NamedTuple):
    """What a file says of its own status: under which key, in which words, and the word that tells
    what it means."""

    key: str = "status"
    text: str = ""
    word: str = ""

    @property
    def shown(self) -> str:
        """``completed: true``, cut."""
        return f"{self.key}: {self.text if len(self.text) < 40 else self.text[:39] + '…'}"


# Keys that name a status, the one that says more first; keys that are one if they are true, or have
# a moment.
_NAMED = ("status", "state")
_FLAGS: Mapping[str, str] = {
    **dict.fromkeys(
        "cancelled canceled cancelled_at canceled_at cancelled_on wontfix rejected_at".split(),
        "cancelled",
    ),
    **dict.fromkeys("archived archived_at".split(), "archived"),
    **dict.fromkeys(
        "done completed complete closed finished resolved is_done is_completed is_complete"
        " is_closed done_at completed_at finished_at closed_at resolved_at completed_on"
        " completed_date closed_on done_date date_completed".split(),
        "done",
    ),
}
_YES = regex(r"(?i)true|yes|y|x|✓|✅|\[x\]|\d{4}-\d\d?-\d\d?.*|\d{1,2}[./]\d{1,2}[./]\d{2,4}.*")


def said(data: Mapping[Any, Any]) -> Said:
    """What a mapping says of its status, however it says so; empty words if it says nothing."""
    keys = {plain(key): key for key in reversed(list(data)) if isinstance(key, str)}
    for name in _NAMED:
        text = _text_of(data.get(keys.get(name, name)))
        if text:
            return Said(keys[name], text, text)
    for name, word in _FLAGS.items():
        value = data.get(keys.get(name, name))
        text = value.strip() if isinstance(value, str) else ""
        text = "true" if value is True else text
        if _YES.fullmatch(text):
            return Said(keys[name], text, word)
    return Said()


def _text_of(value: object) -> str:
    """The text of a status: itself, or of a list or mapping what stands in it."""
    if isinstance(value, Mapping):
        named = (value.get(key) for key in ("name", "value", "status", "state", "title", "label"))
        return next((text for item in named if (text := _text_of(item))), "")
    if isinstance(value, list):
        return ", ".join(text for item in value if (text := _text_of(item)))
    return "" if value is None else str(value).strip()


def status_of(text: object) -> Status | None:
    """The status that a word means; None if it is not known."""
    return next((STATUSES[form] for form in _forms(text) if form in STATUSES), None)


def priority_of(text: object) -> str:
    """``high``, ``normal`` or ``low``; empty if the word is not known."""
    sign = str(text).strip().lower()
    forms = [sign, *_forms(text)]
    return next((PRIORITIES[form] for form in forms if form in PRIORITIES), "")


def folder_of(parts: list[str]) -> tuple[Status | None, str]:
    """What the folders around a file mean, outermost first, and the one that counts.

    The innermost that means something counts; but what lies on a shelf, among what is finished or
    in a backup does not become work because a folder in between is called ``inbox`` or
    ``assigned``.
    """
    shelf = next((part for part in parts if _is_shelf(part)), "")
    known = [(FOLDERS[plain(part)], part) for part in parts if plain(part) in FOLDERS]
    if not known:
        return (Status.HELD, shelf) if shelf else (None, "")
    chosen = known[-1]
    if chosen[0] is Status.INBOX:
        chosen = next((item for item in reversed(known) if item[0] is not Status.INBOX), chosen)
    if shelf and chosen[0] is Status.INBOX:
        return Status.HELD, shelf
    return chosen


def _is_shelf(part: str) -> bool:
    return bool(SHELVES & set(re.split(r"[\W_]+", part.lower())))


def is_soft(kind: object) -> bool:
    """Whether a dependency of this kind is not waited for."""
    return plain(kind) in SOFT


def sounds_soft(text: str) -> bool:
    """Whether a sentence about another task says that it need not be waited for."""
    return _SOFT_PROSE.search(text) is not None
