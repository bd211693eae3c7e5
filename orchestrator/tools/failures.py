"""Which kind of failure an error text tells of, and when it ends. What decides is data:
``failures.yaml`` and specs.

Only what a program says of its own failure may be asked (see `tools.ownwords`). A number counts as
an HTTP status only where the text has it as one, and what a text denies does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from orchestrator.files import documents
from orchestrator.files.layout import data_file
from orchestrator.libraries import later
from orchestrator.patterns import regex
from orchestrator.records import dataclass
from orchestrator.tools import when

if TYPE_CHECKING:
    import http
else:
    http = later("http")

UNITS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}
Pattern = tuple[str, str]  # class, regular expression
DENIABLE = frozenset(
    {"usage_limit", "rate_limit", "overloaded"}
)  # kinds that texts speak of to deny them
# Where the status alone does not say it all: 429 is both, and a session that is gone is told with a
# 404.
TEXT_DECIDES = frozenset({"usage_limit", "session"})


@dataclass(frozen=True, slots=True)
class Failure:
    """A kind of failure (`model.failure.KINDS`); ``reset`` is when it is over (seconds since the
    epoch), if that was said."""

    kind: str
    reset: float | None = None


@cache
def _entries() -> tuple[Mapping[str, Any], ...]:
    with open(data_file("tools", "failures.yaml"), "rb") as file:
        data = documents.parse(file.read()).data
    whole = partial(regex(r"%(\w+)%").sub, lambda part: data["words"][part[1]])
    return tuple(
        {**item, "pattern": whole(item["pattern"])} if "pattern" in item else item
        for item in data["failures"]
    )


@cache
def _statuses() -> frozenset[str]:
    return frozenset(_as_status(code) for item in _entries() for code in item.get("status", ()))


@cache
def common() -> tuple[Pattern, ...]:
    """The patterns for every tool; statuses are patterns too."""
    found = []
    for item in _entries():
        found += [(item["class"], item["pattern"])] if "pattern" in item else []
        found += [(item["class"], _as_status(code)) for code in item.get("status", ())]
    return tuple(found)


def patterns(listed: Iterable[dict[str, str]]) -> tuple[Pattern, ...]:
    return tuple((item["class"], item["pattern"]) for item in listed)


def of_status(status: object) -> str:
    """The kind that an HTTP status stands for; empty if it is none of them."""
    try:
        code = int(str(status))
    except ValueError:
        return ""
    return next((item["class"] for item in _entries() if code in item.get("status", ())), "")


def classify(
    text: str, own: Sequence[Pattern], now: float, status: object = None
) -> Failure | None:
    """The first kind that fits the text; None if there is none. ``status`` is the HTTP status that
    the program gives as data."""
    found = _by_text(text, own, now)
    known = of_status(status) if status is not None else ""
    if known and (found is None or found.kind not in TEXT_DECIDES):
        return Failure(known, when.ends(text, now))
    return found


def _by_text(text: str, own: Sequence[Pattern], now: float) -> Failure | None:
    for kind, pattern in (*own, *common()):
        for found in _compiled(pattern).finditer(text):
            if (kind in DENIABLE or pattern in _statuses()) and not _told(text, found):
                continue
            return Failure(kind, _reset(found.groupdict(), now) or when.ends(text, now))
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


# A quantity near a limit, or a part of one, is no limit that was met.
_PART_OF = regex(
    r"(?:\b(?:approaching|nearing|near|close to|far from|below|within|under|towards?|remaining (?:of|in|until|before)|left (?:of|in|until|before)|before (?:you )?(?:hit|reach)(?:ing)?)"
    r"|(?<!\d)(?<!\d[.,])(?:\d{1,2})(?:\.\d+)? ?%(?: used)? of)\s+(?:(?:the|your|its|our|a|an|this)\s+){0,2}(?:\S+\s+){0,2}?[\"'“‘(]?$",
    re.IGNORECASE,
)
# The words in a name: of a file, a test, a variable.  What an API calls its errors is no such name.
_NAME_BEFORE = regex(r"[A-Za-z0-9_/.\\]$")
_ERROR_AFTER = regex(r"_?(?:Error|Exception)", re.IGNORECASE)
_NAME_AFTER = regex(
    r"\.[a-z]{1,5}\b|ers?\b|_(?!error|exceeded|reached|hit)\w|::|\(\)",
    re.IGNORECASE,
)
# A file and a line of it, before a number: ``src/limits.py:429``.
_PLACE_BEFORE = regex(r"\.[a-z]{1,5}:$", re.IGNORECASE)
# A line that tells of a mistake in a program, or of a test: its words are about code.
_OF_CODE = regex(
    r"\b(?:(?:Type|Reference|Syntax|Name|Attribute|Key|Index|Import|ModuleNotFound|FileNotFound|Assertion|Unbound|ZeroDivision|Recursion|Indentation|Unicode\w*)Error\b"
    r"|ENOENT|EACCES|EDQUOT|EISDIR|Cannot find (?:module|name|package)|No module named|no such (?:file|module)|cannot (?:open|read|find) \S*[./]"
    r"|(?:expected|expects?|assert\w*|should (?:be|have|equal)|toBe|to equal)\b.{0,40}\b\d{3}\b|(?:FAILED|PASSED|passed)\s*$|panicked at)|^\s*[✓✔✗✘×√] |\(\d+ ?ms\)\s*$",
)
# A line about the machine: its disks and its memory have quotas too.
_OF_MACHINE = regex(
    r"\b(?:disks?|inodes?|file ?systems?|heap|memory|RAM|CPU|swap|storage)\b", re.IGNORECASE
)

_LIGHT = "a|an|the|this|that|your|our|its|any|by|about|because|of|due|to|related|caused|hit|hitting|reach|reached|exceeded|under|over|been|being|yet|at|is|was|in|longer|really|actually|mean|means|meant|that|you|we|it|have|has|do|does|did|with|from"
# What might be, will be, or is written about, has not happened: "if you hit your usage limit",
# "handles rate limits".
_SUPPOSED_BEFORE = regex(
    rf"\b(?:if|when|whenever|in case(?: of)?|unless|should|once|before|lest|may|might|could|will|soon|about to|going to|handl(?:es?|ed|ing)(?: of)?|supports?|implement(?:s|ed)?|renamed?|add(?:s|ed)?|wrote|writes?|updated?|documents?|describes?|mentions?|shows?|tests? (?:of|for)|what)\s+(?:(?:{_LIGHT})\s+){{0,6}}[\"'“‘(]?$",
    re.IGNORECASE,
)
_RESETS_AFTER = regex(r"\s+(?:reset|renew|refresh|clear|lift|is over|ends)", re.IGNORECASE)
_SUPPOSED_AFTER = regex(
    r"s?\s+(?:will|may|might|could)\s+(?:soon\s+)?(?:be\s+)?(?:hit|reached|exceeded)\b",
    re.IGNORECASE,
)
_DENIED_BEFORE = regex(
    rf"(?:\b(?:not|no|never|nor|neither|0|zero|without(?: any)?|cannot|rather than|instead of|unrelated to|nothing to do with)|n['’]t)\s+(?:(?:{_LIGHT})\s+){{0,6}}[\"'“‘(]?$",
    re.IGNORECASE,
)
_DENIED_AFTER = regex(
    r"s?\s+(?:(?:is|was|are|were|has|have|had|did|does|do)\s*)?(?:not|never|n['’]t)\s+(?:been |yet )*(?:hit|reached|exceeded|the|a|your|used|involved|to blame|responsible)\b"
    r"|s?\s+(?:is|was|are|were|has|have|had|did|does|do)n['’]t\b|s?\s+(?:is|are|was|were) (?:fine|okay|ok|far|high enough|unlimited|unchanged)\b|s?\s+(?:(?:is|are|was|were|has|have) )?(?:been )?(?:reset\b|raised|increased|lifted|restored|removed|changed|doubled|extended)|s?\s+(?:table|banner|page|section|panel|label|logic|handling|checks?|tests?|docs)\b"
    r"|\w*(?: (?:is )?(?:reached|hit|exceeded))?[\"']?\s*[:=]\s*[\"']?(?:unlimited|none|null|no|false|off|\d{1,2}(?:\.\d+)? ?%|\d+ (?:of|/) \d+ (?:remaining|left))(?!\w)"
    r"|[-_ ]remaining[\"']?\s*[:=]\s*[\"']?[1-9]",
    re.IGNORECASE,
)


def _told(text: str, found: re.Match[str]) -> bool:
    """Whether the text says that this has happened, and does not only speak of it."""
    before = text[max(0, found.start() - 80) : found.start()]
    line = text[text.rfind("\n", 0, found.start()) + 1 :].partition("\n")[0]
    error = _ERROR_AFTER.match(text, found.end())
    named = (_NAME_BEFORE.search(before) or _NAME_AFTER.match(text, found.end())) and not error
    beside = _PART_OF.search(before) or _PLACE_BEFORE.search(before) or _OF_CODE.search(line)
    about = beside or _OF_MACHINE.search(line) or _supposed(text, before, found)
    return not (named or about or _denied(text, found))


def _supposed(text: str, before: str, found: re.Match[str]) -> bool:
    """Whether the text only says what might be. "Wait until your limit resets" says that it is
    so."""
    if _RESETS_AFTER.match(text, found.end()):
        return False
    return bool(_SUPPOSED_BEFORE.search(before) or _SUPPOSED_AFTER.match(text, found.end()))


def _denied(text: str, found: re.Match[str]) -> bool:
    """Whether the text says that it is *not* so: ``not your usage limit``, ``the rate limit was not
    reached``."""
    before = text[max(0, found.start() - 80) : found.start()]
    return bool(_DENIED_BEFORE.search(before) or _DENIED_AFTER.match(text, found.end()))


def _as_status(code: int) -> str:
    """Where a number is an HTTP status, not a count: behind words such as ``status`` and ``HTTP``,
    before its name or a JSON body, in brackets, or at the very beginning."""
    try:
        phrase = re.escape(http.HTTPStatus(code).phrase)
    except ValueError:
        phrase = "overloaded"
    counted = r"(?!\s+(?:(?:(?!access|process|address)[a-z_-]+s|of|out|passed|failed|skipped|more|new|times|bytes|lines)\b))(?![\d.,]*\d)"
    behind = r"(?<!exit )(?<!exited with )(?:HTTP(?:/\d(?:\.\d)?)?|status(?:[ _-]?code)?|(?<!exit )(?<!return )error(?:[ _-]?code)?|(?<!exit )(?<!exited with )(?<!exit_)(?<!exit status )(?<!return )code|API ?Error(?: \([^)\n]{0,60}\))?|injected|failed with|responded with|returned|got|received|response)[\"']?\s*[:=(\[]?\s*[\"']?"
    return (
        rf"\b{behind}{code}\b{counted}|\b{code}\b[\s:\-–('\"]*(?:{phrase}\b|\{{\s*\"|error\b)"
        rf"|[\[(]{code}[\])]|\A\W*(?:[\w.]+(?:Error|Exception):?\s*)?{code}\b{counted}(?=\W+\w|\s*\Z)"
    )


def _reset(groups: dict[str, str | None], now: float) -> float | None:
    """The end that a pattern's own groups tell; None if it tells none, or one that is over."""
    moment: float | None = None
    try:
        if groups.get("epoch"):
            moment = float(groups["epoch"] or 0)
        elif groups.get("at"):
            moment = datetime.fromisoformat(groups["at"] or "").timestamp()
        else:
            spans = [
                float(groups[unit] or 0) * size for unit, size in UNITS.items() if groups.get(unit)
            ]
            moment = now + sum(spans) if spans else None
    except (ValueError, OverflowError):
        return None
    return moment if moment is not None and now < moment <= now + when.FARTHEST else None
