"""What people's verbs do with the file of a task: each moves it from one folder to another, and
tells of it.

Commit point: the rename, which never overwrites. A task that was ever claimed moves only under the
lock on its journal.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.errors import NotFound, Refused
from orchestrator.files import returning, scan, trust
from orchestrator.model.event import move_step
from orchestrator.model.journal import REJECTED, Phase
from orchestrator.model.status import ENDED, FINISHED, MOVES, UNDECIDED, WAITING, Status
from orchestrator.records import dataclass
from orchestrator.store import atomic, following, placing, trusting
from orchestrator.store.claiming import has_run
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store

PATIENCE = 2.0  # seconds that a verb waits for a step of another process


@dataclass(frozen=True, slots=True)
class Moved:
    """A task that a verb moved."""

    task_id: str
    source: Status
    target: Status
    path: str


def misplaced(task_id: str, status: Status, sources: Collection[Status]) -> Refused:
    """Why a task in this folder cannot be moved as one in ``sources`` can."""
    if status is Status.RUNNING:
        return Refused(f"{task_id} is running", f"orchestrator cancel {task_id}   stops it")
    if status in ENDED and sources == UNDECIDED:
        return Refused(f"{task_id} has ended: it is {status.word}", f"orchestrator show {task_id}")
    *some, last = (source.word for source in sources)
    wanted = f"{', '.join(some)} or {last}" if some else last
    return Refused(f"{task_id} is {status.word}, not {wanted}", f"orchestrator show {task_id}")


def refuse_unseen(store: Store, task_id: str, from_git: str) -> None:
    """`Refused` if the task would go back to the inbox with a file that git has brought meanwhile,
    and that nobody has said yes to (`files.returning`)."""
    status, name = _place(store, task_id)
    if status is Status.INBOX:
        return
    try:
        why = returning.Returning(store.layout, store.trust).why_not(
            task_id, status, name, from_git, store.clock.wall()
        )
    except FileNotFoundError:
        raise Refused(f"{task_id} was moved meanwhile", "orchestrator status") from None
    if why:
        verb = "release" if status is Status.HELD else "retry"
        raise Refused(
            f"{task_id}: {why}",
            f"orchestrator {verb} {task_id}   says that you mean the file as it is now",
        )


def hold(store: Store, task_id: str, reason: str = "") -> Moved:
    """inbox/ -> held/."""
    return _move(store, task_id, (Status.INBOX,), Status.HELD, "task_held", reason)


def release(store: Store, task_id: str) -> Moved:
    """held/ -> inbox/."""
    status, name = _place(store, task_id)
    if status is Status.INBOX:
        raise Refused(
            f"{task_id} is not in held/, but in the inbox",
            f"if its file says hold: true, remove that line; else see: orchestrator why {task_id}",
        )
    if status in ENDED:  # who says "resume" may mean its session
        raise Refused(
            f"{task_id} is {status.word}, not held",
            f'orchestrator reply {task_id} "..."   continues its session; orchestrator retry'
            f" {task_id}   runs it again",
        )
    return _move(store, task_id, (Status.HELD,), Status.INBOX, "task_released")


def cancel(store: Store, task_id: str, reason: str = "") -> Moved:
    """inbox/ or held/ or review/ -> cancelled/."""
    return _move(
        store,
        task_id,
        UNDECIDED,
        Status.CANCELLED,
        "task_cancelled",
        reason,
    )


def approve(store: Store, task_id: str) -> Moved:
    """A task that waits for approval may start; a task in review/ is done."""
    place = _place(store, task_id)
    if place[0] is Status.REVIEW:
        return _move(store, task_id, (Status.REVIEW,), Status.DONE, "task_approved")
    if place[0] is not Status.INBOX:
        raise Refused(
            f"{task_id} is in {place[0]}/: nothing waits for approval",
            scan.namesake(store.layout, task_id) or f"orchestrator show {task_id}",
        )
    path = store.layout.file(*place)
    refuse_forgetful(store, task_id)
    store.judged(task_id, Status.INBOX)
    with store.acknowledged(task_id):
        trusting.vouch(store.trust, [trusting.fact_of(task_id, path)])
        store.say("task_approved", task_id, phase="request", status="inbox")
    return Moved(task_id, Status.INBOX, Status.INBOX, path)


def refuse_forgetful(store: Store, task_id: str) -> None:
    """`Refused` if it cannot be remembered that a file counts which git may have brought."""
    if not store.trust.approvals:
        raise Refused(
            f"{task_id} cannot be approved: {store.trust.why or 'nothing can be remembered'}",
            (
                "orchestrator approve --settings   accepts the project as your own"
                if store.trust.state == trust.COPIED
                else "set XDG_STATE_HOME to a folder it may write to"
            ),
        )


def reject(store: Store, task_id: str, why: str = "") -> Moved:
    """A task that has not started is cancelled; one in review/ has failed, and a failure is taken
    note of.

    ``why`` is told by the next attempt, should there be one.
    """
    place = _place(store, task_id)
    told = f"{REJECTED}{why}\n" if why else ""
    if place[0] is Status.FAILED:
        store.judged(task_id, Status.FAILED)
        _tell_next(store, task_id, told)
        with store.acknowledged(task_id):
            store.say("task_rejected", task_id, phase="request", status="failed", summary=why)
        return Moved(task_id, *(Status.FAILED,) * 2, store.layout.file(*place))
    in_review = place[0] is Status.REVIEW
    sources, target = (Status.REVIEW, *WAITING), Status.FAILED if in_review else Status.CANCELLED
    told = told if in_review else ""
    return _move(store, task_id, sources, target, "task_rejected", why, told=told)


def _tell_next(store: Store, task_id: str, text: str) -> None:
    """Have the next attempt told, if there will be one."""
    entry = store.ledger.open(task_id) if text else None
    if entry is not None:
        with entry:
            _lock(store, entry, task_id)
            entry.append(_told(store, text), sync=True)


def _told(store: Store, text: str) -> dict[str, Any]:
    """The record by which the next attempt is told something."""
    return {"record": "told", "text": text, "at": store.clock.wall()}


def retry(store: Store, task_id: str, by: str = "retry", fresh: bool = False) -> Moved:
    """A finished task runs again, as a new attempt: in its session, unless ``fresh``."""
    moved_from = _place(store, task_id)[0]
    if moved_from is Status.INBOX:
        return _retry_refused(store, task_id)
    more = {"by": by, **({"fresh": True} if fresh else {})}
    return _move(store, task_id, ENDED, Status.INBOX, "task_requeued", requeue=more)


def _retry_refused(store: Store, task_id: str) -> Moved:
    """A file in the inbox whose id has run (a copy, git): the person says that it is meant."""
    entry = store.ledger.open(task_id)
    if entry is None or entry.journal.phase is not Phase.FINAL:
        raise Refused(f"{task_id} is in inbox/ already", f"orchestrator why {task_id}")
    with entry, store.acknowledged(task_id):
        _lock(store, entry, task_id)
        store.judged(task_id, Status.INBOX)
        place = _place(store, task_id)
        store.say("task_requeued", task_id, phase="request", status="inbox")
        entry.append(
            {
                "record": "requeue",
                "at": store.clock.wall(),
                "by": "retry",
                **placing.identity(store.layout.file(*place)),
            },
            sync=True,
        )
        store.vouch_for(task_id, store.layout.file(*place))
        atomic.remove(store.layout.note(task_id))
        os.utime(store.layout.file(*place))  # the watcher looks again at what changed
    return Moved(task_id, Status.INBOX, Status.INBOX, store.layout.file(*place))


def archive(store: Store, task_id: str) -> Moved:
    """A finished task goes to archive/."""
    return _move(store, task_id, FINISHED, Status.ARCHIVE, "task_archived")


def set_aside(store: Store, task_id: str, why: str) -> Moved:
    """What nobody took: review/ -> archive/."""
    return _move(store, task_id, (Status.REVIEW,), Status.ARCHIVE, "task_archived", why)


def _place(store: Store, task_id: str) -> tuple[Status, str]:
    place = scan.locate(store.layout, task_id)
    if place is None:
        raise NotFound(f"there is no task '{task_id}'", scan.suggest(store.layout, task_id))
    return place


def _move(
    store: Store,
    task_id: str,
    sources: tuple[Status, ...],
    target: Status,
    kind: str,
    summary: str = "",
    requeue: Mapping[str, Any] | None = None,
    told: str = "",
) -> Moved:
    entry = store.ledger.open(task_id)
    try:
        if entry is not None:
            _lock(store, entry, task_id)
            if entry.journal.phase is Phase.BLOCKED:
                raise Refused(f"{task_id}: {has_run(entry.journal)}", "orchestrator doctor")
            if not store.rehearsing:
                following.settled(store, entry)
        status, name = _place(store, task_id)
        if status not in sources:
            raise misplaced(task_id, status, sources)
        source, path = store.layout.file(status, name), store.layout.file(target, name)
        refuse_namesake(store, task_id, target)
        store.judged(task_id, target)
        if told and entry is not None:
            entry.append(_told(store, told), sync=True)
        made = following.due(entry.journal.then, target) if entry is not None else []
        with store.acknowledged(task_id):
            if made:
                following.stage(store, task_id, target, made)
            if entry is not None:
                _note_move(store, entry, source, target, requeue)
            if requeue or kind == "task_released":
                store.vouch_for(task_id, source)
            if target is Status.INBOX:  # from the rename on a note is about what comes now
                atomic.remove(store.layout.note(task_id))
            _rename(store, source, path)
            step = _step_of(kind, path)
            if made:
                following.place(store, task_id)
    finally:
        if entry is not None:
            entry.close()
    with store.acknowledged(task_id, lambda: atomic.move(path, source)):
        atomic.sync_folder(os.path.dirname(path))
        if target is not Status.INBOX:
            atomic.remove(store.layout.note(task_id))
        store.say(
            kind,
            task_id,
            step,
            phase="request",
            status=str(target),
            summary=summary or f"{status} -> {target}",
        )
    return Moved(task_id, status, target, path)


def _lock(store: Store, entry: Entry, task_id: str) -> None:
    if entry.lock(0):
        return
    if _place(store, task_id)[0] is Status.RUNNING:  # that may take hours
        raise misplaced(task_id, Status.RUNNING, ())
    if not entry.lock(PATIENCE):
        raise Refused(
            f"{task_id} is being changed by another process", f"orchestrator show {task_id}"
        )


def refuse_namesake(store: Store, task_id: str, target: Status) -> None:
    """`Refused` if a file of this name lies there: before the ledger hears of a move that is none."""
    other = scan.locate(store.layout, task_id, (target,))
    if other is not None:
        raise _exists(store.layout.shown(store.layout.file(*other)))


def _exists(shown: str) -> Refused:
    return Refused(
        f"{shown} already exists",
        "another file has the task's name: rename that file, or remove it",
    )


def _note_move(
    store: Store, entry: Entry, source: str, target: Status, requeue: Mapping[str, Any] | None
) -> None:
    """Tell the ledger what a verb does with a task that has run before."""
    if requeue:
        entry.append(
            {"record": "requeue", "at": store.clock.wall(), **requeue, **placing.identity(source)},
            sync=True,
        )
    elif entry.journal.phase in (Phase.FINAL, Phase.REQUEUED) and target not in WAITING:
        entry.append(
            {
                "record": "final",
                "status": str(target),
                "at": store.clock.wall(),
                **placing.identity(source),
            }
        )


def _rename(store: Store, source: str, path: str) -> None:
    try:
        try:
            atomic.move(source, path)
        except FileNotFoundError:
            store.prepare()  # the folder may be missing (git removes empty ones)
            atomic.move(source, path)
    except FileExistsError:
        raise _exists(store.layout.shown(path)) from None
    except FileNotFoundError:
        raise Refused(
            f"{store.layout.shown(source)} was moved meanwhile", "orchestrator status"
        ) from None


def _step_of(kind: str, path: str) -> str:
    """The step of a move that a watcher tells of, too; empty if it is told by the verb alone, or
    the file has gone on already."""
    if kind not in MOVES.values():
        return ""
    try:
        return move_step(os.lstat(path).st_ctime_ns)
    except FileNotFoundError:
        return ""
