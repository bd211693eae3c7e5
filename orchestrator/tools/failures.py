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
from orchestrator.tools import told, when

if TYPE_CHECKING:
    import http
else:
    http = later("http")

LONGEST = (
    16 << 10
)  # characters of a text that are asked: half from its beginning, half from its end
PAUSE = 600.0  # seconds that a provider's pause may take
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
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}\n{text[-LONGEST // 2 :]}"
    found = _by_text(text, own, now)
    known = of_status(status) if status is not None else ""
    if known and (found is None or found.kind not in TEXT_DECIDES):
        return _failure(known, when.ends(text, now), now)
    return found


def _failure(kind: str, reset: float | None, now: float) -> Failure:
    """A pause that is longer than `PAUSE` is no pause: the tool is of no use to anybody until
    then."""
    held = kind == "rate_limit" and reset is not None and reset > now + PAUSE
    return Failure("usage_limit" if held else kind, reset)


def _by_text(text: str, own: Sequence[Pattern], now: float) -> Failure | None:
    for kind, pattern in (*own, *common()):
        for found in _compiled(pattern).finditer(text):
            if told.quoted(text, found):
                continue
            if (kind in DENIABLE or pattern in _statuses()) and not told.told(text, found):
                continue
            return _failure(kind, _reset(found.groupdict(), now) or when.ends(text, now), now)
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


def _as_status(code: int) -> str:
    """Where a number is an HTTP status, not a count: behind words such as ``status`` and ``HTTP``,
    before its name or a JSON body, in brackets, or at the very beginning."""
    try:
        phrase = re.escape(http.HTTPStatus(code).phrase)
    except ValueError:
        phrase = "overloaded"
    counted = r"(?!\s+(?:(?:(?!access|process|address)[a-z_-]+s|of|out|passed|failed|skipped|more|new|times|bytes|lines)\b))(?![\d.,]*\d)"
    behind = (
        r"(?<!exit )(?<!exited with )(?:HTTP(?:/\d(?:\.\d)?)?|status(?:[ _-]?code)?|(?<!exit"
        r" )(?<!return )error(?:[ _-]?code)?|(?<!exit )(?<!exited with )(?<!exit_)(?<!exit status"
        r" )(?<!return )code|API ?Error(?: \([^)\n]{0,60}\))?|injected|failed with|responded"
        r" with|returned|got|received|response)[\"']?\s*[:=(\[]?\s*[\"']?"
    )
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
