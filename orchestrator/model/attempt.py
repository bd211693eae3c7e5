"""How an attempt ended, before anybody has read what the tool printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.records import dataclass


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """``cause`` is empty if the tool ended by itself, else one of ``cancelled``, ``timeout``,
    ``silence``, ``log_limit``, ``leash`` (its worker had lost touch with the broker); ``not_home``
    (it ran elsewhere, and what it did did not come back); ``not_installed`` or ``start`` (it could
    not be executed, ``message`` says why, ``errno`` is the system's number if that was not the
    task's fault); ``lost`` (nobody knows: its supervisor was killed or, as ``message`` then says,
    another machine cannot tell)."""

    cause: str
    code: int | None = None
    signal: int | None = None
    duration_ms: int = 0
    message: str = ""
    leftovers: int = 0
    errno: int = 0

    @property
    def exit_code(self) -> int | None:
        """As shells have it: 128 and the number of the signal that ended it; None if nobody
        knows."""
        return self.code if self.signal is None else 128 + self.signal


def end_from(record: Mapping[str, Any]) -> AttemptEnd:
    """The end that a journal's ``exit`` or ``lost`` record describes."""
    if record.get("record") == "lost":
        message, leftovers = str(record.get("message", "")), record.get("leftovers", 0)
        return AttemptEnd("lost", message=message, leftovers=leftovers)
    return AttemptEnd(
        record.get("cause", ""),
        record.get("code"),
        record.get("signal"),
        record.get("duration_ms", 0),
        record.get("message", ""),
        record.get("leftovers", 0),
        record.get("errno", 0),
    )
