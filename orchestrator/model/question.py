"""What an agent asks, and how an answer is understood."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.patterns import regex

DENIED = "permission denied"  # how the warnings begin that tell of it
NOBODY = (
    "Nobody will answer your question. Go on as you think best, keep to what is safe and can be undone,"
    " and say at the end what you decided.\n"
)
# What is indented by four columns or more is code, and offers nothing.
_OPTION = regex(r"^ {0,3}(?:[-*]\s+)?(\d{1,2})[.)]\s+(\S.*)$", re.M)


def options(question: str) -> list[str]:
    """The numbered lines of a question, if they are numbered from 1 on."""
    found = [(int(number), text.strip()) for number, text in _OPTION.findall(question)]
    return (
        [text for _, text in found] if [n for n, _ in found] == [*range(1, len(found) + 1)] else []
    )


def headline(question: str) -> str:
    """Its first line with something in it, without Markdown's signs."""
    lines = (line.strip().lstrip("#>").strip() for line in question.splitlines())
    return next((line for line in lines if line), "")


def answer(question: str, words: str) -> str:
    """The text of a reply: an option by its number, anything else as it is."""
    known = options(question)
    chosen = words.strip().rstrip(".")
    if chosen.isdecimal() and 1 <= int(chosen) <= len(known):
        return f"{chosen}. {known[int(chosen) - 1]}"
    return words


def misnumbered(question: str, words: str) -> str:
    """Why a number answers no question, in words that follow "it"; empty if the words may be one."""
    known, said = options(question), words.strip()
    if known and said.isdecimal() and not 1 <= int(said) <= len(known):
        return f"has the options 1 to {len(known)}"
    return ""


def choices(question: str, known: Sequence[str] = ()) -> str:
    """``1 yes 2 no 3 rename``; empty without options."""
    return " ".join(f"{number} {text}" for number, text in enumerate(known or options(question), 1))
