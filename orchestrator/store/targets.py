"""Moving a target to the commit that a merge has made for it.

A target that nobody has checked out moves by compare-and-swap. One that is checked out moves by
``git merge --ff-only --no-overwrite-ignore`` there, after the paths that it adds were compared with
what exists. Killed in the middle: `finish` does the rest, and stops at any file that is a person's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from orchestrator.files import opening, scan
from orchestrator.records import dataclass
from orchestrator.store import atomic, belonging, saving
from orchestrator.store.git import Git, Repository, reason
from orchestrator.store.mergeplans import CannotMerge, Planned


@dataclass(frozen=True, slots=True)
class Checkout:
    """A worktree in which the target is checked out, or in the middle of a rebase or a bisect of
    it."""

    path: str
    git_dir: str
    busy: str = ""


def checkouts(repo: Repository, target: str) -> list[Checkout]:
    """Where a branch is checked out.  Folders that are gone do not count."""
    ref = f"refs/heads/{target}"
    places = [(repo.common, os.path.dirname(repo.common))]
    if repo.git_dir == repo.common:
        places = [(repo.common, repo.top)]
    elif Git(repo.common)("rev-parse", "--is-bare-repository") == "true":
        places = []  # its HEAD names a branch, and no checkout
    for entry in _folders(f"{repo.common}/worktrees"):
        try:
            dot = os.fsdecode(opening.read_bytes(f"{entry}/gitdir", 1 << 16)).strip()
        except OSError:
            continue
        folder = os.path.dirname(os.path.join(entry, dot))
        if belonging.is_of(entry, folder):  # a copied repository still names the original's
            places.append((entry, folder))
    found = []
    for git_dir, path in places:
        if not os.path.isdir(path):
            continue
        busy = _busy(git_dir, ref, target)
        on = Git(git_dir)("symbolic-ref", "-q", "HEAD", codes=(0, 1, 128))
        if on == ref or busy:
            found.append(Checkout(path, git_dir, busy))
    return found


def _folders(folder: str) -> list[str]:
    """The folders in a folder; none if it is not there."""
    try:
        return sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []


def _busy(git_dir: str, ref: str, target: str) -> str:
    """What is in progress with the branch in this checkout; empty if nothing is."""
    for name, word, what in (
        ("rebase-merge/head-name", ref, "a rebase"),
        ("rebase-apply/head-name", ref, "a rebase"),
        ("BISECT_START", target, "a bisect"),
    ):
        try:
            if os.fsdecode(opening.read_bytes(f"{git_dir}/{name}", 1 << 16)).strip() == word:
                return what
        except OSError:
            continue
    for name, why in saving.UNFINISHED.items():
        if (
            os.path.lexists(f"{git_dir}/{name}")
            and Git(git_dir)("symbolic-ref", "-q", "HEAD", codes=(0, 1, 128)) == ref
        ):
            return why.removesuffix(" is unfinished")
    return ""


def _checkout(repo: Repository, planned: Planned) -> Checkout | None:
    """Where the target is checked out, if it is. Raises `CannotMerge` if it cannot move there."""
    found = checkouts(repo, planned.target)
    for checkout in found:
        if checkout.busy:
            raise CannotMerge(
                f"{checkout.busy} of {planned.target} is unfinished in {checkout.path}",
                "finish it first",
            )
    if len(found) > 1:
        raise CannotMerge(
            f"{planned.target} is checked out {len(found)} times", "git worktree list"
        )
    return found[0] if found else None


def refuse_unmovable(repo: Repository, planned: Planned) -> None:
    """`CannotMerge` if the target could not be moved now, as far as a look can tell: its hooks are
    not asked."""
    checkout = _checkout(repo, planned) if planned.new != planned.old else None
    if checkout is None:
        return
    git = repo.acting(checkout.git_dir, checkout.path)
    _refuse_in_the_way(git, checkout, planned)
    edited = set(
        git("diff-index", "--ignore-submodules=dirty", "--name-only", "-z", "HEAD").split("\0")
    )
    files = sorted(edited.intersection(path for path, _, _ in _changes(git, planned)))
    if (
        files
        and git.raw(
            "diff", "--ignore-submodules=dirty", "--quiet", "HEAD", "--", *files, codes=None
        ).returncode
    ):
        raise _edited(planned, files)


def move(repo: Repository, planned: Planned) -> None:
    """Have the target at ``new``.  Raises `CannotMerge`, and then it is where it was."""
    if planned.new == planned.old:
        return
    if (checkout := _checkout(repo, planned)) is not None:
        _forward(repo, checkout, planned)
        return
    ref = f"refs/heads/{planned.target}"
    done = repo.shared.raw(
        "update-ref", "-m", "orchestrator: merge", ref, planned.new, planned.old, codes=None
    )
    if done.returncode:
        raise CannotMerge(f"{planned.target} has moved in the meantime", "approve it again")
    for checkout in checkouts(repo, planned.target):  # it came there between our look and our move
        git = repo.acting(checkout.git_dir, checkout.path)
        if git.raw("read-tree", "-m", "-u", planned.old, planned.new, codes=None).returncode:
            repo.shared("update-ref", ref, planned.old, planned.new)
            raise CannotMerge(
                f"{planned.target} was checked out in the meantime, with edits in the way",
                "approve it again",
            )


def _forward(repo: Repository, checkout: Checkout, planned: Planned) -> None:
    """Move a branch where it is checked out, as the person would; their edits stop it, their hooks
    run."""
    git = repo.acting(checkout.git_dir, checkout.path)
    _refuse_in_the_way(git, checkout, planned)
    off = ("-c", "core.hooksPath=/dev/null") if _brings_hooks(git, checkout.path, planned) else ()
    done = Git(checkout.git_dir, checkout.path, hooks=True).raw(
        *off, "merge", "--ff-only", "--no-overwrite-ignore", "-q", planned.new, codes=None
    )
    now = git.commit_of("HEAD")
    if now != planned.new:
        files = re.findall(r"^\t(.+)$", os.fsdecode(done.stderr), re.MULTILINE)
        if files:
            raise _edited(planned, files)
        lock = f"{checkout.git_dir}/index.lock"
        if os.path.lexists(lock):
            raise CannotMerge(
                f"{planned.target} is checked out, and {lock} is there: another git works, or one"
                " was killed",
                f"wait for it; rm {lock} if no git is running; then approve it again",
            )
        raise CannotMerge(
            f"{planned.target} is checked out, and git did not move it: {reason(done)}",
            "that may be a hook of yours; then approve it again",
        )


def _refuse_in_the_way(git: Git, checkout: Checkout, planned: Planned) -> None:
    if in_the_way := _in_the_way(git, checkout.path, planned):
        raise CannotMerge(
            f"these files of yours are in the way: {', '.join(in_the_way[:5])}",
            "move them, then approve it again",
        )


def _edited(planned: Planned, files: Sequence[str]) -> CannotMerge:
    return CannotMerge(
        f"{planned.target} is checked out, and edits of yours are in the way:"
        f" {', '.join(files[:5])}",
        "commit or stash them, then approve it again",
    )


def _brings_hooks(git: Git, top: str, planned: Planned) -> bool:
    """Whether the merge changes hooks of the checkout, or what lies beside their folder: git would
    run what an agent wrote, before anybody could look at it there.

    husky has ``.husky/_`` generated, and that runs what is tracked in ``.husky``.
    """
    place = Git(git.git_dir, top, hooks=True)("rev-parse", "--git-path", "hooks")
    hooks = os.path.relpath(os.path.realpath(os.path.join(top, place)), os.path.realpath(top))
    place = os.path.dirname(hooks) or hooks
    return any(f"{path}/".startswith(f"{place}/") for path, _, _ in _changes(git, planned))


def _changes(git: Git, planned: Planned) -> list[tuple[str, str, str]]:
    """``(path, blob before, blob after)`` of what a merge changes; empty where there is none."""
    listed = git("diff-tree", "-r", "-z", "--no-renames", planned.old, planned.new).split("\0")
    found = []
    for head, path in zip(listed[::2], listed[1::2], strict=False):
        _, _, before, after, _ = head.split(" ")
        found.append((path, _no_zeros(before), _no_zeros(after)))
    return found


def _no_zeros(blob: str) -> str:
    return "" if set(blob) == {"0"} else blob


def _in_the_way(git: Git, top: str, planned: Planned) -> list[str]:
    """What exists where the merge adds something, ignored files too: git would replace those
    silently.

    What the merge takes away itself is not in its way: a folder may become a file, and a file a
    folder.
    """
    changes = _changes(git, planned)
    removed = {path for path, _, after in changes if not after}
    found: set[str] = set()
    for path in (path for path, before, _ in changes if not before):
        folder = os.path.dirname(path)
        while folder and not os.path.lexists(f"{top}/{folder}"):
            folder = os.path.dirname(folder)
        if folder and not opening.is_folder(f"{top}/{folder}"):
            found.add(folder)
        elif opening.is_folder(f"{top}/{path}"):
            found.update(_below(f"{top}/{path}", path))
        elif os.path.lexists(f"{top}/{path}"):
            found.add(path)
    return sorted(found - removed)


def _below(folder: str, path: str) -> Iterator[str]:
    """Every file below a folder, as a path that begins with ``path``; an empty folder counts as
    nothing."""
    for place, folders, names in scan.walk(folder):
        links = [name for name in folders if os.path.islink(f"{place}/{name}")]
        for name in (*names, *links):
            yield os.path.normpath(f"{path}/{os.path.relpath(place, folder)}/{name}")


def finish(repo: Repository, planned: Planned) -> bool:
    """Do the rest of a merge that was cut off; False if it has to be planned anew, because the
    target is somewhere else now.

    Raises `CannotMerge` at a file that is neither as before nor as after: it is the person's.
    """
    ref = f"refs/heads/{planned.target}"
    now = repo.shared.commit_of(ref)
    if now != planned.old:
        held = repo.shared.raw(
            "merge-base", "--is-ancestor", planned.new, now or planned.old, codes=None
        )
        return now != "" and held.returncode == 0
    for checkout in checkouts(repo, planned.target):
        _take_back(repo, checkout, planned)
    move(repo, planned)
    return True


def _take_back(repo: Repository, checkout: Checkout, planned: Planned) -> None:
    """Files that a killed merge has written already get their old content, so that it can be done
    again."""
    git = repo.acting(checkout.git_dir, checkout.path)
    lock = f"{checkout.git_dir}/index.lock"
    if os.path.lexists(lock):
        if _git_runs_in(checkout.path):
            raise CannotMerge(f"another git is running in {checkout.path}", "approve it again")
        atomic.remove(lock)
    staged = {}
    for entry in git("ls-files", "-s", "-z").split("\0"):
        if entry:
            head, _, path = entry.partition("\t")
            staged[path] = head.split(" ")[1]
    ours: list[tuple[str, str]] = []
    foreign: list[tuple[str, str]] = []
    for path, before, after in _changes(git, planned):
        there = _blob(git, f"{checkout.path}/{path}")
        if there == before or (there == after and staged.get(path, "") == after):
            continue
        (ours if there == after and staged.get(path, "") == before else foreign).append(
            (path, before)
        )
    if foreign:
        names = ", ".join(path for path, _ in foreign[:5])
        raise CannotMerge(
            f"a merge was cut off, and these files are neither as before nor as after it: {names}"
        )
    for path, before in ours:
        if before:
            git("checkout-index", "-f", "-q", "--", path)
        else:
            atomic.remove(f"{checkout.path}/{path}")


def _blob(git: Git, path: str) -> str:
    """What git would call the content of a file; empty if there is none."""
    if os.path.islink(path):
        return git("hash-object", "--stdin", stdin=os.fsencode(os.readlink(path)))
    return git("hash-object", "--", path) if os.path.isfile(path) else ""


def _git_runs_in(folder: str) -> bool:
    for entry in _folders("/proc"):
        try:
            if os.readlink(f"{entry}/cwd").startswith(folder):
                if os.path.basename(os.readlink(f"{entry}/exe")).startswith("git"):
                    return True
        except OSError:
            continue
    return False
