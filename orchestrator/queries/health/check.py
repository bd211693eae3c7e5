"""One finding of ``doctor``, and the three kinds that there are."""

from __future__ import annotations

from orchestrator.records import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: ``status`` is ``ok``, ``note`` or ``problem``; ``fixable`` ones are mended by
    ``doctor --fix``."""

    id: str
    status: str
    summary: str
    fix: str = ""
    fixable: bool = False


MEND = "orchestrator doctor --fix"


def ok(name: str, summary: str) -> Check:
    return Check(name, "ok", summary)


def note(name: str, summary: str, fix: str = "") -> Check:
    return Check(name, "note", summary, fix)


def problem(name: str, summary: str, fix: str = "") -> Check:
    return Check(name, "problem", summary, fix)


def mendable(name: str, summary: str, more: str = "", status: str = "problem") -> Check:
    """What ``doctor --fix`` mends; ``more`` says what it does about it."""
    return Check(name, status, summary, f"{MEND}   {more}" if more else MEND, True)
