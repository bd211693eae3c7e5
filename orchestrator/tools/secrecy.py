"""Secrets in texts: the forms in which a tool may print one, and texts without them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.files.text import one_line
from orchestrator.patterns import regex
from orchestrator.records import replace

if TYPE_CHECKING:
    from orchestrator.model.result import Reading

SHORTEST = 8  # characters of a line that is masked by itself
MOST_SAID = 1 << 16  # bytes of what a command printed that are looked at
_CODE, _PERCENT = regex(r"((?<!\\)(?:\\\\)*\\u)([0-9a-f]{4})"), regex(r"%[0-9A-F]{2}")
_COMPONENT = "!'()*"  # besides letters and digits


def forms(secrets: Iterable[str]) -> tuple[str, ...]:
    """The values and their lines, and how JSON, JSON within JSON, Python, shells, pages and
    addresses write them. The longest first."""
    found: set[str] = set()
    for value in secrets:
        for text in (value, *_lines(value)):
            once = {text, *_in_python(text), *_in_json(text), *_in_careful_json(text)}
            once |= _in_quotes(text)
            found |= once | _in_addresses(text) | _in_pages(text)
            found |= {twice for escaped in once for twice in _in_json(escaped)}
    return tuple(sorted(found, key=len, reverse=True))


def _lines(value: str) -> list[str]:
    """All of it and its lines, without the white space around them, which programs drop; what
    begins and ends a PEM block is none."""
    lines = dict.fromkeys(line.strip() for line in (value, *value.splitlines()))
    return [x for x in lines if x != value and len(x) >= SHORTEST and _is_own(x)]


def _is_own(line: str) -> bool:
    return "\n" in line or not line.startswith("-----")


def _in_python(text: str) -> set[str]:
    """By itself, and as a part of a text that has both kinds of quotation marks."""
    return {repr(text)[1:-1], repr("'\"" + text)[4:-1]}


def _in_quotes(text: str) -> set[str]:
    """In single quotes, as shells (``set -x``), Python's `shlex` and YAML write it."""
    return {text.replace("'", mark) for mark in ("'\\''", "'\"'\"'", "''")}


def _in_json(text: str) -> set[str]:
    """A log of events has them escaped; some programs escape slashes, too."""
    inner = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return inner | {item.replace("/", "\\/") for item in inner}


def _in_careful_json(text: str) -> set[str]:
    """Programs written in Go escape what a page would take for markup, and those of .NET more, with
    capital digits."""
    inner = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    inner = {_escaped(item, "<>&") for item in inner}
    parts = (json.dumps(part)[1:-1] for part in text.split('"'))
    large = "\\u0022".join(
        _CODE.sub(lambda match: match[1] + match[2].upper(), part) for part in parts
    )
    return {*inner, _escaped(large, "<>&'+`\x7f", upper=True)}


def _escaped(text: str, chars: str, upper: bool = False) -> str:
    codes = {ord(char): f"\\u{ord(char):04{'X' if upper else 'x'}}" for char in chars}
    return text.translate(codes)


def _in_addresses(text: str) -> set[str]:
    from urllib.parse import quote, quote_plus  # here: only who has secrets needs them

    kept = ("", "/", _COMPONENT, _COMPONENT + ";/?:@&=+$,#")  # by Python, and by JavaScript
    found = {quote(text, safe, errors="surrogateescape") for safe in kept}
    found.add(quote_plus(text, errors="surrogateescape"))
    return found | {_PERCENT.sub(lambda match: match[0].lower(), item) for item in found}


def _in_pages(text: str) -> set[str]:
    """In HTML and XML."""
    found = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    quoted = found.replace('"', "&quot;")
    marks = ("'", "&#x27;", "&#39;", "&apos;")
    ways = {found, *(quoted.replace("'", mark) for mark in marks)}
    return ways | {way.replace("&quot;", "&#34;") for way in ways}


def mask(text: str, secrets: Sequence[str]) -> str:
    """The text with every secret overwritten by as many ``*``."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, "*" * len(secret))
    return text


def last_line(said: bytes, secrets: Iterable[str]) -> str:
    """The last line of what a command printed, without a secret, and not a part of one either:
    nothing if it is `MOST_SAID` or more, which was cut."""
    text = said.decode("utf-8", "surrogateescape") if len(said) < MOST_SAID else ""
    lines = mask(text, forms(secrets)).strip().splitlines()
    last = lines[-1] if lines else ""
    return one_line(last.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), 120)


def everywhere(value: Any, secrets: Sequence[str]) -> Any:
    """The value with every text in it masked, keys and numbers as well."""
    if not secrets:
        return value
    if isinstance(value, Mapping):
        return {mask(key, secrets): everywhere(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [everywhere(inner, secrets) for inner in value]
    if isinstance(value, str):
        return mask(value, secrets)
    return "*" * len(str(value)) if str(value) in secrets else value


def masked(reading: Reading, secrets: Sequence[str]) -> Reading:
    """A reading whose texts, decoded by now, have no secret in them."""
    if not secrets:
        return reading
    session = reading.session if mask(reading.session, secrets) == reading.session else ""
    return replace(
        reading,
        reason=mask(reading.reason, secrets),
        message=mask(reading.message, secrets),
        model=mask(reading.model, secrets),
        answer=everywhere(reading.answer, secrets),
        data=everywhere(reading.data, secrets),
        warnings=tuple(mask(text, secrets) for text in reading.warnings),
        session=session,
    )
