"""Whether a tree that lies here belongs to this project's repository: mended if the project was
moved, refused if it was copied.

A worktree and its repository name each other by absolute paths. In a copy of a project both still
name the original: an agent that commits there commits into the original. So nobody works in a tree
before this was asked.
"""

from __future__ import annotations

import os

from orchestrator.files import opening
from orchestrator.files.layout import WORK
from orchestrator.store import atomic, trees
from orchestrator.store.git import Repository
from orchestrator.store.trees import CannotIsolate, Tree


def settle(repo: Repository, tree: Tree, tip: str) -> None:
    """Have the tree and the repository name each other. ``tip`` is the commit that the tree's work
    was saved as.

    Raises `CannotIsolate` for a tree of another project.
    """
    if trees.admin_of(repo, tree.path):
        trees.mend(repo, tree)
        return
    named = _named(f"{tree.path}/.git")
    there = os.path.realpath(named) if named else ""
    if there and os.path.isdir(there) and os.path.dirname(there) != f"{repo.common}/worktrees":
        raise CannotIsolate(
            f"{tree.path} is a copy: commits made there go to {there}",
            "work in the original, or remove this copy of the tree",
        )
    admin = f"{repo.common}/worktrees/{os.path.basename(there)}" if there else ""
    if admin and os.path.isdir(admin) and not os.path.lexists(_text(f"{admin}/gitdir")):
        _name(f"{admin}/gitdir", f"{tree.path}/.git")  # the project was moved
        trees.mend(repo, tree)
        return
    _admit(repo, tree, tip)


def is_of(entry: str, folder: str) -> bool:
    """Whether the worktree in ``folder`` is the one that the repository's ``entry`` means, and not
    that of another repository."""
    named = _named(f"{folder}/.git")
    there = os.path.realpath(named) if named else ""
    return not os.path.isdir(there) or there == os.path.realpath(entry)


def _admit(repo: Repository, tree: Tree, tip: str) -> None:
    """Make it a worktree of the repository again: an agent, or a person, has taken it out. Its
    files stay as they are."""
    ref = f"refs/heads/{tree.branch}"
    if not repo.shared.commit_of(ref):
        repo.shared("update-ref", "-m", "orchestrator: its tree is here", ref, tip, "")
    admin = trees.new_admin(repo, tree)
    if os.path.isdir(f"{tree.path}/.git") and not os.path.islink(f"{tree.path}/.git"):
        return  # a repository of the agent's own: it is saved as files, and keeps the tree
    _name(f"{tree.path}/.git", f"gitdir: {admin}")
    git = trees.in_tree(repo, tree)
    git("read-tree", "HEAD")
    trees.hide_state(git, repo.below(WORK))


def _named(path: str) -> str:
    """The folder that a ``.git`` file names; empty if it names none."""
    text = _text(path)
    name = text.removeprefix("gitdir:").strip() if text.startswith("gitdir:") else ""
    return os.path.join(os.path.dirname(path), name) if name else ""


def _text(path: str) -> str:
    try:
        return os.fsdecode(opening.read_bytes(path, 1 << 16)).strip()
    except OSError:
        return ""


def _name(path: str, text: str) -> None:
    atomic.remove(path)
    atomic.write_temporary(path, os.fsencode(f"{text}\n"))
