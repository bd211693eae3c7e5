"""A contest goes to review when the last of its tasks has ended; once a person takes one the others
are put away, and it is done.

Every step follows from where the tasks are, so that it may be cut off and repeated, by a verb or by
the watcher.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from orchestrator.coordination import stopping
from orchestrator.errors import OrchestratorError, Refused
from orchestrator.files import contests, results, runrecords, scan
from orchestrator.files.layout import Layout
from orchestrator.model.contest import Contest, Step, step
from orchestrator.model.status import OPEN, Outcome, Status
from orchestrator.model.units import timestamp
from orchestrator.store import atomic, moves
from orchestrator.store import contests as records
from orchestrator.store.moves import Moved
from orchestrator.store.transitions import Store

LEAVES = (runrecords.RUNS, Status.REVIEW, Status.FAILED)  # folders that a contest can leave again


def open_contests(layout: Layout) -> list[str]:
    """Ids of the contests of which something may still become."""
    return [
        item.run
        for item in contests.all_known(layout)
        if _folder(layout, item.run) in (runrecords.RUNS, Status.REVIEW)
    ]


def settle(store: Store, run_id: str) -> str:
    """Do what follows from where the tasks of a contest are; what was done, in words. Nothing for
    any other id."""
    contest = contests.known(store.layout, run_id)
    if contest is None or _folder(store.layout, run_id) not in LEAVES:
        return ""
    wanted = step(contest, lambda task_id: _where(store.layout, task_id))
    if wanted.taken and not contest.winner:
        contest = contest.won_by(wanted.taken)
        records.write(store.layout, contest)
    why = f"{wanted.taken} was taken"
    for task_id in wanted.withdraw:
        with suppress(OrchestratorError):  # what has moved meanwhile is met again by the next look
            moves.cancel(store, task_id, why)
    for task_id in wanted.stop:
        stopping.ask(store, task_id, why)
    for task_id in wanted.put_away:
        with suppress(OrchestratorError):
            moves.set_aside(store, task_id, why)
    return _moved(store, contest, wanted)


def of_task(store: Store, task_id: str) -> str:
    """The same for the contest in which a task competes, if it does; the words name the contest."""
    found = contests.of_member(store.layout, task_id)
    made = settle(store, found.run) if found is not None else ""
    return f"{found.run}: {made}" if found is not None and made else ""


def refuse_whole(layout: Layout, run_id: str) -> None:
    """`Refused` if this is a contest: a person takes one of its tasks, not all."""
    found = contests.known(layout, run_id)
    if found is None or runrecords.place(layout, run_id) is None:
        return
    left = [name for name in found.members if _where(layout, name) is Status.REVIEW]
    hint = f"orchestrator approve {left[0]}   takes that one" if left else ""
    hint = hint or f"orchestrator show {run_id}   says why, for each"
    shown = ", ".join(left) or "none of them is in review"
    raise Refused(f"{run_id} is a contest: take one of its tasks ({shown})", hint)


def reject(store: Store, run_id: str, why: str) -> Moved | None:
    """None of them is good enough; None if this is no contest in review."""
    layout = store.layout
    found = contests.known(layout, run_id)
    if found is None or _folder(layout, run_id) != Status.REVIEW:
        return None
    left = {task_id: _where(layout, task_id) for task_id in found.members}
    runs_again = Refused(f"{run_id}: one of its tasks runs again", f"orchestrator runs {run_id}")
    if any(status in OPEN for status in left.values()):
        raise runs_again
    store.judged(run_id, Status.FAILED)
    for task_id, status in left.items():
        if status is Status.REVIEW:
            moves.reject(store, task_id, why)
    settle(store, run_id)
    place = scan.locate(layout, run_id)
    if place is None or place[0] is not Status.FAILED:
        raise runs_again
    return Moved(run_id, Status.REVIEW, Status.FAILED, layout.file(*place))


def _where(layout: Layout, task_id: str) -> Status | None:
    """Its folder; a task that was moved to done/ and is not merged yet is still in review."""
    place = scan.locate(layout, task_id)
    if place is None:
        return None
    if place[0] is Status.DONE and results.is_request(layout, task_id):
        return Status.REVIEW
    return place[0]


def _folder(layout: Layout, run_id: str) -> str:
    place = runrecords.place(layout, run_id)
    return str(place[0]) if place is not None else ""


def _moved(store: Store, contest: Contest, wanted: Step) -> str:
    layout, place = store.layout, runrecords.place(store.layout, contest.run)
    if wanted.folder is None or place is None:
        return ""
    if place[0] == wanted.folder and wanted.folder is not Status.REVIEW:
        return ""
    document = _document(store, contest, wanted)
    if place[0] == wanted.folder:
        return _told_anew(store, document)
    store.log.commit_and_wait([], [store.stage_result(contest.run, document)])
    folder, name = place
    try:
        atomic.move(layout.file(folder, name), layout.file(wanted.folder, name))
    except FileNotFoundError:  # another process was faster
        return ""
    for touched in (folder, wanted.folder):
        atomic.sync_folder(layout.folder(touched))
    return str(document["reason"])


def _told_anew(store: Store, document: Mapping[str, Any]) -> str:
    """The result of a contest that is in review already, if one more of its tasks can be taken
    now."""
    run_id, reason = str(document["task"]), str(document["reason"])
    if results.read(store.layout, run_id).get("reason") == reason:
        return ""
    store.log.commit_and_wait([], [store.stage_result(run_id, document)])
    return reason


def _document(store: Store, contest: Contest, wanted: Step) -> dict[str, Any]:
    """The result of a contest: what each of its tasks came to, and what all of them cost."""
    layout = store.layout
    found = {task_id: results.read(layout, task_id) for task_id in contest.members}
    costs = [float(item["cost_usd"]) for item in found.values() if item.get("cost_usd")]
    ready = [name for name in contest.members if _where(layout, name) is Status.REVIEW]
    reason = {
        Status.DONE: f"{wanted.taken} was taken, the others are put away",
        Status.REVIEW: f"{len(ready)} of {len(found)} can be taken: {', '.join(ready)}",
    }.get(wanted.folder or Status.FAILED, "none of them can be taken")
    good = wanted.folder is not Status.FAILED
    document = {
        "task": contest.run,
        "title": _title(contest, found),
        "outcome": str(Outcome.SUCCEEDED if good else Outcome.FAILED),
        "reason": reason,
        "finished_at": timestamp(store.clock.wall()),
        "cost_usd": round(sum(costs), 6) if costs else None,
        "notes": [
            f"{name}: {item.get('reason') or _word(layout, name)}" for name, item in found.items()
        ],
        "attempts": [],
    }
    return {key: value for key, value in document.items() if key == "attempts" or value}


def _title(contest: Contest, found: dict[str, dict[str, Any]]) -> str:
    titles = [str(item["title"]) for item in found.values() if item.get("title")]
    return titles[0] if titles else contest.run


def _word(layout: Layout, task_id: str) -> str:
    status = _where(layout, task_id)
    return status.word if status is not None else "missing"
