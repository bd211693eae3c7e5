"""Which kind of failure an error text tells of, and when it ends.  The patterns are data: ``failures.yaml`` and specs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from orchestrator.files.documents import parse
from orchestrator.files.layout import data_file

UNITS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}
Pattern = tuple[str, str]  # class, regular expression


@dataclass(frozen=True, slots=True)
class Failure:
    """A kind of failure (`model.failure.KINDS`); ``reset`` is when it is over (seconds since the epoch), if that was said."""

    kind: str
    reset: float | None = None


@cache
def common() -> tuple[Pattern, ...]:
    """The patterns for every tool."""
    with open(data_file("tools", "failures.yaml"), "rb") as file:
        return patterns(parse(file.read()).data["failures"])


def patterns(listed: Iterable[dict[str, str]]) -> tuple[Pattern, ...]:
    return tuple((item["class"], item["pattern"]) for item in listed)


def classify(text: str, own: Sequence[Pattern], now: float) -> Failure | None:
    """The first kind whose pattern is found in the text; None if there is none."""
    for kind, pattern in (*own, *common()):
        found = _compiled(pattern).search(text)
        if found:
            return Failure(kind, _reset(found.groupdict(), now))
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


def _reset(groups: dict[str, str | None], now: float) -> float | None:
    if groups.get("epoch"):
        return float(groups["epoch"] or 0)
    if groups.get("at"):
        return datetime.fromisoformat(groups["at"] or "").timestamp()
    spans = [float(groups[unit] or 0) * size for unit, size in UNITS.items() if groups.get(unit)]
    return now + sum(spans) if spans else None
