"""JMESPath over what a tool prints: the one place that compiles and asks queries, and that reads a
line as an event."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from orchestrator.patterns import bytes_regex

# What may stand before and after an event on its line: a terminal's control sequences, blanks, a
# byte order mark.
_AROUND = bytes_regex(
    rb"(?:\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]|[\x00-\x1a\x1c-\x20]|\xef\xbb\xbf)*"
)


def problem(query: str) -> str:
    """Why this is not a JMESPath query; empty if it is."""
    import jmespath  # here and below: verbs that only look up a tool do not pay for it
    from jmespath.exceptions import JMESPathError

    try:
        jmespath.compile(query)
    except JMESPathError as error:
        return str(error).splitlines()[0]
    return ""


@lru_cache(maxsize=512)
def _compiled(query: str) -> Any:
    import jmespath

    return jmespath.compile(query)


def search(query: str, data: Any) -> Any:
    """What a query finds; None if the data is not of the kind that it expects."""
    try:
        return _compiled(query).search(data)
    except (
        TypeError,
        ValueError,
        ArithmeticError,
        RecursionError,
    ):  # a figure of another type than usual (JMESPathError)
        return None


def event_of(raw: bytes) -> dict[str, Any] | None:
    """The JSON object that a line of output is; None if it is none."""
    if raw[:1] != b"{":
        raw = raw[_AROUND.match(raw).end() :]  # type: ignore[union-attr]
        if raw[:1] != b"{":
            return None
    text = raw.decode("utf-8", "replace")
    try:
        event, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    after = text[end:].encode()
    if _AROUND.fullmatch(after) is None:
        return None
    return event if isinstance(event, dict) else None
