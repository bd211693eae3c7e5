"""The records of contests: written when one is accepted, and when a person takes one of its
tasks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import Refused
from orchestrator.files import contests, journals
from orchestrator.files.layout import Layout
from orchestrator.model.contest import Contest
from orchestrator.store import smallfiles


def write(layout: Layout, contest: Contest) -> None:
    """Keep what is known of a contest."""
    path = contests.path_of(layout, contest.run)
    smallfiles.replace(layout, path, contest.record(), "contest")


@contextmanager
def taking(layout: Layout, task_id: str) -> Iterator[None]:
    """While the work of a task is approved no other of its contest can be; `Refused` if one was
    taken before.

    Nothing happens for a task that competes with none. The kernel frees the lock if we are killed;
    whose branch is merged by then has won.
    """
    found = contests.of_member(layout, task_id)
    if found is None:
        yield
        return
    folder = os.path.dirname(contests.path_of(layout, found.run))
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        found = contests.known(layout, found.run) or found
        taken = found.winner or _merged(layout, found)
        if taken not in ("", task_id):
            raise Refused(f"{taken} has already been taken", f"orchestrator show {found.run}")
        yield
        write(layout, found.won_by(task_id))
    finally:
        os.close(fd)


def _merged(layout: Layout, contest: Contest) -> str:
    for task_id in contest.members:
        journal = journals.of(layout, task_id)
        if journal is not None and journal.merged:
            return task_id
    return ""
