"""By which names a task can be meant: its id, what its file calls itself, the number or short id
its name begins with."""

from __future__ import annotations

import re
from collections.abc import Iterable

from orchestrator.patterns import regex

_LEADING = regex(r"(?P<id>(?:[A-Za-z]{1,12}[-_]?)?\d+(?:\.\d+)*)(?=[-_. ]|\Z)")
_NUMBER = regex(r"(?P<words>[A-Za-z]*)[-_ ]?0*(?P<number>(?!0)\d+|0)\Z")
_NUMBERED = regex(
    r"(?!draft|doc|decision|milestone)(?:[A-Za-z]{1,12}[-_ ]?)?0*(?P<number>(?:(?!0)\d+|0)(?:\.\d+)*)\Z",
    re.I,
)
_ANY = regex(
    r"(?:task|issue|ticket|item|story|step|todo|no)?[-_ .#]*0*(?P<number>(?:(?!0)\d+|0)(?:\.\d+)*)\Z",
    re.I,
)


class Aliases:
    """Ids by their other names. A full name comes before a short one; a short one that two tasks
    share means neither."""

    def __init__(self) -> None:
        self._full: dict[str, str] = {}
        self._short: dict[str, set[str]] = {}
        self._numbers: dict[str, set[str]] = {}

    def add(self, task_id: str, stem: str, own: Iterable[object] = ()) -> None:
        """A task with this id, whose file is (or was) called ``stem`` and calls itself ``own``."""
        names = [task_id, stem, *(str(name) for name in own if isinstance(name, (str, int)))]
        for name in names:
            if name:
                self._full.setdefault(name.strip().lower(), task_id)
                self._shorten(name, task_id)
        leading = _LEADING.match(stem)
        if leading:
            self._shorten(leading["id"], task_id)

    def _shorten(self, name: str, task_id: str) -> None:
        self._short.setdefault(_plain(name), set()).add(task_id)
        found = _NUMBERED.match(name)
        if found:
            self._numbers.setdefault(found["number"], set()).add(task_id)

    def _numbered(self, word: str) -> set[str]:
        """Those whose short id ends in the number of a word such as ``task-12``, which says no more
        than the number."""
        found = _ANY.match(word)
        return self._numbers.get(found["number"], set()) if found else set()

    def find(self, word: str) -> str:
        """The id that a word means; empty if none or several."""
        word = word.strip().lstrip("#")
        full = self._full.get(word.lower())
        if full:
            return full
        short = self._short.get(_plain(word), set()) or self._numbered(word)
        return next(iter(short)) if len(short) == 1 else ""


def _plain(word: str) -> str:
    """``T-001``, ``t1`` and ``T1`` are one short id; ``001`` and ``1`` are one number."""
    word = word.strip().lower()
    found = _NUMBER.match(word)
    return f"{found['words']}{found['number']}" if found else re.sub(r"[-_ ]+", "-", word)
