"""Branches of runs: made when the first of a run's tasks gets a tree, told to a record before
anything is."""

from __future__ import annotations

import json
import os

from orchestrator.files import runrecords
from orchestrator.files.layout import Layout
from orchestrator.model.isolation import Change, Trees, branch_part, free_name
from orchestrator.model.runbranch import RunBranch
from orchestrator.records import replace
from orchestrator.store import saving, smallfiles, trees
from orchestrator.store.git import Repository
from orchestrator.store.trees import CannotIsolate, Tree

PREFIX = "run"


def begin(layout: Layout, config: Trees, repo: Repository, run_id: str) -> RunBranch:
    """The branch of a run, which is there when this returns.  Raises `CannotIsolate`."""
    known = runrecords.known(layout, run_id)
    if known is None:
        base, target = trees.beginning(config, repo)
        branch = free_name(f"{PREFIX}/{branch_part(run_id)}", trees.taken(repo, PREFIX))
        try:
            write(layout, RunBranch(run_id, branch, base, target), replace=False)
        except FileExistsError:
            pass  # another task of the run was first
        known = runrecords.known(layout, run_id)
    if known is None:
        raise CannotIsolate(f"the record of run {run_id} cannot be read", "orchestrator doctor")
    ref = f"refs/heads/{known.branch}"
    if not repo.shared.commit_of(ref):
        if known.looked_at or known.merge:
            raise CannotIsolate(
                f"the branch {known.branch} of run {run_id} is gone",
                f"git branch {known.branch} {(known.looked_at or known.base)[:12]}",
            )
        repo.shared("update-ref", "-m", "orchestrator: a run begins", ref, known.base)
    return known


def write(layout: Layout, known: RunBranch, replace: bool = True) -> None:
    """Keep what is known of a run's branch. FileExistsError if there is something already, unless
    it is to be replaced."""
    path = runrecords.path_of(layout, known.run)
    text = json.dumps(known.record()).encode()
    smallfiles.put(layout, path, text, "run", anew=not replace)


def tree_of(layout: Layout, known: RunBranch) -> Tree:
    """The run's branch as a tree that is checked out nowhere."""
    return Tree(layout.tree(known.run), known.branch, known.base, known.target, ready=True)


def change_of(layout: Layout, repo: Repository, known: RunBranch) -> Change | None:
    """What the branch holds now, since it parted from its target; None if it is gone."""
    tip = repo.shared.commit_of(f"refs/heads/{known.branch}")
    return saving.figures(repo, tree_of(layout, known), tip) if tip else None


def drop_merged(repo: Repository, known: RunBranch) -> bool:
    """Delete the branch of a run if all of it is in its target, by compare-and-delete; whether
    there was one to delete."""
    ref = f"refs/heads/{known.branch}"
    tip = repo.shared.commit_of(ref)
    if not tip or not known.merged(tip) or any(map(os.path.isdir, trees.worktrees_on(repo, ref))):
        return False
    repo.shared("update-ref", "-d", ref, tip)
    return True


def looked_at(layout: Layout, known: RunBranch, tip: str) -> RunBranch:
    """Remember what a review is about."""
    made = replace(known, looked_at=tip)
    write(layout, made)
    return made
