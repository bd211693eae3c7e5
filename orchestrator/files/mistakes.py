"""What people get wrong when they write YAML, and what to tell them: tables, read from top to
bottom.

A hint goes by the character that is at fault and by its place, not by the parser's words alone: the
parser stumbles where the damage shows, which is often one line further down.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from orchestrator.patterns import regex

NO_BREAK = "\u00a0\u2007\u202f"
WIDE = "\u1680\u2000-\u2006\u2008-\u200a\u205f\u3000"
UNSEEN = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
COLONS = "\uff1a\ufe55\ufe13\u2236\ua789\u02d0"
QUOTES = "\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b\u00ab\u00bb\u300c\u300d\uff02\uff07"
COMMAS = "\uff0c\ufe50\ufe10\u3001\u060c"
BULLETS = "\u2013\u2014\u2022\u00b7\u2212\u25cf\u25aa"
_KEY = r"[\"'\w][\w .-]*[\"']?"
_ODD = f"{NO_BREAK}{WIDE}{UNSEEN}{COLONS}{QUOTES}{BULLETS}{COMMAS}"
# Letters of other scripts that look like Latin ones.
LOOKALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0455\u0458\u04bb\u0501\u043a\u043c\u0442\u03bf\u03b1\u03c1\u03bd\u03b9\u0131",
    "aeopcyxisjhdkmtoapvii",
)

# Characters that are not what they look like: a class of them, what they are called, what to write.
CHARACTERS: tuple[tuple[str, str, str], ...] = (
    (NO_BREAK, "a no-break space", "write an ordinary space"),
    (WIDE, "a space that YAML does not accept", "write an ordinary space"),
    (UNSEEN, "an invisible character", "remove it"),
    (COLONS, "a full-width colon", "write ': ', an ordinary colon and a space"),
    (QUOTES, "a typographic quote", "quotes in YAML are the plain \" and '"),
    (COMMAS, "a full-width comma", "write ', ', an ordinary comma and a space"),
    (BULLETS, "a dash or bullet that YAML does not accept", "items of a list begin with '- '"),
)

# Shapes of a line that cannot be meant so: where ``at`` stands, and what to do.  ``{name}`` and
# ``{do}`` are from above.
SHAPES: tuple[tuple[str, str], ...] = (
    (r"\s*(?P<at>```|~~~)", "remove the lines with {at}: the whole file is YAML"),
    (r"\s*(?P<at>//|/\*)(?!/)", "a comment begins with #"),
    (
        r"(?=-*[\u2010-\u2015\u2212])(?P<at>[\u2010-\u2015\u2212-]{1,4})\s*$",
        "a line of dashes is ---, three plain ones",
    ),
    (rf"[ \t]*(?P<at>[{NO_BREAK}{WIDE}{UNSEEN}])", "{name} indents this line: {do}"),
    (rf"\s*(?P<at>[{BULLETS}])\s*\S", "{name}: {do}"),
    (rf"\s*(?:- +)?(?P<at>[{QUOTES}])[\w .-]+[{QUOTES}]\s*:", "{name} around a key: {do}"),
    (rf"\s*(?:- +)?{_KEY}\s*(?P<at>[{COLONS}])", "{name} after the key: {do}"),
    (rf"\s*(?:- +)?[\w.-]+(?P<at>[{NO_BREAK}{WIDE}{UNSEEN}])\s*:", "{name} in the key: {do}"),
    (rf"\s*(?:- +)?{_KEY}\s*:(?P<at>[{NO_BREAK}{WIDE}{UNSEEN}])", "{name} after the colon: {do}"),
    (rf"\s*-(?P<at>[{NO_BREAK}{WIDE}{UNSEEN}])", "{name} after the dash: {do}"),
    (rf"\s*(?:- +)?{_KEY}\s*:\s+(?P<at>[{QUOTES}])", "{name}: {do}"),
    (r"\s*(?:- +)?[A-Za-z_][\w-]*(?P<at>:)(?!//)[^\s:]", "put a space after the colon"),
    (r"\s*(?:- +)?[A-Za-z_][\w-]*\s*(?P<at>:?=>?)(?!=)", "write  key: value , with a colon"),
    (r" *(?P<at>\t)", "indent with spaces, not tabs"),
)

# The parser's complaints: its words, whose place counts (its own, where the thing
# began, the escape before it), the character there (or for ``line`` how the line begins), the hint.
# ``near`` is the character itself.
COMPLAINTS: tuple[tuple[str, str, str, str], ...] = (
    (
        "unknown escape|hexdecimal|hexadecimal",
        "escape",
        "",
        "a backslash in \"...\" begins an escape: write '...', or \\\\",
    ),
    ("document start", "line", r"\s*([\"'])[^\"']*:\1", "the colon comes after the closing quote"),
    ("document start", "own", "", "one file is one task: give each its own file"),
    ("tab character", "own", "", "indent with spaces, not tabs"),
    (
        "unexpected (end of stream|document indicator)",
        "began",
        "",
        "a quote or bracket that opens here is never closed",
    ),
    ("expected ',' or", "began", "", "a bracket is not closed, or a comma is missing"),
    (
        "mapping values are not allowed",
        "line",
        r"\s+[\w.-]+: ",
        'keys go one below the other: check the indentation; text that contains ": " needs quotes',
    ),
    (
        "mapping values are not allowed",
        "own",
        "",
        'text that contains ": " needs quotes, or a block:  prompt: |',
    ),
    ("cannot start any token", "own", r"\t", "indent with spaces, not tabs"),
    ("cannot start any token", "own", "", "text that starts with {near} needs quotes"),
    (
        "alphabetic or numeric",
        "began",
        "",
        "text that starts with {near} needs quotes, or a block:  prompt: |",
    ),
    (
        "not allowed in this context",
        "own",
        "",
        "text that starts with {near} needs quotes, or a block:  prompt: |",
    ),
    ("comment or line break", "own", "", "text after | or > begins on the next line, indented"),
    ("node content", "own", "", "text that starts with {near} needs quotes"),
    (
        "could not find expected ':'",
        "began",
        "",
        "every line at this level is  key: value ; longer text goes into a block:  prompt: |",
    ),
)

# Values that end before their line does, so that the rest cannot be understood.
CUT_SHORT: tuple[tuple[str, str], ...] = (
    (r"\s*(?:- +)?(?:[\w.-]+:\s+)?'[^']*$", "an apostrophe inside '...' is written twice: ''"),
    (
        r"\s*(?:- +)?(?:[\w.-]+:\s+)?'(?:[^']|'')*'(?=\w)",
        "an apostrophe inside '...' is written twice: ''",
    ),
    (
        r"\s*(?:- +)?(?:[\w.-]+:\s+)?'(?:[^']|'')*'",
        "text goes on after the closing quote: use a block:  prompt: |",
    ),
    (
        r'\s*(?:- +)?(?:[\w.-]+:\s+)?"(?:[^"\\]|\\.)*"',
        "text goes on after the closing quote: use a block:  prompt: |",
    ),
    (
        r"\s*(?:- +)?(?:[\w.-]+:\s+)?[\[{].*[\]}]",
        "text that starts with {near} needs quotes, or a block:  prompt: |",
    ),
)

# What starts a line for YAML and not for an editor, or the other way round.
HIDDEN_BREAKS = regex("[\u0085\u2028\u2029]|\r(?!\n)")
_BREAK_NAMES = {
    "\r": "a carriage return without a line feed",
    "\u0085": "a next-line character (U+0085)",
    "\u2028": "a line separator (U+2028)",
    "\u2029": "a paragraph separator (U+2029)",
}
_SHAPES = [(regex(pattern), hint) for pattern, hint in SHAPES]


class Mistake(NamedTuple):
    """Where (1-based) and what to do."""

    line: int
    column: int
    hint: str


def named(char: str) -> tuple[str, str]:
    """What a character is called, with its number, and what to do; empty if it is an ordinary
    one."""
    for kind, name, do in CHARACTERS:
        if re.match(f"[{kind}]", char):
            seen = f"'{char}', " if unicodedata.category(char)[0] not in "ZC" else ""
            return f"{name} ({seen}U+{ord(char):04X})", do
    return "", ""


def shape(line: str) -> tuple[int, str]:
    """``(0-based column, hint)`` of what is wrong with the form of a line; no hint if nothing
    is."""
    for pattern, hint in _SHAPES:
        found = pattern.match(line)
        if found:
            name, do = named(found["at"][0])
            return found.start("at"), hint.format(at=found["at"], name=name, do=do)
    return 0, ""


def first_shape(text: str, most: int = 50) -> Mistake | None:
    """The first line of a text whose form is wrong. For files that are YAML, but plain text instead
    of keys."""
    for number, line in enumerate(text.split("\n")[:most], 1):
        if line.strip() and not line.lstrip().startswith("#"):
            column, hint = shape(line.rstrip("\r"))
            if hint:
                return Mistake(number, column + 1, hint)
    return None


def odd_key(key: str) -> tuple[str, str]:
    """``(the key as it is meant, hint)`` of a key with characters that look like others or like
    nothing."""
    found = re.search(f"[{_ODD}]", key)
    if not found:
        return _latin(key)
    name, do = named(found[0])
    meant = re.sub(f"[{_ODD}]", "", key).strip().strip("\"'").rstrip(":")
    return meant, f"{name} in the key: {do}"


def _latin(key: str) -> tuple[str, str]:
    """The same of letters that look like Latin ones, Cyrillic or full-width, among which the key
    would be an ordinary one."""
    meant = unicodedata.normalize("NFKC", key).translate(LOOKALIKES)
    if meant == key or not meant.isascii():
        return key, ""
    char = next(char for char in key if not char.isascii())
    return meant, f"the letter {char!r} (U+{ord(char):04X}) is not the Latin one: type '{meant}'"


def front_matter(text: str) -> tuple[str, str]:
    """``(message, hint)`` for a Markdown file whose front matter cannot be found."""
    first = text.lstrip().split("\n", 1)[0].rstrip()
    if first == "---":
        return "the front matter that begins here never ends", "put --- on a line below its keys"
    if first and not first.strip("-\u2010\u2011\u2012\u2013\u2014\u2015\u2212"):
        return (
            "front matter does not begin like this",
            "write ---, three plain dashes, above and below it",
        )
    return "there is no YAML front matter", "begin with:  ---, keys, ---, then the prompt"


def odd_in(text: str) -> str:
    """What to do about the first character of a value that is not what it looks like; empty if
    there is none."""
    found = re.search(f"[{_ODD}]", text)
    return ": ".join(named(found[0])) if found else ""


def explain(
    complaint: str, own: tuple[int, int], began: tuple[int, int], line_of: Callable[[int], str]
) -> Mistake:
    """What a parser's complaint comes from: its words, its place, and the place where the thing it
    read began.

    Places are 1-based lines and columns; ``line_of`` gives the text of a line.
    """
    own, begin = (own[0] - 1, own[1] - 1), (began[0] - 1, began[1] - 1)
    rule = next((rule for rule in COMPLAINTS if _fits(rule, complaint, own, begin, line_of)), None)
    whose = rule[1] if rule else "own"
    if whose == "escape":
        source = line_of(own[0] + 1)
        back = max(source.rfind("\\", 0, own[1] + 1), 0)
        return Mistake(own[0] + 1, back + 1, rule[3] if rule else "")
    if "document start" in complaint and own[1] == 0 and _starts_indented(own[0], line_of):
        hint = "this line is indented less than the first one: keys go one below the other"
        return Mistake(own[0] + 1, own[1] + 1, hint)
    above = (own[0] - 1, 0)
    places: tuple[tuple[int, int], ...] = (begin, own) if whose == "began" else (own, begin)
    if own[0] and _ABOVE.match(line_of(own[0])):
        places = (above, *places)
    for place in dict.fromkeys(places):
        column, hint = shape(line_of(place[0] + 1))
        if hint:
            return Mistake(place[0] + 1, column + 1, hint)
    line, column = begin if whose == "began" else own
    near = line_of(line + 1)[column : column + 1] or "this"
    if rule:
        return Mistake(line + 1, column + 1, rule[3].format(near=near))
    source = line_of(own[0] + 1)
    for pattern, hint in CUT_SHORT:
        found = re.match(pattern, source)
        if found and found.end() <= own[1] + 1:
            opening = re.search(r"['\"\[{]", source)
            return Mistake(own[0] + 1, own[1] + 1, hint.format(near=opening[0] if opening else ""))
    return Mistake(
        own[0] + 1, own[1] + 1, "check the indentation, and quotes around text with : # [ ] { }"
    )


_ABOVE = regex(
    r"\s*//|(?=-*[\u2010-\u2015\u2212])[\u2010-\u2015\u2212-]{1,4}\s*$"
)  # spoils the line below it


def _starts_indented(line: int, line_of: Callable[[int], str]) -> bool:
    """Whether the first line with something in it, above the line of this number, is indented."""
    above = (line_of(number) for number in range(1, min(line, 50) + 1))
    first = next((text for text in above if text.strip() and text.lstrip()[0] != "#"), "")
    return first[:1] == " "


def _fits(
    rule: tuple[str, str, str, str],
    complaint: str,
    own: tuple[int, int],
    begin: tuple[int, int],
    line_of: Callable[[int], str],
) -> bool:
    words, whose, char, _ = rule
    if not re.search(words, complaint):
        return False
    if whose == "line":
        return bool(re.match(char, line_of(own[0] + 1)[: own[1] + 2]))
    line, column = begin if whose == "began" else own
    return not char or bool(re.match(char, line_of(line + 1)[column : column + 1] or " "))


def hidden_break(text: str, quoted: list[tuple[int, int]]) -> tuple[int, str, str] | None:
    """``(position, message, hint)`` of the first character outside quotes at which YAML and editors
    disagree about lines.

    ``quoted`` are the ranges of quoted text, in order.
    """
    starts = [start for start, _ in quoted]
    for found in HIDDEN_BREAKS.finditer(text):
        place = bisect.bisect_right(starts, found.start()) - 1
        if place < 0 or found.start() >= quoted[place][1]:
            name = _BREAK_NAMES[found[0]]
            message = f"{name} begins a new line here for YAML, but in few editors"
            hint = (
                "save the file with line ends LF"
                if found[0] == "\r"
                else "remove it, or write it in quotes as an escape"
            )
            return found.start(), message, hint
    return None


# Escapes that turn what was meant as a path or a pattern into something else, without an error.
_SILENT = regex(
    r"(?:(?<![A-Za-z])[A-Za-z]:|\0\0[\w.-]+)\\(?P<a>[abefnrtv0])(?=\w)"  # C:\temp, \\server\new
    r"|(?P<b>(?<!\\)\\[abefv0](?![0-9]))"  # a bell, a backspace, ...
    r"|\w(?P<c>\\[tr])(?=\w)"  # src\test
    r"|[\w.]\\(?P<d>n)(?=\w{0,99}(?:\\\w{1,99}){0,9}\.\w{1,4}\b)(?<!\.\\n)"  # src\new.py
)


def silent_escape(source: str) -> int:
    """The 0-based place of an escape in the source of a double-quoted value that was hardly meant
    as one; -1 if there is none."""
    plain = re.sub(r"\\\\", "\0\0", source)
    found = _SILENT.search(plain)
    if not found:
        return -1
    name = found.lastgroup or "a"
    return found.start(name) - (0 if name in "bc" else 1)
