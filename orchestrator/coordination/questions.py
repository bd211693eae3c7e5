"""Questions at the end of a turn: an agent that cannot go on without a person writes
``question.md`` and ends.

``$ORCHESTRATOR_ARTIFACTS/question.md`` is text; numbered lines in it are options. The task waits in
review, as *asks*, and ``reply`` answers in the same session. A role says what else may be: ``ask:
deny``, or a time after which nobody answers.
"""

from __future__ import annotations

import math
from contextlib import suppress

from orchestrator.coordination.merges import role_of
from orchestrator.coordination.tasktrees import Claimed
from orchestrator.errors import Refused
from orchestrator.files import results, scan
from orchestrator.files.layout import ARTIFACTS, Layout
from orchestrator.files.requests import Unreadable, read
from orchestrator.files.text import clean
from orchestrator.model.config import Config
from orchestrator.model.journal import Phase
from orchestrator.model.question import DENIED, NOBODY
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome, Status
from orchestrator.model.units import duration
from orchestrator.store import moves
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store
from orchestrator.tools import secrecy

NAME = "question.md"
MOST = 16 * 1024  # bytes of a question; of a longer one the beginning


def asked(layout: Layout, life: Claimed, reading: Reading) -> str:
    """What an attempt that ended well asks a person; empty if nothing."""
    if reading.outcome is not Outcome.SUCCEEDED:
        return ""
    text = _written(layout, life)
    if text or life.route.agent.role.ask != "person":
        return text
    refused = [line for line in reading.warnings if line.startswith(DENIED)]
    return "\n".join(refused)


def _written(layout: Layout, life: Claimed) -> str:
    path = f"{layout.logs(life.id, life.attempt)}/{ARTIFACTS}/{NAME}"
    try:
        raw = read(path).raw[:MOST]
    except (OSError, Unreadable):
        return ""
    return secrecy.mask(clean(raw.decode("utf-8", "replace")).strip(), life.secrets)


def denied(layout: Layout, life: Claimed, entry: Entry, reading: Reading) -> bool:
    """Whether nobody answers for this role: then the agent is told so, once in a row, and goes on
    by another attempt."""
    if life.route.agent.role.ask != "deny" or not asked(layout, life, reading):
        return False
    return _tell(entry)


def _tell(entry: Entry) -> bool:
    """Have the next attempt told that nobody answers; False if the one before was told so and asked
    again."""
    if NOBODY in entry.journal.told:
        return True
    if entry.journal.unanswered:
        return False
    entry.append({"record": "told", "text": NOBODY, "asked": True}, sync=True)
    return True


def overdue(store: Store, config: Config) -> list[str]:
    """Questions that nobody has answered in the time that their role gives: their tasks go on.
    Names of their files."""
    found = []
    for task_id, name in scan.sorted_names(store.layout.folder(Status.REVIEW)):
        if not results.read(store.layout, task_id).get("question"):
            continue
        entry = store.ledger.open(task_id)
        if entry is None:
            continue
        with entry:
            limit = _seconds(role_of(config, entry.journal).role.ask)
            late = store.clock.wall() - float(entry.journal.last.get("at", 0)) >= limit
            goes_on = late and entry.lock() and entry.journal.phase is Phase.FINAL and _tell(entry)
        if goes_on:
            with suppress(Refused):  # its file is another one by now: that waits for a person
                moves.refuse_unseen(store, task_id, config.from_git)
                moves.retry(store, task_id, by="nobody answered")
                found.append(name)
    return found


def _seconds(ask: str) -> float:
    """How long a person may take."""
    return math.inf if ask in ("", "person", "deny") else duration(ask)
