"""Which known word somebody may have meant. Comparing words costs time, and a file can hold
thousands of unknown ones: so only so many comparisons are made for one file, and what is not looked
up any more gets no hint.
"""

from __future__ import annotations

from collections.abc import Iterable

COMPARISONS = 5000  # of two words, for one file
LONGEST = 80  # characters of a word that is looked up


class Near:
    """The known words, and what may still be spent on comparing others with them."""

    def __init__(self, known: Iterable[str]) -> None:
        self.known = list(dict.fromkeys(known))
        self.left = COMPARISONS

    def close_to(self, word: str, likeness: float = 0.7) -> str:
        """The known word that is most like this one; empty if none is, or if enough words were
        compared."""
        if len(word) > LONGEST or self.left < len(self.known):
            return ""
        import difflib  # here: only a mistyped word pays for it

        self.left -= len(self.known)
        found = difflib.get_close_matches(word, self.known, 1, likeness)
        letters = sorted(word)  # of a short word two letters in the wrong order are much
        found = found or [known for known in self.known if sorted(known) == letters]
        found = found or [known for known in self.known if known.startswith(f"{word}_")]
        return found[0] if found else ""
