"""What is left of trees in the repository and on the disk that nothing names any more: found by
``doctor``, mended where nobody can lose by it.

Mended is what only we have made and what holds nothing. A branch, a tree with files, a saved ref is
a person's to remove: it is named.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.coordination import clearing
from orchestrator.errors import OrchestratorError
from orchestrator.files import journals, opening, owners, runrecords, scan
from orchestrator.files.layout import Layout
from orchestrator.files.text import lines_of
from orchestrator.model.config import Config
from orchestrator.model.isolation import branch_part
from orchestrator.model.journal import Journal
from orchestrator.store import atomic, removal, runbranches, saving, sharing, trees
from orchestrator.store.git import Repository
from orchestrator.store.transitions import Store

OLD = 600.0  # seconds after which a lock that no attempt holds is a leftover
MOST = 200  # branches that are looked at


@dataclass(frozen=True, slots=True)
class Stray:
    """``kind`` of what is left, ``path`` of it (a ref, or a file), in ``words`` for people;
    ``mends`` says whether `mend` takes it away."""

    kind: str
    path: str
    words: str
    mends: bool = False
    fix: str = ""


def find(layout: Layout, config: Config) -> list[Stray]:
    """Everything that is left; nothing where there is no repository, or nobody ever had a tree."""
    if not os.path.isdir(layout.trees) and not os.path.isdir(f"{layout.state}/runs"):
        return []
    try:
        repo = trees.repository(layout)
    except OrchestratorError:
        return []
    return [
        *_leaving(layout),
        *_unnamed(layout),
        *_worktrees(layout, repo),
        *_halves(repo),
        *_branches(layout, config, repo),
        *_runs(layout, repo),
        *_locks(layout, config, repo),
    ]


def mend(store: Store, config: Config) -> list[str]:
    """Take away what can be; what was done, in words."""
    layout = store.layout
    found = [stray for stray in find(layout, config) if stray.mends]
    if not found:
        return []
    repo = trees.repository(layout)
    return [stray.words for stray in found if _mend(store, config, repo, stray)]


def _mend(store: Store, config: Config, repo: Repository, stray: Stray) -> bool:
    if stray.kind == "leaving":
        removal.come_back(store.layout, os.path.basename(stray.path))
    elif stray.kind == "worktree":
        _keep_past(repo, stray.path)
        atomic.remove_tree(stray.path)
    elif stray.kind == "half":
        atomic.remove_tree(stray.path)
    elif stray.kind == "merged":
        return not clearing.follow(store, config, stray.path)
    elif stray.kind == "lock":
        return atomic.remove(stray.path)
    return True


def _leaving(layout: Layout) -> Iterator[Stray]:
    for name in removal.strays(layout):
        words = f"the removal of trees/{name.removeprefix(trees.GONE)} was cut off: it is back"
        yield Stray("leaving", f"{layout.trees}/{name}", words, True)


def _unnamed(layout: Layout) -> Iterator[Stray]:
    """Folders in work/trees that no journal knows: what is in them is nowhere else."""
    for name in sorted(scan.names(layout.trees)):
        if name.startswith(".") or not os.path.isdir(layout.tree(name)):
            continue
        journal = journals.of(layout, name)
        if journal is None or not journal.tree.get("branch"):
            words = f"work/trees/{name}: no journal here knows it"
            yield Stray("tree", layout.tree(name), words, fix="look into it, then remove it")


def _worktrees(layout: Layout, repo: Repository) -> Iterator[Stray]:
    """Worktrees that the repository has for trees of ours whose folders are gone."""
    for admin, folder in _of_trees(layout, repo):
        if not os.path.lexists(folder):
            words = f"the repository has a worktree for {layout.shown(folder)}, which is gone"
            yield Stray("worktree", admin, words, not os.path.isdir(f"{admin}/modules"))


def _of_trees(layout: Layout, repo: Repository) -> Iterator[tuple[str, str]]:
    """What the repository has of the worktrees that are trees of ours: its own folder, and that of
    the tree."""
    home = os.path.realpath(layout.trees) + "/"
    for name in sorted(scan.names(f"{repo.common}/worktrees")):
        admin = f"{repo.common}/worktrees/{name}"
        try:
            folder = os.path.dirname(os.fsdecode(opening.read_bytes(f"{admin}/gitdir")).strip())
        except OSError:
            continue
        if os.path.realpath(folder).startswith(home):
            yield admin, folder


def _keep_past(repo: Repository, admin: str) -> None:
    """What HEAD of a worktree stood on is kept before its log goes."""
    name = os.path.basename(admin)
    lost = list(saving.past(admin))
    sharing.keep_lost(repo, f"{trees.SAVED}/{branch_part(name)}/stray", lost, name)


def _halves(repo: Repository) -> Iterator[Stray]:
    """Folders of worktrees that somebody was writing when they were killed."""
    for name in sorted(scan.names(repo.common)):
        match = re.fullmatch(rf"{trees.ASIDE}.+\.(\d+-\d*(?:\.[0-9a-f]{{12}})?)", name)
        path = f"{repo.common}/{name}"
        if match and owners.abandoned(path, match[1]):
            yield Stray("half", path, f"a half-made worktree in the repository: {name}", True)


def _branches(layout: Layout, config: Config, repo: Repository) -> Iterator[Stray]:
    """Branches of ours: merged ones without a tree, and those that nothing here names."""
    prefix = f"refs/heads/{config.trees.prefix}/"
    names = repo.shared("for-each-ref", f"--count={MOST}", "--format=%(refname)", prefix)
    for ref in lines_of(names):
        branch = ref.removeprefix("refs/heads/")
        journal = _owner(layout, branch)
        if journal is None:
            words = f"no task here has the branch {branch}"
            yield Stray("branch", ref, words, fix=clearing.unneeded(branch))
        elif not _is_over(layout, branch, journal):
            continue
        elif rest := clearing.left_over(repo, journal):
            words = f"{journal.task_id} is merged, and {rest}"
            yield Stray("branch", ref, words, fix=clearing.unneeded(branch))
        else:
            words = f"{branch} is merged, and its tree is gone: it was deleted"
            yield Stray("merged", journal.task_id, words, True)


def _owner(layout: Layout, branch: str) -> Journal | None:
    """The journal of the task that a branch belongs to, or did until it began anew."""
    name = branch.rpartition("/")[2].replace("%2E", ".")
    for task_id in dict.fromkeys((name, re.sub(r"-\d+$", "", name))):
        journal = journals.of(layout, task_id)
        if journal is None:
            continue
        if branch == journal.tree.get("branch") or branch in journal.earlier:
            return journal
    return None


def _is_over(layout: Layout, branch: str, journal: Journal) -> bool:
    """Whether this is the branch of a task that has ended and was merged, and its tree is gone."""
    place = scan.locate(layout, journal.task_id)
    ended = place is not None and place[0] in clearing.ENDED
    gone = not os.path.lexists(layout.tree(journal.task_id))
    own = branch == journal.tree.get("branch")
    return bool(ended and gone and own and journal.merged and journal.change)


def _runs(layout: Layout, repo: Repository) -> Iterator[Stray]:
    known = runrecords.all_known(layout)
    for run in known:
        if runrecords.place(layout, run.run) is None:
            words = f"the run {run.run} has the branch {run.branch}, and its file is gone"
            yield Stray("run", run.branch, words, fix=f"git log {run.branch}")
    named = {run.branch for run in known}
    prefix = f"refs/heads/{runbranches.PREFIX}/"
    for ref in lines_of(repo.shared("for-each-ref", "--format=%(refname)", prefix)):
        branch = ref.removeprefix("refs/heads/")
        if branch not in named and named:
            words = f"no run here has the branch {branch}"
            yield Stray("branch", ref, words, fix=clearing.unneeded(branch))


def _locks(layout: Layout, config: Config, repo: Repository) -> Iterator[Stray]:
    """Locks that a killed git has left, old enough that no living one can have them."""
    if next(sharing.alive(layout), ""):
        return
    for admin, _ in _of_trees(layout, repo):
        yield from _old_locks(admin, saving.LOCKS)
    for prefix in (config.trees.prefix, runbranches.PREFIX):
        folder = f"{repo.common}/refs/heads/{prefix}"
        yield from _old_locks(folder, [n for n in scan.names(folder) if n.endswith(".lock")])


def _old_locks(folder: str, names: tuple[str, ...] | list[str]) -> Iterator[Stray]:
    for name in names:
        path = f"{folder}/{name}"
        try:
            age = time.time() - os.lstat(path).st_mtime
        except OSError:
            continue
        if age > OLD:
            yield Stray("lock", path, f"a killed git left {path}", True)
