"""Words of people for the agents of tasks: placed beside a task, taken into its journal, told by
its next attempt.

Exactly once, wherever it is cut off. The file is what waits; the ``told`` record, which names that
very file, is the commit point; then the file goes. A file whose record already exists is only
taken away.
"""

from __future__ import annotations

import os

from orchestrator.errors import Refused
from orchestrator.files import replies
from orchestrator.files.identity import identity_of
from orchestrator.files.replies import MOST, Reply
from orchestrator.model.status import ENDED, Status
from orchestrator.store import atomic, smallfiles
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store

SPARE = range(2, 10)  # further names of replies to a running task


def place(store: Store, task_id: str, folder: Status, text: str) -> str:
    """Write a reply beside a task, durably; its path. `Refused` if it is too long, or too many wait
    already."""
    raw = (text.strip("\r\n") + "\n").encode("utf-8", "replace")
    if len(raw) > MOST:
        raise Refused(
            f"the reply has more than {MOST // 1024} KiB",
            "put long material in a file of the project and name it",
        )
    layout = store.layout
    names = [task_id + ending for ending in replies.ENDINGS]
    if folder is Status.RUNNING:
        names += [f"{task_id}.reply.{number}" for number in SPARE]
    for name in names:
        path = layout.file(folder, name)
        if os.path.lexists(path):
            continue
        store.judged(task_id, Status.INBOX if folder in ENDED else folder)
        try:
            smallfiles.put(layout, path, raw, "reply", anew=True)
        except FileExistsError:
            continue
        store.vouch([(name, replies.digest(raw.decode()), identity_of(path))])
        return path
    raise Refused(
        f"{task_id} has {len(names)} replies that are not delivered yet",
        f"orchestrator show {task_id}; edit work/{folder}/{names[0]}",
    )


def tell(store: Store, entry: Entry, reply: Reply, summary: str) -> bool:
    """Have the next attempt told; False if the journal has that already. The journal's lock is
    held."""
    journal = entry.journal
    known = any(record.get("reply") == reply.key for record in journal.replies)
    if not known:
        record = {"record": "told", "reply": reply.key, "text": reply.text}
        entry.append({**record, "at": store.clock.wall()}, sync=True)
    number = journal.next_attempt
    store.log.commit_and_wait(
        [
            store.log.event(
                "task_replied",
                reply.task_id,
                f"reply.{reply.key}",
                task_id=reply.task_id,
                attempt=number,
                run_id=journal.claim.get("run"),
                phase="request",
                status=str(reply.folder),
                summary=summary,
            )
        ]
    )
    return not known


def discard(store: Store, reply: Reply) -> None:
    """Take away a reply that is in the journal; another file that has its name by now comes
    back."""
    aside = smallfiles.scratch(store.layout, "told")
    try:
        atomic.move(reply.path, aside)
    except FileNotFoundError:
        return
    if identity_of(aside) == reply.identity:
        os.unlink(aside)
        return
    try:
        atomic.move(aside, reply.path)
    except FileExistsError:
        name = f"{reply.task_id}.reply.{os.getpid() % 90 + 10}"
        atomic.move(aside, store.layout.file(Status.RUNNING, name))
