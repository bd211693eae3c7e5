"""Kinds of failure, and what each allows.

Which kind a failure is, is data: patterns in the tool specs (``failures:``) and in
``tools/failures.yaml``.
"""

from __future__ import annotations

from orchestrator.records import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """``retry``: the same tool may do better later. ``fallback``: nothing was done yet, so that
    another tool may try. ``parks``: until its reset the tool is of no use to anybody."""

    retry: bool
    fallback: bool
    text: str
    parks: bool = False


KINDS: dict[str, Kind] = {
    "rate_limit": Kind(True, True, "the provider asks for a pause"),
    "usage_limit": Kind(True, True, "the plan's or the account's limit is used up", parks=True),
    "overloaded": Kind(True, True, "the provider is overloaded or failing"),
    "network": Kind(True, True, "the provider cannot be reached"),
    "auth": Kind(False, True, "not logged in, or the key is not accepted"),
    "not_installed": Kind(False, True, "the program is not there"),
    "start": Kind(False, True, "it could not be started"),
    "bad_request": Kind(False, False, "the provider refuses the request: model, size, parameters"),
    "session": Kind(
        True, False, "the session to resume is gone; the next attempt starts a new one"
    ),
    "timeout": Kind(True, False, "it ran out of time"),
    "silence": Kind(True, False, "it printed nothing for too long"),
    "exit": Kind(True, False, "the tool itself failed"),
    "incomplete": Kind(True, False, "it ended without saying that it was done"),
    "signal": Kind(True, False, "a signal ended it"),
    "lost": Kind(
        False, False, "its supervisor was killed, or its machine is out of reach; nobody knows"
    ),
    "cancelled": Kind(False, False, "somebody stopped it"),
    "log_limit": Kind(False, False, "it printed more than is allowed"),
    "verify": Kind(
        False, False, "it was not proven: a check failed, or a declared file is missing"
    ),
    "not_home": Kind(False, False, "its work on another machine could not be brought back"),
    "answer": Kind(False, False, "its answer does not fit the task's schema"),
    "output": Kind(False, False, "its output could not be read"),
}
OTHER = Kind(True, False, "another kind")


def kind(name: str) -> Kind:
    """What is known of this class of failure; adapters may have classes of their own."""
    return KINDS.get(name, OTHER)
