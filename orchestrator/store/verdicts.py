"""A person's verdict by ``mv``: a task that was in review lies in done/ or failed/. What follows
from it is made, as by the verbs.

The person's move is what counts and is over; the journal's record of it is the commit point for
what follows. Done twice it makes one: the second time the journal does not say review any more.
"""

from __future__ import annotations

import os

from orchestrator.files.identity import born
from orchestrator.model.event import move_step
from orchestrator.model.journal import Phase
from orchestrator.model.status import Status
from orchestrator.store import following
from orchestrator.store.transitions import Store

KINDS = {Status.DONE: "task_approved", Status.FAILED: "task_rejected"}


def settle(store: Store, task_id: str, name: str, target: Status) -> list[str] | None:
    """What was made because this task was moved from review/ to ``target`` by hand; None if
    somebody is at it: look again."""
    entry = store.ledger.open(task_id)
    if entry is None:
        return []
    with entry:
        if not entry.lock():
            return None
        following.settled(store, entry)
        journal, path = entry.journal, store.layout.file(target, name)
        if journal.phase is not Phase.FINAL or journal.last.get("status") != str(Status.REVIEW):
            return []
        try:
            info = os.lstat(path)
        except OSError:
            return []
        made = following.due(journal.then, target)
        if made:
            following.stage(store, task_id, target, made)
        moved = {"record": "final", "status": str(target), "at": store.clock.wall()}
        entry.append({**moved, "ino": info.st_ino, "born": born(path)}, sync=True)
        said = {"task_id": task_id, "phase": "request", "status": str(target)}
        said["summary"] = f"{Status.REVIEW} -> {target}"
        event = store.log.event(KINDS[target], task_id, move_step(info.st_ctime_ns), **said)
        store.log.commit_and_wait([event])
        return following.place(store, task_id) if made else []
