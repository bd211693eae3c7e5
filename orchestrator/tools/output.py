"""Reading what a tool printed: outcome, session, usage, cost and last words, as its spec's
``parse`` says.

Agents print one JSON object a line; queries are JMESPath over the list of them. Of a log that is
larger than `HEAD` and `TAIL` together only these ends are read, so that memory does not depend on
how much a tool printed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.files import jsonlines, opening
from orchestrator.files.layout import OWN
from orchestrator.files.text import clean, one_line, tail
from orchestrator.model.result import session_name
from orchestrator.records import dataclass, field
from orchestrator.tools import ending as ending_tools
from orchestrator.tools import parsers, queries, tally
from orchestrator.tools.tally import figure as sensible

if TYPE_CHECKING:
    from orchestrator.tools.activity import Show

HEAD, TAIL = 1 << 20, 16 << 20
LAST = (
    1 << 26
)  # bytes after the beginning that are read if they end with one line longer than `TAIL`


@dataclass(frozen=True, slots=True)
class Parse:
    """How a tool's output is understood: queries, or the name of one of `tools.parsers`."""

    source: str = "stdout"
    parser: str = ""
    session: str = ""
    model: str = ""
    done: str = ""
    failed: str = ""
    error: str = ""
    idle: str = ""
    error_status: str = ""
    limited: str = ""
    reset: str = ""
    quota: str = ""
    warnings: str = ""
    text: str = ""
    structured: str = ""
    text_from: str = ""
    text_pattern: str = ""
    usage_from: str = ""
    usage: Mapping[str, str] = field(default_factory=dict)
    input_includes_cached: bool = False
    cumulative: bool = False

    @property
    def sums(self) -> bool:
        """Whether its figures are sums over all events, so that the ends of a log do not do."""
        return any("sum([?" in query for query in self.usage.values())


@dataclass(frozen=True, slots=True)
class Said:
    """What a tool said of itself. ``done`` and ``failed`` are None if its spec does not ask;
    ``usage`` is in tokens with the cached ones included in ``input``, and covers the whole session
    if the tool counts that way.

    ``final`` is whether nothing more was said or done after the event that ended its work;
    ``status`` an HTTP status of its failure, ``limited`` whether it says as data that its plan's
    limit is used up, ``reset`` when that ends, as it says it; ``structured`` is its answer as data,
    if it gives one; ``session_cost`` is what the whole session cost so far; ``windows`` what it
    knows of its plan's windows; ``partial`` that figures are sums over a log of which only the ends
    were read."""

    session: str = ""
    model: str = ""
    done: bool | None = None
    failed: bool | None = None
    final: bool = False
    error: str = ""
    status: Any = None
    limited: bool = False
    reset: Any = None
    windows: tuple[Mapping[str, Any], ...] = ()
    text: str = ""
    structured: Any = None
    warnings: tuple[str, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict)
    cost_usd: float | None = None
    session_cost: float | None = None
    partial: bool = False


def read(parse: Parse, run_dir: str, show: Show | None = None) -> Said:
    """What the output in a log folder says. What cannot be found is left out; nothing in the output
    raises."""
    if parse.parser:
        said = parsers.PARSERS[parse.parser](
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
        return queries.search(query, data) if query else None

    counted = _document(parse.usage_from, run_dir)[0] if parse.usage_from else events
    told = _document(parse.text_from, run_dir)[0] if parse.text_from else events
    warnings = ask(parse.warnings, told) or ()
    warnings = [warnings] if isinstance(warnings, str) else warnings
    cost = ask(parse.usage.get("cost", ""), counted)
    session_cost = sensible(ask(parse.usage.get("session_cost", ""), counted))
    ending = ending_tools.verdict(parse.done, parse.failed, parse.error, events, parse.idle, show)
    windows = ask(parse.quota)
    return Said(
        session=session_name(ask(parse.session)),
        model=one_line(_text(ask(parse.model)), 120),
        done=ending.done,
        failed=ending.failed,
        final=ending.final,
        error=_text(ask(parse.error)),
        status=ask(parse.error_status),
        limited=bool(ask(parse.limited)),
        reset=ask(parse.reset),
        windows=tuple(item for item in windows if isinstance(item, dict))
        if isinstance(windows, list)
        else (),
        structured=ask(parse.structured),
        text=_pattern_text(parse, run_dir) or _text(ask(parse.text, told)),
        warnings=(
            *dict.fromkeys(_text(warning) for warning in warnings if warning),
            *ending.warnings,
        ),
        usage=(usage := _tokens(lambda name: ask(parse.usage.get(name, ""), counted), parse)),
        # The sum over no reports is 0, which says nothing.
        cost_usd=float(cost) if sensible(cost) is not None and (cost or usage) else None,
        session_cost=session_cost,
        partial=cut and parse.sums,
    )


def settled(parse: Parse, run_dir: str, show: Show | None) -> bool:
    """Whether the end of the log says that the work is over: its last word was its last event. Only
    of tools that print events."""
    if parse.source != "stdout" or parse.parser or not parse.done:
        return False
    raw = tail(f"{run_dir}/stdout.log", HEAD).encode("utf-8", "replace")
    events = [event for line in raw.split(b"\n") for event in queries.events_of(line)]
    ending = ending_tools.verdict(parse.done, parse.failed, parse.error, events, parse.idle, show)
    return bool(ending.final and (ending.done or ending.failed))


def _tokens(figure: Callable[[str], Any], parse: Parse) -> dict[str, int]:
    """Counts by kind; empty if nothing was counted."""
    found = {}
    for name in tally.TOKENS:
        value = sensible(figure(name))
        if value is not None:
            found[name] = int(value)
    if not parse.input_includes_cached and "input" in found:
        found["input"] += found.get("cached", 0)
    if not found.get("cache_write"):
        found.pop("cache_write", None)
    return found if any(found.values()) else {}


def _pattern_text(parse: Parse, run_dir: str) -> str:
    """The last words in a file that is no JSON."""
    if not parse.text_pattern:
        return ""
    text = clean(tail(parse.text_from.replace("{run_dir}", f"{run_dir}/{OWN}"), 1 << 20))
    found = list(re.finditer(parse.text_pattern, text))
    return found[-1]["text"].strip() if found else ""


def _text(value: Any) -> str:
    if isinstance(value, str):
        return clean(value).strip()
    return "" if value is None else clean(str(value))


def _document(source: str, run_dir: str) -> tuple[Any, bool]:
    """The data that queries are asked of, and whether the middle of it was left out."""
    path = (
        f"{run_dir}/stdout.log"
        if source == "stdout"
        else source.replace("{run_dir}", f"{run_dir}/{OWN}")
    )
    raw, cut = _ends(path)
    if path.endswith(".json"):
        return _json(raw), cut
    return [event for line in raw.split(b"\n") for event in queries.events_of(line)], cut


def _ends(path: str) -> tuple[bytes, bool]:
    try:
        with opening.open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= HEAD + TAIL:
                return file.read(HEAD + TAIL), False
            head = file.read(HEAD)
            head = head[: head.rfind(b"\n") + 1]
            file.seek(size - TAIL)
            tail = file.read(TAIL)
            if b"\n" not in tail[:-1] and size - len(head) <= LAST:  # it is all one line
                file.seek(len(head))
                return head + file.read(LAST), True
            return head + tail.partition(b"\n")[2], True
    except OSError:
        return b"", False


def _json(raw: bytes) -> Any:
    try:
        text = raw.decode("utf-8", "replace")
        return jsonlines.decoder(text).decode(text)
    except (ValueError, RecursionError):
        return None
