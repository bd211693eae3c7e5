"""What was done in the submodules of a tree, saved where it survives the tree: in the person's own
repository of the submodule.

A tree's submodules have repositories of their own, below the worktree's folder, and those go with
it. A link in the branch to a commit that only they have would be worth nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from orchestrator.files import opening
from orchestrator.records import dataclass
from orchestrator.store import trees
from orchestrator.store.git import Git, Repository


@dataclass(frozen=True, slots=True)
class Submodule:
    """One that is checked out: ``path`` in the tree, its own ``git_dir``, and the repository
    ``home`` that outlives the tree."""

    path: str
    git_dir: str
    home: str


def checked_out(
    git: Git, repo: Repository, top: str, home: str = "", place: str = ""
) -> Iterator[Submodule]:
    """The submodules of a worktree at ``top`` that have a repository, those within them first."""
    for path in links(git):
        folder = f"{top}/{path}"
        git_dir = _git_dir(folder)
        if not git_dir:
            continue
        name = _name(git_dir, git.git_dir, path)
        own = f"{home or repo.common}/modules/{name}"
        outlives = own if os.path.isdir(f"{own}/objects") else (home or repo.common)
        inner = _acting(git_dir, folder)
        yield from checked_out(inner, repo, folder, outlives, f"{place}{path}/")
        yield Submodule(f"{place}{path}", git_dir, outlives)


def links(git: Git) -> list[str]:
    """Paths of the index that are links to commits of other repositories."""
    listed = git("ls-files", "-s", "-z", codes=(0, 128))
    return [entry.partition("\t")[2] for entry in listed.split("\0") if entry.startswith("160000 ")]


def specs(git: Git, top: str) -> list[str]:
    """Pathspecs for everything in a worktree but its submodules: into those that are checked out
    ``git add`` would look with a git of their own configuration."""
    there = [path for path in links(git) if _git_dir(f"{top}/{path}")]
    return ["--", ":(top)", *(f":(top,exclude,literal){path}" for path in there)]


def save(sub: Submodule, top: str, index: str, ref: str, message: str) -> str:
    """Save what is in a submodule's folder, and its commits; the commit that holds it. Raises
    `GitFailed` or OSError."""
    folder = f"{top}/{sub.path}"
    git = _acting(sub.git_dir, folder)
    head = git.commit_of("HEAD")
    private = git.at(index=index)
    try:
        if head:
            trees.copy_index(sub.git_dir, index, private, head)
        private("add", "-A", "--ignore-errors", *specs(git, folder), codes=(0, 1))
        content = private("write-tree")
    finally:
        trees.forget_index(index)
    tip = head
    if not head or content != git.tree_of(head):
        parents = ["-p", head] if head else []
        stdin = message.encode("utf-8", "replace")
        tip = git.signed()("commit-tree", content, *parents, stdin=stdin)
    others = git("for-each-ref", "--format=%(objectname)", "refs/heads", "refs/stash").split()
    place = f"{ref}.sub/{sub.path}"
    _fetch(sub, tip, place)
    for number, commit in enumerate(dict.fromkeys(others), 1):
        if git.raw("merge-base", "--is-ancestor", commit, tip, codes=None).returncode:
            _fetch(sub, commit, f"{place}.{number}")
    return tip


def _fetch(sub: Submodule, commit: str, ref: str) -> None:
    """Have the repository that outlives the tree hold a commit of the tree's."""
    holder = "refs/orchestrator/leaving"
    Git(sub.git_dir)("update-ref", holder, commit)
    here = Git(sub.home, env=(("GIT_ALLOW_PROTOCOL", "file"),))
    here(
        "fetch", "-q", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules",
        "--upload-pack=git-upload-pack", sub.git_dir, f"+{holder}:{ref}",
    )  # fmt: skip


def saved_paths(repo: Repository, commit: str, prefix: str = "") -> Iterator[str]:
    """Paths within submodules that are held by the commits that a tree's tip links to, wherever
    those are kept."""
    homes = [repo.common, *_modules(repo.common)]
    for entry in repo.shared("ls-tree", "-r", "-z", commit).split("\0"):
        head, _, path = entry.partition("\t")
        if head.startswith("160000 "):
            yield from _within(homes, head.split(" ")[2], f"{prefix}{path}/")


def _within(homes: list[str], commit: str, prefix: str) -> Iterator[str]:
    home = next((home for home in homes if Git(home).commit_of(commit) == commit), "")
    if not home:
        return
    for entry in Git(home)("ls-tree", "-r", "-z", commit).split("\0"):
        head, _, path = entry.partition("\t")
        if head.startswith("160000 "):
            yield from _within(homes, head.split(" ")[2], f"{prefix}{path}/")
        elif path:
            yield f"{prefix}{path}"
    yield f"{prefix}.git"


def _modules(folder: str) -> Iterator[str]:
    """Repositories of submodules below one, at any depth."""
    try:
        entries = sorted(os.scandir(f"{folder}/modules"), key=lambda entry: entry.name)
    except OSError:
        return
    waiting = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    while waiting:
        path = waiting.pop()
        if os.path.isdir(f"{path}/objects"):
            yield path
            yield from _modules(path)
            continue
        waiting += [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]


def _git_dir(folder: str) -> str:
    """The repository of a checked-out submodule; empty if there is none."""
    dot = f"{folder}/.git"
    if os.path.isdir(dot):
        return dot
    try:
        words = os.fsdecode(opening.read_bytes(dot, 1 << 16)).strip()
    except OSError:
        return ""
    found = os.path.realpath(os.path.join(folder, words.removeprefix("gitdir:").strip()))
    return found if os.path.isdir(f"{found}/objects") else ""


def _name(git_dir: str, above: str, path: str) -> str:
    """How git calls a submodule: its folder below ``modules``."""
    base = os.path.realpath(f"{above}/modules") + "/"
    return git_dir[len(base) :] if git_dir.startswith(base) else path


def _acting(git_dir: str, folder: str) -> Git:
    """Acts on a submodule; what its configuration would execute is switched off, as everywhere."""
    return Git(git_dir, folder).closed()
