"""Names in braces inside text: ``Review {task.title}``.

Only ``{`` and a name and ``}`` is a place; every other brace is ordinary text, so that JSON and
code may stand in a prompt. ``{{name}}`` stands for ``{name}`` itself. A value is put in as it is
and never looked at again: it can inject nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from orchestrator.patterns import regex

_NAME = r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)*"
_PLACE = regex(r"\{\{(" + _NAME + r")\}\}?|\{(" + _NAME + r")\}")


def fill(text: str, values: Mapping[str, str], keep: bool = False) -> str:
    """The text with its places filled; a name that has no value stays as it stands.

    ``keep``: what stands for a literal brace stays so, for the text is filled once more.
    """

    def put(found: re.Match[str]) -> str:
        literal, name = found[1], found[2]
        if literal:
            return found[0] if keep else "{" + literal + "}"
        return values.get(name, found[0])

    return _PLACE.sub(put, text)


def literal(text: str) -> str:
    """The text so that filling it gives the text itself."""
    return _PLACE.sub(lambda found: "{" + found[0] + "}" if found[2] else found[0], text)


def places(text: str) -> list[str]:
    """The names that are to be filled in, in order."""
    return [found[2] for found in _PLACE.finditer(text) if found[2]]


def texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every text in a value, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from texts(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from texts(inner, (*path, place))


def everywhere(value: Any, change: Callable[[str], str]) -> Any:
    """The same value with every text changed; keys stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: everywhere(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [everywhere(inner, change) for inner in value]
    return value


def unknown(value: Any, known: Collection[str]) -> list[tuple[tuple[Any, ...], str]]:
    """Names that nothing fills, each with the path of the text it stands in."""
    return [
        (path, name) for path, text in texts(value) for name in places(text) if name not in known
    ]
