"""Ids are file stems: readable, unique without regard to case, safe in every path and shell.

An id has letters and digits of any script, ``.``, ``_`` and ``-``; starts with a letter or digit;
is in Unicode form NFC; and takes at most 120 bytes, so that ``<id>.error.md`` fits any file system.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime

from orchestrator.model import names
from orchestrator.patterns import regex

MAX_BYTES = 120
# Latin letters that look like others; so do small capitals.
_TWINS = frozenset("ɑɡɩƖǀǃ")
# Greek letters that look like no Latin one, and may stand beside those (Δx).
_GREEK = frozenset("ΓΔΘΛΞΠΣΦΨΩβδθλμξπφψ")
# Whose letters and digits may stand beside Latin ones, by the first word of their names; "DIGIT" is
# 0 to 9.
_BESIDE = frozenset("LATIN DIGIT CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA HANGUL BOPOMOFO".split())
_SMALL = " SMALL CAPITAL "
_DOTTED = regex("[ijıȷɨʝіј][^\\w._-]*\u0307")  # a dot that these have, or get, without a trace
# Letters and marks that take no room, or are an empty place.
_UNSEEN = regex(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_PLAIN = regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}\Z")


def problem(task_id: str) -> str:
    """Why this text cannot be an id, in words that follow "the id "; empty if it can."""
    if _PLAIN.match(task_id):
        return names.problem(task_id)
    if not task_id:
        return "is empty"
    if len(task_id.encode("utf-8", "surrogateescape")) > MAX_BYTES:
        return f"is longer than {MAX_BYTES} bytes"
    if unicodedata.normalize("NFC", task_id) != task_id:
        return "is not in the Unicode form NFC"
    for position, char in enumerate(task_id):
        kind = unicodedata.category(char)[0]
        if not (kind in "LN" or (position and (kind == "M" or char in "._-"))):
            where = "starts with" if position == 0 else "contains"
            return f"{where} {char!a}; letters, digits and . _ - are allowed"
    if unseen := _UNSEEN.search(task_id):
        return f"contains {unseen[0]!a}, which nobody sees"
    twin = _twin(task_id)
    if twin:
        name = unicodedata.name(twin, "").lower()
        why = (
            f"contains {twin!a} ({name}), which stands for other characters"
            if _stands_in(twin)
            else f"mixes {twin!a} ({name}) with other letters or digits"
        )
        return f"{why}; two ids must not look like one"
    return names.problem(task_id)


def _twin(text: str) -> str:
    """A letter, mark or digit that looks like another or like nothing where it stands (beside Latin
    letters, or digits, those of other scripts), or one that only stands in for others; else
    empty."""
    for word in re.split(r"[._-]", text):
        if word.isascii():
            continue
        scripts = {char: _script(char) for char in word}
        letters = {script for char, script in scripts.items() if char.isalpha()}
        for char, script in scripts.items():
            if char.isalnum():
                alien = script not in _BESIDE and char not in _GREEK
                if "LATIN" in letters and (alien or char in _TWINS or _SMALL in _name(char)):
                    return char
                if char.isdecimal() and script != "DIGIT" and "DIGIT" in scripts.values():
                    return char
            elif script != "COMBINING" and script not in letters:
                return char
    if dotted := _DOTTED.search(unicodedata.normalize("NFD", text)):
        return dotted[0][-1]
    return next(filter(_stands_in, text), "")


def _script(char: str) -> str:
    return _name(char).partition(" ")[0]


def _name(char: str) -> str:
    return unicodedata.name(char, "")


def _stands_in(char: str) -> bool:
    """Whether it is another form of other characters, such as full-width, mathematical and raised
    ones, Roman numerals, ligatures. Thai, among others, needs a few of these."""
    kind = unicodedata.decomposition(char).partition(" ")[0]
    if not kind.startswith("<"):
        return False
    return kind != "<compat>" or unicodedata.normalize("NFKC", char).isascii()


def key(task_id: str) -> str:
    """The form under which two ids are the same: NFC and case-folded. Used as a file name in the
    ledger."""
    if task_id.isascii():
        return task_id.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", task_id).casefold())


def slug(text: str, limit: int = 48) -> str:
    """The first words of a text as part of an id: ``Review retry logic!`` ->
    ``review-retry-logic``."""
    text = unicodedata.normalize("NFC", text).lower()
    found = re.findall(r"[^\W_]+", text)
    words = [word for word in found if not (_twin(word) or _UNSEEN.search(word))]
    result = ""
    for word in words:
        longer = f"{result}-{word}" if result else word
        if len(longer.encode()) > limit:
            break
        result = longer
    return result or (words[0].encode()[:limit].decode("utf-8", "ignore") if words else "task")


def dated(now: datetime, text: str) -> str:
    """A fresh id that sorts by time and says what it is about:
    ``2026-11-22T0941-review-retry-logic``."""
    return f"{now:%Y-%m-%dT%H%M}-{slug(text)}"


def of_run_task(run_id: str, name: str) -> str:
    """The id of the task that a run's file lists under ``name``."""
    return f"{run_id}.{name}"
