"""Reading what a tool printed: outcome, session, usage, cost and last words, as its spec's ``parse`` says.

Agents print one JSON object a line; queries are JMESPath over the list of them.  Of a log that is larger than `HEAD` and
`TAIL` together only these ends are read, so that memory does not depend on how much a tool printed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from orchestrator.files import opening
from orchestrator.files.text import clean, tail
from orchestrator.tools.parsers import PARSERS

HEAD, TAIL = 1 << 20, 16 << 20
TOKENS = ("input", "cached", "output", "reasoning")


@dataclass(frozen=True, slots=True)
class Parse:
    """How a tool's output is understood: queries, or the name of one of `tools.parsers`."""

    source: str = "stdout"
    parser: str = ""
    session: str = ""
    done: str = ""
    failed: str = ""
    error: str = ""
    warnings: str = ""
    text: str = ""
    text_from: str = ""
    usage_from: str = ""
    usage: Mapping[str, str] = field(default_factory=dict)
    input_includes_cached: bool = False
    cumulative: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What a tool said of itself.  ``done`` and ``failed`` are None if its spec does not ask; ``usage`` is in tokens with
    the cached ones included in ``input``, and covers the whole session if the tool counts that way."""

    session: str = ""
    done: bool | None = None
    failed: bool | None = None
    error: str = ""
    text: str = ""
    warnings: tuple[str, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict)
    cost_usd: float | None = None


def problem(query: str) -> str:
    """Why this is not a JMESPath query; empty if it is."""
    import jmespath  # here and below: verbs that only look up a tool do not pay for it
    from jmespath.exceptions import JMESPathError

    try:
        jmespath.compile(query)
    except JMESPathError as error:
        return str(error).splitlines()[0]
    return ""


def read(parse: Parse, run_dir: str) -> Said:
    """What the output in a log folder says.  What cannot be found is left out; nothing in the output raises."""
    if parse.parser:
        said = PARSERS[parse.parser](
            tail(f"{run_dir}/stdout.log", 1 << 16), tail(f"{run_dir}/stderr.log", 1 << 16)
        )
        return Said(
            done=said["done"],
            text=clean(said["text"]),
            usage=_tokens(said["usage"].get, parse),
            cost_usd=None,
        )
    events, cut = _document(parse.source, run_dir)

    def ask(query: str, data: Any = events) -> Any:
        return search(query, data) if query else None

    counted = _document(parse.usage_from, run_dir)[0] if parse.usage_from else events
    told = _document(parse.text_from, run_dir)[0] if parse.text_from else events
    warnings = ask(parse.warnings, told) or ()
    warnings = [warnings] if isinstance(warnings, str) else warnings
    if cut:
        warnings = [
            *warnings,
            f"its log is larger than {(HEAD + TAIL) >> 20} MiB: figures that are sums may be too low",
        ]
    cost = ask(parse.usage.get("cost", ""), counted)
    return Said(
        session=_text(ask(parse.session)),
        done=bool(ask(parse.done)) if parse.done else None,
        failed=bool(ask(parse.failed)) if parse.failed else None,
        error=_text(ask(parse.error)),
        text=_text(ask(parse.text, told)),
        warnings=tuple(dict.fromkeys(_text(warning) for warning in warnings if warning)),
        usage=_tokens(lambda name: ask(parse.usage.get(name, ""), counted), parse),
        cost_usd=float(cost)
        if isinstance(cost, (int, float)) and not isinstance(cost, bool) and cost >= 0
        else None,
    )


def _tokens(figure: Callable[[str], Any], parse: Parse) -> dict[str, int]:
    """Counts by kind; empty if nothing was counted."""
    found = {}
    for name in TOKENS:
        value = figure(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e15:
            found[name] = int(value)
    if not parse.input_includes_cached and "input" in found:
        found["input"] += found.get("cached", 0)
    return found if any(found.values()) else {}


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


def _text(value: Any) -> str:
    return (
        clean(value).strip()
        if isinstance(value, str)
        else ""
        if value is None
        else clean(str(value))
    )


def _document(source: str, run_dir: str) -> tuple[Any, bool]:
    """The data that queries are asked of, and whether the middle of it was left out."""
    path = f"{run_dir}/stdout.log" if source == "stdout" else source.replace("{run_dir}", run_dir)
    raw, cut = _ends(path)
    if path.endswith(".json"):
        return _json(raw), cut
    return [
        event
        for line in raw.split(b"\n")
        if line[:1] in (b"{", b" ", b"\t") and isinstance(event := _json(line), dict)
    ], cut


def _ends(path: str) -> tuple[bytes, bool]:
    try:
        with opening.open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= HEAD + TAIL:
                return file.read(HEAD + TAIL), False
            head = file.read(HEAD)
            file.seek(size - TAIL)
            return head[: head.rfind(b"\n") + 1] + file.read(TAIL).partition(b"\n")[2], True
    except OSError:
        return b"", False


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
