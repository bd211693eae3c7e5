"""Everything that lies in a tree, put into a private index: whatever an agent has hidden, broken or
made unreadable there."""

from __future__ import annotations

import os
import stat

from orchestrator.files import scan
from orchestrator.files.layout import WORK
from orchestrator.files.text import first_few, lines_of
from orchestrator.records import dataclass, replace
from orchestrator.store import atomic, submodules
from orchestrator.store.git import Git, GitFailed, GivenUp, Repository, Stopped
from orchestrator.store.trees import Tree

LARGE = 1 << 30  # bytes of a file from which on git is not given it
MOST_LARGE = 500  # such files that are left out one by one
# Nothing that a file's attributes ask for, so that its bytes are stored as they are.
PLAIN = "* -filter -text -eol -ident -working-tree-encoding\n"


@dataclass(frozen=True, slots=True)
class Added:
    """``git`` is what to go on with: it acts on the same index.

    ``left`` are paths that could not be put in, ``why`` says that the index is not what the branch
    should have.
    """

    git: Git
    left: tuple[str, ...] = ()
    why: str = ""


def add_all(plain: str, repo: Repository, tree: Tree, git: Git) -> Added:
    """Put everything of a tree into the index of ``git`` but ``work/``, what is ignored, and what
    we placed.

    A repository within the tree is added as its files: a link to a commit that nobody has would
    keep nothing. ``plain`` is a path for a repository that is needed where git refuses: the caller
    takes it away, when all is done.
    """
    nested, large = survey(tree.path, set(submodules.links(git)))
    _unhide(git, tree.path, repo.below(WORK) + "/")
    left_out = [repo.below(WORK), *tree.placed, *nested, *large]
    specs = submodules.specs(git, tree.path)
    specs += [f":(top,exclude,literal){path}" for path in left_out]
    added = _add(plain, repo, git, specs)
    left = list(
        _left(added.git, ["--", *(f":(top,literal){path}" for path in large)]) if large else ()
    )
    for folder in nested:
        if git.raw("check-ignore", "-q", "--", folder, codes=None).returncode != 0:
            left += _add_as_files(git, tree.path, folder)
    if not left:
        return added
    why = f"git is not given files of 1 GiB and more: {first_few(left)}"
    return replace(added, left=(*added.left, *left), why=added.why or why)


def _add(folder: str, repo: Repository, git: Git, specs: list[str]) -> Added:
    words = ("add", "-A", "--ignore-errors", *specs)
    try:
        if git.raw(*words, codes=(0, 1), stoppable=True).returncode == 0:
            return Added(git)
        left = _left(git, specs)
        return Added(git, left, f"files that cannot be read: {first_few(left)}" if left else "")
    except (Stopped, GivenUp):
        raise
    except GitFailed as error:
        why = (
            "git does not take its files as .gitattributes says, so they are saved as they are:"
            f" {error.message}"
        )
    plain = _plain(repo, git, folder)
    done = plain.raw(*words, codes=(0, 1), stoppable=True)
    return Added(plain, _left(plain, specs) if done.returncode else (), why)


def _plain(repo: Repository, git: Git, folder: str) -> Git:
    """Acts on the same objects, index and files through a repository of its own, in which no file
    has attributes."""
    kind = repo.shared("rev-parse", "--show-object-format")
    atomic.remove_tree(folder)
    Git(folder)("init", "-q", "--bare", f"--object-format={kind}", folder, cwd=repo.common)
    os.makedirs(f"{folder}/info", exist_ok=True)
    atomic.write_temporary(f"{folder}/info/attributes", PLAIN.encode(), sync=False)
    excludes = f"{repo.common}/info/exclude"
    if os.path.isfile(excludes):
        atomic.remove(f"{folder}/info/exclude")
        os.symlink(excludes, f"{folder}/info/exclude")
    objects = ("GIT_OBJECT_DIRECTORY", f"{repo.common}/objects")
    return git.at(git_dir=folder, common="", filters=(), fetches=False, env=(*git.env, objects))


def _left(git: Git, specs: list[str]) -> tuple[str, ...]:
    """What is in the tree otherwise than in the index, after everything was put into it."""
    changed = git("diff-files", "--name-only", "-z", "--ignore-submodules=all", *specs)
    new = git("ls-files", "-o", "-z", "--exclude-standard", *specs)
    return tuple(path for path in (*changed.split("\0"), *new.split("\0")) if path)


def _unhide(git: Git, top: str, state: str) -> None:
    """Have the index pass over no file that is there: an agent may have marked some as unchanged,
    or as not checked out."""
    marks: dict[str, list[str]] = {"--no-assume-unchanged": [], "--no-skip-worktree": []}
    for entry in git("ls-files", "-v", "-z").split("\0"):
        mark, path = entry[:1], entry[2:]
        if not path or path.startswith(state) or not os.path.lexists(f"{top}/{path}"):
            continue
        if mark.islower():
            marks["--no-assume-unchanged"].append(path)
        if mark in "Ss":
            marks["--no-skip-worktree"].append(path)
    for option, paths in marks.items():
        if paths:
            git("update-index", option, "-z", "--stdin", stdin=os.fsencode("\0".join(paths)))


def survey(top: str, but: set[str]) -> tuple[list[str], list[str]]:
    """Folders below ``top`` that have a ``.git`` of their own, without those inside another one;
    and files that are too large.

    Raises `GitFailed` if git could not be let into it.
    """
    nested: list[str] = []
    large: list[str] = []
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(f"{top}/{folder}" if folder else top))
        except OSError:
            continue
        if folder and folder not in but and any(entry.name == ".git" for entry in entries):
            nested.append(folder)
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting += [path] if entry.name != ".git" else []
            elif _is_large(entry):
                large.append(path)
            elif entry.name.startswith(".git") and not (entry.is_symlink() or entry.is_file()):
                raise GitFailed(
                    f"{path} is not a regular file, and git would wait for it", "remove it"
                )
    if len(large) > MOST_LARGE:
        raise GitFailed(f"{len(large)} files of 1 GiB and more are in it", "remove them")
    return nested, large


def _is_large(entry: os.DirEntry[str]) -> bool:
    try:
        info = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_size >= LARGE


def _add_as_files(git: Git, top: str, folder: str) -> list[str]:
    """Put in a repository within the tree; those of its files that are too large are not, and come
    back."""
    found: list[tuple[str, str]] = []
    large: list[str] = []
    for place, folders, names in scan.walk(f"{top}/{folder}"):
        folders[:] = [name for name in folders if name != ".git"]
        for name in names:
            path = os.path.join(place, name)
            if name == ".git" or not os.path.isfile(path) or os.path.islink(path):
                continue
            if os.path.getsize(path) >= LARGE:
                large.append(path[len(top) + 1 :])
            else:
                mode = "100755" if os.access(path, os.X_OK) else "100644"
                found.append((mode, path[len(top) + 1 :]))
    names = [name for _, name in found]
    if not names or any("\n" in name for name in names):
        return large
    asked = "".join(f"{top}/{name}\n" for name in names)
    words = ("hash-object", "-w", "--no-filters", "--stdin-paths")
    hashes = lines_of(git(*words, stdin=os.fsencode(asked)))
    git("rm", "-q", "-r", "--cached", "--ignore-unmatch", "--", f":(top,literal){folder}")
    lines = "".join(
        f"{mode} {blob}\t{name}\0" for (mode, name), blob in zip(found, hashes, strict=True)
    )
    git("update-index", "-z", "--add", "--index-info", stdin=os.fsencode(lines))
    return large
