"""What an agent left in its tree, saved: a commit under a ref of ours, whatever state the tree is
in.

Made with a private copy of the tree's index, so that no hook, no lock, no unfinished merge and no
missing ``.git`` file stops it. The task's branch follows only if HEAD is that branch and nothing is
in progress. To repeat it is harmless.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from orchestrator.files import opening
from orchestrator.files.layout import WORK, Layout
from orchestrator.files.text import lines_of
from orchestrator.model.isolation import KEPT, Change
from orchestrator.patterns import regex
from orchestrator.records import replace
from orchestrator.store import adding, atomic, filtered, places, smallfiles, submodules, trees
from orchestrator.store.git import Git, Repository
from orchestrator.store.trees import SAVED, Tree

UNFINISHED = {
    "rebase-merge": "a rebase is unfinished",
    "rebase-apply": "a rebase is unfinished",
    "MERGE_HEAD": "a merge is unfinished",
    "CHERRY_PICK_HEAD": "a cherry-pick is unfinished",
    "REVERT_HEAD": "a revert is unfinished",
    "BISECT_LOG": "a bisect is unfinished",
}
LOCKS = ("index.lock", "HEAD.lock")
_HASH = regex(r"^[0-9a-f]{40,64}$")


def saved_refs(branch: str) -> str:
    """Where the refs of a task's attempts lie. By its branch, which no other project in the same
    repository has."""
    return f"{SAVED}/{branch.rpartition('/')[2]}"


def saved_ref(branch: str, attempt: int) -> str:
    """The ref that holds what an attempt left."""
    return f"{saved_refs(branch)}/{attempt}"


def save(
    layout: Layout, repo: Repository, tree: Tree, task_id: str, attempt: int, agent: str
) -> Change:
    """Save what is in the tree now; nobody works in it any more. Raises `GitFailed` or OSError, and
    may be repeated."""
    ref = saved_ref(tree.branch, attempt)
    branch_ref = f"refs/heads/{tree.branch}"
    shared = repo.shared
    branch = shared.commit_of(branch_ref)
    if not tree.is_there:
        if opening.is_folder(layout.trees):
            places.clear(layout, tree.path)
        tip = branch or shared.commit_of(ref) or tree.base
        why = f"its tree is gone; what was saved before is under {SAVED}"
        return figures(repo, tree, tip, why, ("its tree disappeared while it ran",))
    admin = trees.admin_of(repo, tree.path)
    warnings = _take_locks_away(repo, admin, tree)
    git = trees.in_tree(repo, tree)
    head = (git.commit_of("HEAD") if admin else "") or branch or tree.base
    index = smallfiles.scratch(layout, f"{os.path.basename(tree.path)}.index")
    try:
        private = git.at(index=index)
        trees.copy_index(admin, index, private, head)
        added = adding.add_all(f"{index}.plain", repo, tree, private)
        told = _save_submodules(repo, tree, added.git, f"{index}.sub", ref, task_id)
        content = added.git("write-tree")
        tip = head
        if content != shared.tree_of(head):
            message = (
                f"{task_id}: what attempt {attempt} left\n\nTask: {task_id}\nAgent:"
                f" {agent}\nAttempt: {attempt}\n"
            )
            tip = shared.signed()(
                "commit-tree", content, "-p", head, stdin=message.encode("utf-8", "replace")
            )
        keep(shared, ref, tip)
        lost = [commit for commit in past(admin) if commit != tip]
        others = _unreachable(shared, [*lost, *([branch] if branch else [])], tip)
        if others:
            keep(shared, f"{ref}.past", _bundle(shared, tip, others, task_id, attempt))
        unproven = _unproven(git, admin, tree, branch_ref) or added.why
        if not unproven and tip != branch:
            shared("update-ref", "-m", f"orchestrator: attempt {attempt}", branch_ref, tip, head)
            os.replace(index, f"{admin}/index")
    finally:
        trees.forget_index(index)
        atomic.remove_tree(f"{index}.plain")
    trees.mend(repo, tree)
    change = figures(repo, tree, tip, unproven, (*warnings, *told))
    change = replace(change, unsaved=added.left)
    raw = filtered.stored_as_they_are(repo, git, change.files)
    return replace(change, warnings=(*change.warnings, *raw)) if raw else change


def keep(git: Git, ref: str, commit: str) -> None:
    """Have a ref hold a commit. What it held before, should another run of the same attempt have
    saved more, stays as well."""
    before = git.commit_of(ref)
    if before and before != commit:
        if git.raw("merge-base", "--is-ancestor", before, commit, codes=None).returncode:
            number = 1
            while git.commit_of(f"{ref}.{number}"):
                number += 1
            git("update-ref", f"{ref}.{number}", before, "")
    git("update-ref", ref, commit)


def past(admin: str) -> Iterator[str]:
    """Commits that HEAD of the tree ever stood on: an agent may have reset, amended or rebased them
    away."""
    names = [f"{admin}/logs/HEAD", f"{admin}/ORIG_HEAD"] if admin else []
    seen = set()
    for path in names:
        try:
            lines = lines_of(os.fsdecode(opening.read_bytes(path)))
        except OSError:
            continue
        for line in lines:
            for word in line.split(" ")[:2]:
                if _HASH.match(word) and set(word) != {"0"} and word not in seen:
                    seen.add(word)
                    yield word


def committed(admin: str) -> set[str]:
    """Commits that were made in a worktree, by its log."""
    try:
        lines = lines_of(os.fsdecode(opening.read_bytes(f"{admin}/logs/HEAD")))
    except OSError:
        return set()
    pairs = (line.partition("\t") for line in lines)
    return {
        head.split(" ")[1]
        for head, _, what in pairs
        if what.startswith("commit") and head.count(" ") > 1
    }


def _unreachable(git: Git, commits: list[str], tip: str) -> list[str]:
    """Those of the commits that are there, and that neither ``tip`` nor another of them holds."""
    if not commits:
        return []
    asked = "".join(f"{commit}\n" for commit in dict.fromkeys(commits))
    there = [
        line.split(" ")[0]
        for line in lines_of(git("cat-file", "--batch-check", stdin=asked.encode()))
        if line.split(" ")[1:2] == ["commit"]
    ]
    if not there:
        return []
    words = "".join(f"{commit}\n" for commit in (*there, f"^{tip}"))
    outside = set(lines_of(git("rev-list", "--stdin", stdin=words.encode())))
    left = [commit for commit in there if commit in outside]
    if len(left) < 2:
        return left
    return lines_of(git("merge-base", "--independent", *left[-200:]))


def _bundle(git: Git, tip: str, others: list[str], task_id: str, attempt: int) -> str:
    """One commit that keeps many from being collected."""
    parents = [word for commit in others for word in ("-p", commit)]
    message = f"{task_id}: commits that attempt {attempt} left behind\n"
    return git.signed()(
        "commit-tree", f"{tip}^{{tree}}", *parents, stdin=message.encode("utf-8", "replace")
    )


def _take_locks_away(repo: Repository, admin: str, tree: Tree) -> tuple[str, ...]:
    """Locks that a killed git left. Nothing of the attempt is alive any more, and nobody else locks
    there."""
    paths = [f"{admin}/{name}" for name in LOCKS] if admin else []
    paths.append(f"{repo.common}/refs/heads/{tree.branch}.lock")
    return tuple(
        f"a killed git left {os.path.basename(path)}; it was removed"
        for path in paths
        if atomic.remove(path)
    )


def _unproven(git: Git, admin: str, tree: Tree, branch_ref: str) -> str:
    """Why the branch must not follow what is in the tree; empty if it may."""
    if not admin:
        return "its worktree was removed from the repository; what it left is saved"
    for name, why in UNFINISHED.items():
        if os.path.lexists(f"{admin}/{name}"):
            return why
    on = git("symbolic-ref", "-q", "HEAD", codes=(0, 1, 128))
    if on != branch_ref:
        place = on.removeprefix("refs/heads/") if on else "no branch"
        return f"its tree is on {place}, not on {tree.branch}"
    if os.path.isdir(f"{tree.path}/.git"):
        return "its .git file is a repository of the agent's own"
    return ""


def _save_submodules(
    repo: Repository, tree: Tree, git: Git, index: str, ref: str, task_id: str
) -> list[str]:
    """Save what is in submodules, and have the tree link to it; what a person has to know of it, in
    words."""
    told = []
    own = set(submodules.links(git))
    for sub in submodules.checked_out(git, repo, tree.path):
        tip = submodules.save(
            sub, tree.path, index, ref, f"{task_id}: what it left in {sub.path}\n"
        )
        if sub.path not in own:
            continue  # within another one, which links to it
        git("update-index", "--cacheinfo", f"160000,{tip},{sub.path}")
        if git("rev-parse", "-q", "--verify", f"{tree.base}:{sub.path}", codes=(0, 1, 128)) != tip:
            place = os.path.relpath(sub.home, os.path.dirname(repo.common))
            told.append(f"{sub.path}: its commit {tip[:12]} is in {place}, and nowhere else yet")
    return told


# -- figures
# --------------------------------------------------------------------------------------------------


def figures(
    repo: Repository, tree: Tree, tip: str, unproven: str = "", warnings: tuple[str, ...] = ()
) -> Change:
    """The figures of a branch, from where it parts from its target now."""
    base = parting(repo, tree, tip)
    files, added, removed = numbers(repo, base, tip)
    commits = int(repo.shared("rev-list", "--count", f"{base}..{tip}"))
    return Change(
        tree.branch, base, tip, tree.target, commits, added, removed, tuple(files[:KEPT]), len(files),
        unproven, warnings,
    )  # fmt: skip


def recounted(repo: Repository, tree: Tree, change: Change, target: str) -> Change:
    """The figures from where the branch parts from an earlier commit of its target; the rest as it
    was."""
    base = repo.shared("merge-base", target, change.tip, codes=(0, 1)) or tree.base
    files, added, removed = numbers(repo, base, change.tip)
    commits = int(repo.shared("rev-list", "--count", f"{base}..{change.tip}"))
    return replace(
        change, base=base, commits=commits, insertions=added, deletions=removed, files=tuple(files[:KEPT]),
        count=len(files),
    )  # fmt: skip


def parting(repo: Repository, tree: Tree, tip: str) -> str:
    """The commit that a change is counted from: where the branch and its target part, so that
    nothing of the target's is blamed."""
    if not tree.target or tree.working or tip == tree.base:  # it may begin with another task's work
        return tree.base
    shared = repo.shared
    found = shared("merge-base", f"refs/heads/{tree.target}", tip, codes=(0, 1, 128))
    if not found or found == tree.base:
        return tree.base
    # Where it began with another task's work, which the target does not have, that work is not its
    # own.
    older = shared.raw("merge-base", "--is-ancestor", found, tree.base, codes=None).returncode == 0
    return tree.base if older else found


def paths(repo: Repository, change: Change) -> Sequence[str]:
    """All paths of a change, however many a result keeps."""
    if change.count <= len(change.files):
        return change.files
    return numbers(repo, change.base, change.tip)[0]


def numbers(repo: Repository, base: str, tip: str) -> tuple[list[str], int, int]:
    """Paths that differ between two commits, lines added, lines removed; ``work/`` is no part of
    it."""
    listed = repo.shared(
        "diff-tree", "-r", "-z", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv", base, tip,
        "--", ":(top)", f":(top,exclude,literal){repo.below(WORK)}",
    )  # fmt: skip
    files, added, removed = [], 0, 0
    for entry in listed.split("\0"):
        if entry:
            plus, minus, path = entry.split("\t", 2)
            files.append(path)
            added += int(plus) if plus.isdecimal() else 0
            removed += int(minus) if minus.isdecimal() else 0
    return sorted(files), added, removed
