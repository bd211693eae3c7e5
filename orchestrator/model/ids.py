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
# Cyrillic and Greek letters that look like Latin ones: between Latin letters nobody sees which is
# meant.
_TWINS = frozenset("аеорсухіјѕԁһԛԝАВЕКМНОРСТУХІЈЅԌοανικυρχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ")
_STAND_INS = regex(
    "[\uff21-\uff3a\uff41-\uff5a\uff10-\uff19\U0001d400-\U0001d7ff]"
)  # whole alphabets of them
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
    twin = _twin(task_id)
    if twin:
        name = unicodedata.name(twin, "").lower()
        return (
            f"mixes {twin!a} ({name}) with Latin letters that look the same; two ids must not look"
            " like one"
        )
    return names.problem(task_id)


def _twin(text: str) -> str:
    """A letter that looks like a Latin one and stands in a word with Latin ones, or that only looks
    like one; else empty."""
    for word in re.split(r"[._-]", text):
        found = next((char for char in word if char in _TWINS), "")
        if found and any(unicodedata.name(char, "").startswith("LATIN ") for char in word):
            return found
    return next((char for char in text if _STAND_INS.match(char)), "")


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
    words = [word for word in re.findall(r"[^\W_]+", text) if not _twin(word)]
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
