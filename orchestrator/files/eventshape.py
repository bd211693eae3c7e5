"""An event as readers may take it, whoever wrote the line: what has not the type of its key is
null, and no text steers a terminal or has a second line.

Event files are meant for git, so that other clones, and whoever can push, write them. Readers
count, sort, divide and print what is in them; here is the one place that they all get events from,
so that none has to doubt what a value is.
"""

from __future__ import annotations

import re
from typing import Any

from orchestrator.files.text import one_line
from orchestrator.model.units import cost_of
from orchestrator.patterns import regex

Event = dict[str, Any]

_WHEN = regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", re.ASCII)
_TEXTS = (
    *("ts", "event_id", "event", "task_id", "run_id", "agent", "tool", "model", "mode", "phase"),
    *("status", "summary", "outcome", "error_class", "cost_source", "session"),
    *("branch", "base", "tip", "target", "merged"),
)
_TYPES: dict[str, type] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(("attempt", "exit_code", "duration_ms"), int),
    **dict.fromkeys(("commits", "insertions", "deletions"), int),
    **dict.fromkeys(("artifacts", "log_paths"), list),
    "usage": dict,
}
_LARGEST = 10**12  # of a count: nothing has more, and SQLite can keep the sum of millions


def fitted(event: Event | None) -> Event | None:
    """The same event, mended in place; None if it is none: without a moment, or a kind."""
    if event is None or not _WHEN.fullmatch(str(event.get("ts"))):
        return None
    for key, value in event.items():
        if key == "cost_usd":
            event[key] = cost_of(value)
        elif key in _TYPES:
            event[key] = _fitting(value, _TYPES[key])
    return event if event.get("event") else None


def _fitting(value: Any, wanted: type[Any]) -> Any:
    if type(value) is not wanted:
        return None
    if wanted is str:
        return value if value.isprintable() else one_line(value)
    if wanted is int:
        return value if -_LARGEST < value < _LARGEST else None
    if wanted is list:
        return [item for item in value if isinstance(item, str)]
    return _counts(value)


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    """Those of its entries that are numbers."""
    return {
        name: value
        for name, value in usage.items()
        if cost_of(value) is not None and value < _LARGEST
    }
