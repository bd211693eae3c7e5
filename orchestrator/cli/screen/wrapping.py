"""Prose on a terminal: broken between words, the further lines below the first one's text. In a
pipe a line stays a line."""

from __future__ import annotations

from orchestrator.files.text import clean, width

LEAST = (
    24  # cells of text in a line: with less room than that the terminal may break it as it likes
)


def hang(head: str, text: str, columns: int) -> list[str]:
    """``head`` and the text in lines of at most ``columns`` cells; 0 columns: one line.

    A word that is longer than a line stays whole, so that a path or a command can be copied.
    """
    inset = width(clean(head))
    room = columns - inset
    if not columns or room < LEAST or width(clean(text)) <= room:
        return [head + text]
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if line.strip() and width(clean(longer)) > room:
            lines.append(line.rstrip())
            line = word
        else:
            line = longer
    lines.append(line.rstrip())
    return [head + lines[0], *(" " * inset + further for further in lines[1:])]
