"""Plans that wait for a yes: the file that people read, and the yes.

The record by which the next attempt is told is the commit point of an approval.
``results/<id>.plan.md`` is for people; git and other agents can write there, so what it says is
never carried out unseen: a changed one is refused.
"""

from __future__ import annotations

from orchestrator.errors import Refused
from orchestrator.files.layout import Layout
from orchestrator.files.requests import Unreadable, read
from orchestrator.model.journal import Journal, Phase
from orchestrator.model.status import Status
from orchestrator.store import atomic, moves, places, smallfiles
from orchestrator.store.eventlog import NewFile
from orchestrator.store.transitions import Store

MOST = 64 * 1024  # characters of a plan; of a longer one the beginning
GO = "Your plan is approved: carry it out now. You have the rights for it. This is the plan:\n\n"


def stage(store: Store, task_id: str, plan: str) -> NewFile:
    """The file of a plan under a temporary name, for the commit that makes the end of its attempt
    known."""
    path = store.layout.plan(task_id)
    temporary = smallfiles.scratch(store.layout, "plan")
    places.clear(store.layout, path)
    atomic.write_temporary(temporary, _text(plan), sync=False)
    return NewFile(temporary, path)


def _text(plan: str) -> bytes:
    return f"{plan}\n".encode("utf-8", "replace")


def approve(store: Store, task_id: str, from_git: str) -> str:
    """Have a plan that waits carried out: its task goes back to the inbox. What was done, in words;
    empty if no plan waits.

    Raises `Refused` if somebody is at it, the plan's file no longer says what its agent wrote, or
    git has brought another file of the task (``from_git``: of the configuration).
    """
    entry = store.ledger.open(task_id)
    if entry is None:
        return ""
    with entry:
        if not _waits(entry.journal):
            return ""
        if not entry.lock():
            raise Refused(
                f"{task_id} is being changed by another process", f"orchestrator show {task_id}"
            )
        if not _waits(entry.journal):
            return ""
        plan = str(entry.journal.last["plan"])
        _refuse_changed(store.layout, task_id, plan)
        moves.refuse_unseen(store, task_id, from_git)
        moves.refuse_namesake(store, task_id, Status.INBOX)
        number = entry.journal.next_attempt
        store.judged(task_id, Status.INBOX, f"have attempt {number} carry out its plan")
        if not entry.journal.approved:
            yes = {"record": "told", "plan": True, "text": f"{GO}{plan}\n"}
            entry.append({**yes, "at": store.clock.wall()}, sync=True)
    moves.retry(store, task_id, by="approve")
    return f"its plan is approved: attempt {number} carries it out"


def _waits(journal: Journal) -> bool:
    return journal.phase is Phase.FINAL and journal.plan_waits


def _refuse_changed(layout: Layout, task_id: str, plan: str) -> None:
    path = layout.plan(task_id)
    try:
        same = read(path, most=4 * MOST).raw == _text(plan)
    except FileNotFoundError:
        same = True
    except (OSError, Unreadable):
        same = False
    if not same:
        shown = layout.shown(path)
        raise Refused(
            f"{shown} no longer says what the agent of {task_id} wrote",
            f"orchestrator reply {task_id} - < {shown}   asks it to plan again with these words",
        )
