"""Taking trees away: never one that holds a byte which is nowhere else.

What git keeps is saved under a ref first. What it does not keep (untracked, ignored, nested
repositories) must have been there before the agent came, unchanged, or be a cache by the settings;
else the tree stays and says what holds it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from orchestrator.files.layout import WORK, Layout
from orchestrator.files.text import first_few, lines_of
from orchestrator.model.isolation import Change, Trees
from orchestrator.model.journal import Journal
from orchestrator.records import replace
from orchestrator.store import atomic, saving, submodules, trees
from orchestrator.store.git import Repository
from orchestrator.store.trees import GONE, Tree

MOST = 20  # paths that are told


def holding(
    layout: Layout,
    config: Trees,
    repo: Repository,
    tree: Tree,
    saved: Change,
    taken: AbstractSet[str] = frozenset(),
) -> list[str]:
    """What in a tree is nowhere else, in words; empty if it may go. ``saved`` is what its work was
    saved as, ``taken`` are paths that git will have before it goes."""
    if not tree.is_there:
        return []
    found = []
    lost = list(_lost(layout, config, repo, tree, tree.path, saved, taken))
    if lost:
        found.append(
            f"files that are not in git: {first_few(lost)} "
            "(remove them, or name their folder in trees.caches)"
        )
    return found


def would_hold(
    layout: Layout, config: Trees, repo: Repository, tree: Tree, saved: Change
) -> list[str]:
    """What `remove` would say, for a look that saves nothing: what came since and git would take
    holds nothing."""
    if not tree.is_there:
        return []
    never = [f":(top,exclude,literal){path}" for path in (repo.below(WORK), *tree.placed)]
    words = ("ls-files", "-o", "-z", "--exclude-standard", "--", ":(top)", *never)
    listed = trees.in_tree(repo, tree)(*words)
    taken = {*listed.split("\0")}.difference(saved.unsaved)
    return holding(layout, config, repo, tree, saved, taken)


def _lost(
    layout: Layout,
    config: Trees,
    repo: Repository,
    tree: Tree,
    place: str,
    saved: Change,
    taken: AbstractSet[str] = frozenset(),
) -> Iterator[str]:
    """Paths of what only the tree has, which lies at ``place`` now."""
    kept = _kept(repo, saved) | taken
    known = trees.known_inventory(layout, tree)
    caches = set(config.caches)
    state = repo.below(WORK) + "/"
    links = {path for path in tree.placed if os.path.islink(f"{place}/{path}")}
    count = 0
    for path, seen in trees.inventory(layout, replace(tree, path=place)).items():
        if path in kept or path in links or known.get(path) == seen or path == f"{state}.gitignore":
            continue
        if caches & set(path.split("/")[:-1]):
            continue
        yield path
        count += 1
        if count == MOST:
            return


def _kept(repo: Repository, saved: Change) -> set[str]:
    """Paths of a tree that a commit, or a commit of a submodule that it links to, has as they are
    in the tree."""
    listed = repo.shared("ls-tree", "-r", "-z", "--name-only", saved.tip)
    found = {*listed.split("\0"), *submodules.saved_paths(repo, saved.tip)}
    return found.difference(saved.unsaved)


def remove(
    layout: Layout,
    config: Trees,
    repo: Repository,
    tree: Tree,
    task_id: str,
    attempt: int,
    agent: str,
) -> list[str]:
    """Save a tree once more and take it away; what holds it if it stays."""
    if not os.path.lexists(tree.path):
        _forget(repo, tree.path)
        return []
    change = saving.save(layout, repo, tree, task_id, attempt, agent)
    if not tree.is_there:
        _forget(repo, tree.path)
        return []
    held = holding(layout, config, repo, tree, change)
    if held:
        return held
    aside = f"{os.path.dirname(tree.path)}/{GONE}{os.path.basename(tree.path)}"
    atomic.remove_tree(aside)
    # Whoever still writes by its name writes nowhere then; look again at what came meanwhile.
    os.rename(tree.path, aside)
    known = trees.inventory_path(layout, tree)
    lost = list(_lost(layout, config, repo, tree, aside, change))
    if lost:
        os.rename(aside, tree.path)
        return [f"files that appeared during the check: {', '.join(lost[:3])}"]
    _forget(repo, tree.path)
    atomic.remove_tree(aside)
    if os.path.lexists(aside):
        shutil.rmtree(aside)  # it says why it stays
    atomic.remove(known)
    return []


def _forget(repo: Repository, path: str) -> None:
    """Take the worktree's folder out of the repository, as ``git worktree remove`` does."""
    admin = trees.admin_of(repo, path)
    if admin:
        shutil.rmtree(admin)


def drop_branch(repo: Repository, tree: Tree, change: Change) -> bool:
    """Delete a merged branch and what was saved of its task; False if the branch has moved
    since."""
    shared, ref = repo.shared, f"refs/heads/{tree.branch}"
    now = shared.commit_of(ref)
    if now and now != change.tip:
        return False
    for other in trees.worktrees_on(repo, ref):
        if os.path.isdir(other):
            return False
    if now:
        shared("update-ref", "-d", ref, now)
    saved = f"{saving.saved_refs(tree.branch)}/"
    for name in lines_of(shared("for-each-ref", "--format=%(refname)", saved)):
        shared("update-ref", "-d", name)
    return True


def agent_of(journal: Journal) -> str:
    """Who acted last."""
    return str(journal.acting.get("agent") or journal.claim.get("agent") or "")


def come_back(layout: Layout, name: str) -> None:
    """Give a tree its name back whose way out was cut off; whether it may go is looked at anew."""
    path = f"{layout.trees}/{name.removeprefix(GONE)}"
    if os.path.lexists(path):
        atomic.remove_tree(f"{layout.trees}/{name}")
    else:
        os.rename(f"{layout.trees}/{name}", path)


def strays(layout: Layout) -> list[str]:
    """What is left of trees on their way out."""
    try:
        names = os.listdir(layout.trees)
    except OSError:
        return []
    return sorted(name for name in names if name.startswith(GONE))
