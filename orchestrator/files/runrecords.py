"""Where run files are, and the branches that runs have.

A run file lies in runs/. One whose tasks have trees goes to review/ when the last has ended, and
from there where a person puts it: that it is a run, and no task, is known by the record of its
branch, or of the contest that it is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchestrator.files import contests, jsonlines, opening, scan
from orchestrator.files.layout import SUFFIXES, Layout
from orchestrator.model import ids, runbranch
from orchestrator.model.status import FOLDERS, Status

if TYPE_CHECKING:
    from orchestrator.model.runbranch import RunBranch

RUNS = "runs"


def path_of(layout: Layout, run_id: str) -> str:
    """Where the record of a run's branch is."""
    return f"{layout.state}/runs/{ids.key(run_id)}.json"


def known(layout: Layout, run_id: str) -> RunBranch | None:
    """The branch of a run; None if it has none."""
    try:
        return runbranch.run_branch_from(
            jsonlines.loads(opening.read_bytes(path_of(layout, run_id)))
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def all_known(layout: Layout) -> list[RunBranch]:
    """Every branch of a run, by the run's id."""
    names = (name for name in scan.names(f"{layout.state}/runs") if name.endswith(".json"))
    found = [known(layout, name.removesuffix(".json")) for name in names]
    return sorted((item for item in found if item is not None), key=lambda item: item.run)


def has_record(layout: Layout, run_id: str) -> bool:
    """Whether there is a record of a run of this id, of its branch or of the contest that it is."""
    paths = (path_of(layout, run_id), contests.path_of(layout, run_id))
    return any(os.path.exists(path) for path in paths)


def place(layout: Layout, run_id: str) -> tuple[str, str] | None:
    """``(folder, file name)`` of an accepted run's file; None if there is none."""
    for suffix in SUFFIXES:
        if os.path.lexists(layout.file(RUNS, run_id + suffix)):
            return RUNS, run_id + suffix
    if not has_record(layout, run_id):
        return None
    return scan.locate(layout, run_id, FOLDERS)


def is_known(layout: Layout, run_id: str) -> bool:
    """Whether there is such a run: its file, or a branch that tasks of it have grown from, wherever
    its file is."""
    return place(layout, run_id) is not None or known(layout, run_id) is not None


def is_in_place(layout: Layout, run_id: str) -> bool:
    """Whether a run's file is where it belongs while its tasks go on: in runs/, or where a review
    of it has put it."""
    if any(os.path.lexists(layout.file(RUNS, run_id + suffix)) for suffix in SUFFIXES):
        return True
    where = place(layout, run_id)
    if contests.known(layout, run_id) is not None:
        return where is not None and where[0] != Status.CANCELLED
    found = known(layout, run_id)
    return found is not None and bool(found.looked_at) and where is not None


def listed(layout: Layout) -> list[tuple[str, str]]:
    """``(id, file name)`` of every accepted run, wherever its file is."""
    found = dict(scan.task_names(layout.folder(RUNS)))
    recorded = [item.run for item in all_known(layout)]
    recorded += [item.run for item in contests.all_known(layout)]
    for run_id in recorded:
        where = place(layout, run_id)
        if where is not None:
            found.setdefault(run_id, where[1])
    return sorted(found.items())
