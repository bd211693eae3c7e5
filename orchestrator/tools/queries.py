"""JMESPath over what a tool prints: the one place that compiles and asks queries, and that reads a
line as an event."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from orchestrator.files import jsonlines
from orchestrator.patterns import regex

# What may stand before and after an event on its line: a terminal's control sequences, blanks, a
# byte order mark.
_AROUND = regex(
    r"(?:\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b["
    r" -/]*[0-Z\\^-~]|[\x00-\x1a\x1c-\x20]|\ufeff)*"
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


@lru_cache(maxsize=1)
def _options() -> Any:
    """How it is asked: a sum of figures with one below 0 among them is None, as such a figure
    alone is, or it would hide others."""
    from jmespath import Options, functions

    class Functions(functions.Functions):  # type: ignore[misc]
        @functions.signature({"types": ["array-number"]})  # type: ignore[untyped-decorator]
        def _func_sum(self, items: list[float]) -> float | None:
            return sum(items) if all(item >= 0 for item in items) else None

    return Options(custom_functions=Functions())


def search(query: str, data: Any) -> Any:
    """What a query finds; None if the data is not of the kind that it expects."""
    try:
        return _compiled(query).search(data, _options())
    except (
        TypeError,
        ValueError,
        ArithmeticError,
        RecursionError,
    ):  # a figure of another type than usual (JMESPathError)
        return None


def events_of(raw: bytes) -> list[dict[str, Any]]:
    """The JSON objects that a line of output is made of; empty if it is text.

    There may be several on one line, and a terminal's line begins anew at each carriage return.
    """
    if b"\r" in raw:
        return [event for part in raw.split(b"\r") for event in _objects(part)]
    return _objects(raw)


def _objects(raw: bytes) -> list[dict[str, Any]]:
    """The objects of which these bytes are made; none if there is anything else beside them."""
    if b"{" not in raw:
        return []
    text = raw.decode("utf-8", "replace")
    found: list[dict[str, Any]] = []
    decoder = jsonlines.decoder(text)  # of the whole line, which may hold very many
    place = _AROUND.match(text).end()  # type: ignore[union-attr]
    while place < len(text):
        if text[place] != "{":
            return []
        try:
            event, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return []
        found.append(event)
        place = _AROUND.match(text, place).end()  # type: ignore[union-attr]
    return found
