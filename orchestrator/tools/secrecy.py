"""Secrets in texts: the forms in which a tool may print one, and texts without them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from orchestrator.model import filling
from orchestrator.records import replace

if TYPE_CHECKING:
    from orchestrator.model.result import Reading


def forms(secrets: Iterable[str]) -> tuple[str, ...]:
    """The values, and how JSON writes them: a log of events has them escaped.  The longest first."""
    found: set[str] = set()
    for value in secrets:
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
            inner = text[1:-1]
            found |= {value, inner, inner.replace("/", "\\/")}
    return tuple(sorted(found, key=len, reverse=True))


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
