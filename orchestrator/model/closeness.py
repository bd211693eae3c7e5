"""What somebody may have meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.libraries import later

if TYPE_CHECKING:
    import difflib
else:
    difflib = later("difflib")

CLOSE = 0.6  # as difflib measures: 1 is the same


def closest(name: str, known: Iterable[str], likeness: float = CLOSE) -> str:
    """The known name that is most like it; empty if none is close."""
    found = difflib.get_close_matches(name, list(known), 1, likeness)
    return found[0] if found else ""
