"""Merging a task's branch into its target: planned outside every checkout (`store.mergeplans`), told
to the journal before anything moves, then moved (`store.targets`).

One merge into a branch at a time, whichever process makes it; where ours have taken a target is
remembered.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orchestrator.files import opening
from orchestrator.files.layout import Layout
from orchestrator.files.text import lines_of
from orchestrator.model.isolation import Change, branch_part
from orchestrator.store import places, smallfiles
from orchestrator.store.git import Repository
from orchestrator.store.mergeplans import CannotMerge, Planned, plan, planned_from
from orchestrator.store.targets import finish, move
from orchestrator.store.trees import Tree

KEPT = 500  # merges into one branch that are remembered
PATIENCE = 60.0  # seconds that a merge waits for another into the same target


@contextmanager
def one_at_a_time(layout: Layout, target: str) -> Iterator[None]:
    """Hold the lock of a target: merges into one branch follow each other, whichever process makes
    them."""
    places.make_folder(layout, f"{layout.state}/trees", 0o700)
    path = f"{layout.state}/trees/merge-{branch_part(target).replace('/', '%2F')}.lock"
    places.clear(layout, path)
    fd = opening.descriptor(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _log(layout: Layout, target: str) -> str:
    return f"{layout.state}/trees/moves-{branch_part(target).replace('/', '%2F')}"


def _remember(layout: Layout, planned: Planned) -> None:
    """Take down where a merge of ours is about to take its target; the target's lock is held."""
    path = _log(layout, planned.target)
    lines = [*_remembered(path)[-KEPT:], f"{planned.old} {planned.new}"]
    text = "".join(f"{line}\n" for line in lines)
    smallfiles.put(layout, path, text.encode(), "moves", sync=False)


def _remembered(path: str) -> list[str]:
    try:
        return lines_of(opening.read_text(path))
    except (OSError, ValueError):
        return []


def is_ours(layout: Layout, target: str, before: str, now: str) -> bool:
    """Whether a branch came from one commit to the other by merges of ours alone."""
    steps = [line.split() for line in _remembered(_log(layout, target))]
    reached = {before}
    for step in steps:
        if len(step) == 2 and step[0] in reached:
            reached.add(step[1])
    return now in reached


def merge(
    layout: Layout,
    repo: Repository,
    tree: Tree,
    change: Change,
    strategy: str,
    title: str,
    task_id: str,
    pending: Mapping[str, Any],
    note: Callable[[Mapping[str, Any]], None],
    proven: Callable[[str], str] = lambda commit: "",
    ready: Callable[[Planned | None], None] = lambda planned: None,
) -> Planned:
    """Merge a task's branch. ``pending`` is the journal's newest record of a merge, ``note``
    appends to the journal.

    ``proven(commit)`` runs the checks on the result where the target has moved since; it says
    what is red. ``ready`` hears of the plan before anything runs or moves, and may end it here;
    None is a merge that was cut off. Raises `CannotMerge`, and then the target is where it was.
    """
    with one_at_a_time(layout, change.target):
        if pending.get("record") == "merge" and pending.get("tip") == change.tip:
            planned = planned_from(pending)
            ready(None)
            if finish(repo, planned):
                note(planned.record("merged"))
                return planned
        planned = plan(layout, repo, tree, change, strategy, title, task_id)
        ready(planned)
        if (
            planned.old != change.base
            and planned.new != planned.old
            and (red := proven(planned.new))
        ):
            raise CannotMerge(f"merged with the present {change.target}, it is not proven: {red}")
        note(planned.record("merge"))
        _remember(layout, planned)
        move(repo, planned)
        note(planned.record("merged"))
        return planned
