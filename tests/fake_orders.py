"""What the stand-ins for agents are told in the words of a turn: lines ``fake: ORDER REST``."""

from __future__ import annotations

from collections.abc import Iterator

MARK = "fake: "


def orders(words: str) -> Iterator[tuple[str, str]]:
    """Each order and its rest, in their order; other lines say nothing."""
    for line in words.splitlines():
        if line.strip().startswith(MARK):
            order, _, rest = line.strip().removeprefix(MARK).partition(" ")
            yield order, rest
