"""Words for a tool that runs: given to it under an id that follows from them, so that twice is
once.

The journal belongs to the supervisor while an attempt runs. So what was taken is written down below
the attempt's logs, and comes into the journal when the attempt has ended; what was not taken is
told by the next one.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from orchestrator.files import steering
from orchestrator.files.layout import WORDS
from orchestrator.files.replies import Reply
from orchestrator.files.scan import names
from orchestrator.model.journal import Journal
from orchestrator.store import atomic, smallfiles
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store


def begin(run_dir: str, message: Mapping[str, Any], prompt: str) -> None:
    """The first words of an attempt, which is about to start: its prompt. OSError if the disk
    refuses."""
    place = f"{run_dir}/{WORDS}"
    for name in names(place):  # an attempt that never started may have left some
        atomic.remove(f"{place}/{name}")
    known = json.dumps(message).encode()
    atomic.write_temporary(f"{place}/message.json", known, mode=0o600, sync=False)
    ident = str(uuid.uuid4())
    first = steering.line(message, prompt, ident)
    atomic.write_temporary(f"{place}/0.{ident}.json", first, mode=0o600, sync=False)


def give(store: Store, journal: Journal, reply: Reply) -> bool:
    """Give a reply to the attempt that runs, unless it has it already; whether the tool has taken
    it."""
    assert journal.attempt is not None
    attempt = journal.attempt.number
    place = steering.folder(store.layout, reply.task_id, attempt)
    ident = steering.id_of(reply.task_id, attempt, reply.key)
    if os.path.lexists(f"{place}/{ident}.taken"):
        return True
    if not os.path.lexists(f"{place}/{ident}.said"):
        body = json.dumps({"reply": reply.key, "text": reply.text}).encode()
        _publish(store, f"{place}/{ident}.said", body)
    if any(name.endswith(f".{ident}.json") for name in names(place)):
        return False
    told = steering.line(steering.message(place), reply.text, ident)
    _publish(store, f"{place}/{time.time_ns():020d}.{ident}.json", told)
    facts = {"phase": "request", "status": "running", "summary": "at its next turn"}
    step = f"reply.{reply.key}"
    event = store.log.event(
        "task_replied",
        reply.task_id,
        step,
        task_id=reply.task_id,
        attempt=attempt,
        run_id=journal.claim.get("run"),
        **facts,
    )
    store.log.commit_and_wait([event])
    return False


def settle(store: Store, entry: Entry) -> None:
    """Have in the journal what an attempt that has ended was told while it ran. The journal's lock
    is held."""
    journal = entry.journal
    if journal.attempt is None or not journal.attempt.started.get("words"):
        return
    number = journal.attempt.number
    known = {record.get("reply") for record in journal.replies}
    for said in steering.said(store.layout, journal.task_id, number):
        if said.taken and said.key not in known:
            record = {"record": "told", "reply": said.key, "text": said.text, "taken": number}
            entry.append({**record, "at": store.clock.wall()}, sync=True)


def _publish(store: Store, path: str, data: bytes) -> None:
    with suppress(FileExistsError):  # another process gives the same
        smallfiles.put(store.layout, path, data, "words", anew=True)
