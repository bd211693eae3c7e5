"""Branches that a person has merged without us, by ``git merge`` say: git is asked, and from then
on they count as merged."""

from __future__ import annotations

from orchestrator.errors import Refused
from orchestrator.files import results, scan
from orchestrator.model.isolation import Change
from orchestrator.model.status import Status
from orchestrator.store import git, merging, trees
from orchestrator.store.mergeplans import Planned
from orchestrator.store.transitions import Store


def notice(store: Store, task_id: str) -> str:
    """Take a done task's branch for merged if its target holds it; what was found, in words (empty:
    nothing).

    Raises `OrchestratorError` or OSError, and may be repeated.
    """
    layout = store.layout
    change = results.unmerged(layout, task_id)
    if change is None:
        return ""
    now = _holder(trees.repository(layout), change)
    entry = store.ledger.open(task_id) if now else None
    if entry is None:
        return ""
    with entry:
        if not entry.lock(merging.PATIENCE):
            raise Refused(f"{task_id} is being worked on", f"orchestrator show {task_id}")
        if entry.journal.merged or entry.journal.change.get("tip") != change.tip:
            return ""
        place = scan.locate(layout, task_id)
        store.judged(task_id, place[0] if place else Status.DONE, "take it for merged")
        entry.append(Planned(change.target, now, now, change.tip).record("merged"), sync=True)
    words = f"{change.branch} is in {change.target}: it was merged by hand"
    event = store.log.event(
        "task_merged", task_id, now[:12], task_id=task_id, phase="merge", summary=words
    )
    store.log.commit_and_wait([event])
    return words


def _holder(repo: git.Repository, change: Change) -> str:
    """The commit that the target is at, if it holds the branch's tip; else empty."""
    now = repo.shared.commit_of(f"refs/heads/{change.target}")
    held = ("merge-base", "--is-ancestor", change.tip, now)
    return now if now and repo.shared.raw(*held, codes=None).returncode == 0 else ""


def confirm(store: Store, task_id: str) -> str:
    """As `notice`, for who asks for it: `Refused` if the task is done and its branch is nowhere."""
    change = results.unmerged(store.layout, task_id)
    words = notice(store, task_id)
    if change is not None and not words:
        raise Refused(
            f"{change.branch} is not in {change.target}, and nothing merges it automatically",
            f"git merge {change.branch}   where {change.target} is checked out; then approve"
            f" {task_id} again",
        )
    return words
