"""How a tool's work ended, by its own events: the last one that ends it decides.

A tool may print several results, recover from an error, or print an empty error after its result;
what disagrees with the decision is a warning. Queries are asked of each event by itself, so that
their order is known; a query that needs more than one event is asked of all of them, as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.records import dataclass
from orchestrator.tools import activity, queries

if TYPE_CHECKING:
    from orchestrator.tools.activity import Show

LOOK_BACK = 400  # events from the end that are asked one by one


@dataclass(frozen=True, slots=True)
class Verdict:
    """``done`` and ``failed`` are None if the spec does not ask; ``final``: no word and no deed
    came after the event that decided.

    Figures, and what a program tells of its own housekeeping, may still come: its ``show`` says
    which events are which.
    """

    done: bool | None = None
    failed: bool | None = None
    final: bool = False
    warnings: tuple[str, ...] = ()


def verdict(
    done_query: str,
    failed_query: str,
    error_query: str,
    events: Any,
    idle_query: str = "",
    show: Show | None = None,
) -> Verdict:
    """What the events say of the end; a query that is empty is not asked.

    A failure after the result undoes it, unless nothing was done for it (``idle_query``): then it
    is the program's own.
    """
    done = bool(queries.search(done_query, events)) if done_query else None
    failed = bool(queries.search(failed_query, events)) if failed_query else None
    if not isinstance(events, list):
        return Verdict(done, failed, final=bool(done or failed))
    good = _last(done_query, events) if done else -1
    bad = _last(failed_query, events) if failed else -1
    final = max(good, bad) >= 0 and _quiet(show, events[max(good, bad) + 1 :])
    if not done or not failed or good < 0 or bad < 0 or good == bad:
        return Verdict(done, failed, final)
    if good > bad:
        return Verdict(True, False, final, _recovered(error_query, events[bad]))
    if error_query and not queries.search(error_query, [events[bad]]):
        return Verdict(True, False, final, ("it printed an empty error after its result",))
    if idle_query and queries.search(idle_query, [events[bad]]):
        return Verdict(True, False, final, _after(error_query, events[bad]))
    return Verdict(False, True, final)


def _quiet(show: Show | None, later: list[Any]) -> bool:
    """Whether these events tell of no further work; without a ``show`` nobody knows of any
    event."""
    return not later if show is None else not any(activity.speaks(show, event) for event in later)


def _last(query: str, events: list[Any]) -> int:
    """The place of the last event for which the query finds something; -1 if there is none near the
    end."""
    for place in range(len(events) - 1, max(-1, len(events) - 1 - LOOK_BACK), -1):
        if queries.search(query, [events[place]]):
            return place
    return -1


def _recovered(error_query: str, event: Any) -> tuple[str, ...]:
    text = _error(error_query, event)
    return (f"it went on after an error: {text}" if text else "it went on after an error",)


def _after(error_query: str, event: Any) -> tuple[str, ...]:
    text = _error(error_query, event)
    return (f"it printed an error after its result: {text}",)


def _error(query: str, event: Any) -> str:
    said = queries.search(query, [event]) if query else None
    return " ".join(said.split())[:160] if isinstance(said, str) else ""
