"""Text from outside, made safe to show: agents' output, titles, whatever a file says."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from orchestrator.files import masked, opening
from orchestrator.patterns import regex

# CSI and OSC sequences, other escapes, and control characters beside tab and newline.
_ESCAPES = regex(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b["
    r" -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f]",
    re.S,
)
# A move to a column, or over so many cells, where a program leaves the cells between as they are:
# words stand on both sides.
_COLUMN = regex(r"(?<=[^\s\x1b])\x1b\[[0-9;]*[GC`](?=[^\s])")
# Moves to another row: what a program on a full screen writes instead of line ends.
_ROW = regex(r"(?:\r*\x1b\[[0-9;]*[ABEFHdf]\r*)+")
_COLOUR = regex(r"\x1b\[[0-9;:]*m")
_PALETTE = regex(r"[345]8[;:](?:5[;:][0-9]*|2(?:[;:][0-9]*){3,4})")  # numbers that name a colour
_CONCEALS = regex(r"[\[;]0*8[;m]")  # what hides the text that follows
# Bytes of a file name that are no UTF-8 come as lone surrogates.
_SURROGATES = "[\ud800-\udfff]"
_NO_TEXT = regex(_SURROGATES)
# Characters that reorder or hide text on a terminal, or stand for text that nobody sees (tags).
# Those that join letters are kept: scripts and emoji need them.
_UNSEEN = (
    "[\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_HIDDEN = regex(_UNSEEN)
_LINE_ENDS = regex("[\u2028\u2029]")  # for some terminals and programs, and not for others

_NAMED = regex(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]|{_SURROGATES}|{_UNSEEN}")

LEAST = 24  # cells of text in a line: with less room the terminal may break it as it likes


def clean(text: str, colour: bool = False) -> str:
    """The text without anything that steers a terminal; with ``colour`` colours are kept, but not
    what hides text."""
    if not colour:
        if "\x1b" in text:
            text = _COLUMN.sub(" ", text)
        if text.isascii():
            return _ESCAPES.sub("", text)
        text = _LINE_ENDS.sub(" ", _ESCAPES.sub("", text))
        return _NO_TEXT.sub("?", _HIDDEN.sub("", text))
    parts, position = [], 0
    for match in _COLOUR.finditer(text):
        hides = _CONCEALS.search(_PALETTE.sub("", match[0]))
        parts += [clean(text[position : match.start()]), "" if hides else match[0]]
        position = match.end()
    parts.append(clean(text[position:]))
    return "".join(parts)


def visible(text: str) -> str:
    """The text with all that `clean` takes away made visible: for who judges what stands there.

    ``^[`` is the escape character, as editors show it, ``<U+202E>`` a character that reorders or
    hides text, ``<FF>`` a byte that is no text.
    """
    if text.isascii() and text.isprintable():
        return text
    return _NAMED.sub(lambda found: _named(found[0]), text)


def _named(char: str) -> str:
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"^{chr(code ^ 0x40)}"
    byte = 0xDC80 <= code <= 0xDCFF  # as surrogateescape decodes it
    return f"<{code - 0xDC00:02X}>" if byte else f"<U+{code:04X}>"


def last_states(text: str) -> str:
    """Of lines that were written over (a carriage return, as progress bars do) only what stood
    there last."""
    if "\r" not in text and "\x1b" not in text:
        return text
    text = _ROW.sub("\n", text).replace("\r\n", "\n")
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


def lines_of(text: str) -> list[str]:
    """Lines as git, and whoever writes one fact a line, ends them: at a newline alone.
    ``str.splitlines`` also ends them where a name or a message has U+2028, NEL or a form feed."""
    return text.removesuffix("\n").split("\n") if text else []


def one_line(text: str, limit: int = 0) -> str:
    """Clean text on one line, cut to ``limit`` characters."""
    text = " ".join(clean(text).split())
    return text if not limit or len(text) <= limit else text[: limit - 1] + "…"


def first_few(names: Sequence[str], most: int = 3) -> str:
    """The first of them, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def on_a_line(text: str) -> str:
    """Clean text whose line ends are spaces: what a value says begins no line of its own."""
    return clean(text).replace("\n", " ")


def width(text: str) -> int:
    """How many cells the text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, cells: int, ellipsis: str = "…") -> str:
    """The text cut or padded to exactly so many cells."""
    size = width(text)
    if size <= cells:
        return text + " " * (cells - size)
    result = ""
    room = max(cells - width(ellipsis), 0)
    for char in text:
        if width(result + char) > room:
            break
        result += char
    result += ellipsis[:cells]
    return result + " " * (cells - width(result))


def fit_middle(text: str, cells: int, ellipsis: str = "…") -> str:
    """As `fit`, but what is left out is the middle: two ids that begin alike stay different."""
    if width(text) <= cells or cells < 8:
        return fit(text, cells, ellipsis)
    end = ""
    for char in reversed(text):
        if width(char + end) > (cells - width(ellipsis)) // 2:
            break
        end = char + end
    while unicodedata.combining(end[:1] or " "):
        end = end[1:]
    return fit(fit(text, cells - width(end), ellipsis).rstrip() + end, cells, ellipsis)


def hang(head: str, text: str, columns: int) -> list[str]:
    """``head`` and the text in lines of at most ``columns`` cells, broken between words, the
    further ones below the first one's text; 0 columns (a pipe): one line.

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


def tail(path: str, size: int = 8192) -> str:
    """The end of a file, decoded as well as it goes; empty if there is none."""
    try:
        with opening.open_file(path) as file:
            length = masked.end(path)
            if not length:
                return ""
            file.seek(max(length - size, 0))
            return file.read(min(size, length)).decode("utf-8", "replace")
    except OSError:
        return ""


def last_lines(path: str, count: int) -> list[str]:
    """The last lines of a log that say something, cleaned."""
    lines = [
        clean(line.rsplit("\r", 1)[-1]).rstrip() for line in tail(path).rstrip("\r\n").split("\n")
    ]
    return [line for line in lines if line.strip()][-count:]
