"""What was said to a running attempt in its own turn: ``words/`` below its logs
(`execution.feeding`).

``<id>.said`` is a person's reply: its text, and by what the journal knows it. ``message.json`` is
how the tool wants to be told.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from typing import Any

from orchestrator.files import jsonlines, opening
from orchestrator.files.layout import WORDS, Layout
from orchestrator.files.scan import names
from orchestrator.model.journal import Journal
from orchestrator.records import dataclass

MOST = 1 << 20  # bytes of what was said


@dataclass(frozen=True, slots=True)
class Said:
    """A reply that was given to a running tool. ``key`` is the reply's
    (`files.replies.Reply.key`)."""

    key: str
    text: str
    taken: bool


def id_of(task_id: str, attempt: int, key: str) -> str:
    """The id under which a tool is given a reply: always the same one."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{task_id}/{attempt}/{key}"))


def folder(layout: Layout, task_id: str, attempt: int) -> str:
    return f"{layout.logs(task_id, attempt)}/{WORDS}"


def takes_words(layout: Layout, journal: Journal | None) -> bool:
    """Whether the attempt that runs can be told something in its turn."""
    attempt = journal.attempt if journal is not None else None
    if journal is None or attempt is None or attempt.ended or not attempt.started.get("words"):
        return False
    return not os.path.lexists(f"{folder(layout, journal.task_id, attempt.number)}/over")


def said(layout: Layout, task_id: str, attempt: int) -> Iterator[Said]:
    """What was given to an attempt, in the order of their names."""
    place = folder(layout, task_id, attempt)
    for name in sorted(names(place)):
        if not name.endswith(".said"):
            continue
        try:
            body = jsonlines.loads(opening.read_bytes(f"{place}/{name}", MOST))
            key, text = str(body["reply"]), str(body["text"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        taken = os.path.lexists(f"{place}/{name.removesuffix('.said')}.taken")
        yield Said(key, text, taken)


def message(place: str) -> Any:
    """How its tool is told something.  OSError or ValueError if that cannot be read."""
    return jsonlines.loads(opening.read_bytes(f"{place}/message.json", MOST))


def line(said_by: Any, text: str, ident: str) -> bytes:
    """What the tool reads: its message with the text and the id in their places."""
    values = {"{text}": text, "{id}": ident}

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: filled(value) for key, value in part.items()}
        if isinstance(part, list):
            return [filled(value) for value in part]
        return values.get(part, part) if isinstance(part, str) else part

    return json.dumps(filled(said_by), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
