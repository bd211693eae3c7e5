"""Secrets in texts: the forms in which a tool may print one, and texts without them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from orchestrator.model import filling
from orchestrator.records import replace

if TYPE_CHECKING:
    from orchestrator.model.result import Reading

SHORTEST = 8  # characters of a line that is masked by itself


def forms(secrets: Iterable[str]) -> tuple[str, ...]:
    """The values and their lines, and how JSON, JSON within JSON, Python and addresses write them.
    The longest first."""
    found: set[str] = set()
    for value in secrets:
        for text in (value, *_lines(value)):
            once = {text, repr(text)[1:-1], *_in_json(text)}
            found |= once | _in_addresses(text)
            found |= {twice for escaped in once for twice in _in_json(escaped)}
    return tuple(sorted(found, key=len, reverse=True))


def _lines(value: str) -> list[str]:
    """The lines of a secret that has several; what begins and ends a PEM block is none."""
    lines = [line.strip() for line in value.splitlines()]
    several = len(lines) > 1
    return [x for x in lines if several and len(x) >= SHORTEST and not x.startswith("-----")]


def _in_json(text: str) -> set[str]:
    """A log of events has them escaped; some programs escape slashes, too."""
    inner = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return inner | {item.replace("/", "\\/") for item in inner}


def _in_addresses(text: str) -> set[str]:
    from urllib.parse import quote, quote_plus  # here: only who has secrets needs them

    found = [quote(text, safe, errors="surrogateescape") for safe in ("", "/")]
    return {*found, quote_plus(text, errors="surrogateescape")}


def mask(text: str, secrets: Sequence[str]) -> str:
    """The text with every secret overwritten by as many ``*``."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, "*" * len(secret))
    return text


def masked(reading: Reading, secrets: Sequence[str]) -> Reading:
    """A reading whose texts, decoded by now, have no secret in them."""
    if not secrets:
        return reading
    session = reading.session if mask(reading.session, secrets) == reading.session else ""
    return replace(
        reading,
        reason=mask(reading.reason, secrets),
        message=mask(reading.message, secrets),
        answer=filling.everywhere(reading.answer, lambda text: mask(text, secrets)),
        warnings=tuple(mask(text, secrets) for text in reading.warnings),
        session=session,
    )
