"""Merging a task's branch into its target: made outside every checkout, told to the journal before
anything moves.

The result is computed from commits (`git merge-tree`, or a scratch index where git is older than
2.38); ``work/`` of the target stays as the target has it, because the state of tasks never travels
by a merge. A target that nobody has checked out moves by compare-and-swap. One that is checked out
moves by ``git merge --ff-only --no-overwrite-ignore`` there, after the paths that it adds were
compared with what exists. Killed in the middle: `finish` does the rest, and stops at any file that
is a person's.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from orchestrator.errors import Refused
from orchestrator.files import opening, scan
from orchestrator.files.layout import WORK, Layout
from orchestrator.files.text import lines_of
from orchestrator.model.isolation import Change, branch_part
from orchestrator.records import dataclass
from orchestrator.store import atomic, belonging, places, saving, smallfiles
from orchestrator.store.git import Git, Repository, reason
from orchestrator.store.trees import Tree, forget_index

KEPT = 500  # merges into one branch that are remembered
PATIENCE = 60.0  # seconds that a merge waits for another into the same target


class CannotMerge(Refused):
    """The branch cannot be merged now; nothing was changed. ``conflicts`` are the files in which it
    collides."""

    def __init__(self, message: str, hint: str = "", conflicts: Sequence[str] = ()) -> None:
        super().__init__(message, hint)
        self.conflicts = tuple(conflicts)


@dataclass(frozen=True, slots=True)
class Planned:
    """A merge that is about to happen: ``target`` goes from ``old`` to ``new``, and holds the work
    of ``tip`` then."""

    target: str
    old: str
    new: str
    tip: str

    def record(self, kind: str) -> dict[str, Any]:
        """The merge as a journal's ``merge`` or ``merged`` record."""
        return {"record": kind, **{name: getattr(self, name) for name in self.__dataclass_fields__}}


def planned_from(record: Mapping[str, Any]) -> Planned:
    """The merge in a journal's record."""
    return Planned(**{name: record[name] for name in Planned.__dataclass_fields__})


@contextmanager
def one_at_a_time(layout: Layout, target: str) -> Iterator[None]:
    """Hold the lock of a target: merges into one branch follow each other, whichever process makes
    them."""
    places.make_folder(layout, f"{layout.state}/trees", 0o700)
    path = f"{layout.state}/trees/merge-{branch_part(target).replace('/', '%2F')}.lock"
    places.clear(layout, path)
    fd = opening.descriptor(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _log(layout: Layout, target: str) -> str:
    return f"{layout.state}/trees/moves-{branch_part(target).replace('/', '%2F')}"


def _remember(layout: Layout, planned: Planned) -> None:
    """Take down where a merge of ours is about to take its target; the target's lock is held."""
    path = _log(layout, planned.target)
    lines = [*_remembered(path)[-KEPT:], f"{planned.old} {planned.new}"]
    text = "".join(f"{line}\n" for line in lines)
    smallfiles.put(layout, path, text.encode(), "moves", sync=False)


def _remembered(path: str) -> list[str]:
    try:
        return lines_of(opening.read_text(path))
    except (OSError, ValueError):
        return []


def is_ours(layout: Layout, target: str, before: str, now: str) -> bool:
    """Whether a branch came from one commit to the other by merges of ours alone."""
    steps = [line.split() for line in _remembered(_log(layout, target))]
    reached = {before}
    for step in steps:
        if len(step) == 2 and step[0] in reached:
            reached.add(step[1])
    return now in reached


def moved(repo: Repository, change: Change) -> int:
    """How many commits the target has that the branch does not."""
    return int(repo.shared("rev-list", "--count", f"{change.tip}..refs/heads/{change.target}"))


def plan(
    layout: Layout,
    repo: Repository,
    tree: Tree,
    change: Change,
    strategy: str,
    title: str,
    task_id: str,
) -> Planned:
    """Make the merge's commit; nothing has moved yet. Raises `CannotMerge`, with the conflicts if
    that is why."""
    shared = repo.shared
    old = shared.commit_of(f"refs/heads/{change.target}") if change.target else ""
    if not old:
        return _by_hand(repo, change, task_id)
    if shared.commit_of(f"refs/heads/{change.branch}") != change.tip:
        raise CannotMerge(
            f"{change.branch} is not the version you looked at: it has moved since {task_id} ended",
            f"git log {change.tip[:12]}..{change.branch}",
        )
    placed = [
        path
        for path in tree.placed
        if shared.raw("cat-file", "-e", f"{change.tip}:{path}", codes=None).returncode == 0
    ]
    if placed:
        raise CannotMerge(
            f"the branch contains files that were only lent to its tree: {', '.join(placed[:5])}"
        )
    if (
        shared.raw("merge-base", "--is-ancestor", change.tip, old, codes=None).returncode == 0
        and not tree.working
    ):
        return Planned(change.target, old, old, change.tip)
    maker = Maker(layout, repo, tree, change, old, f"{title}\n\nTask: {task_id}\n")
    return Planned(change.target, old, maker.made(strategy), change.tip)


def _by_hand(repo: Repository, change: Change, task_id: str) -> Planned:
    """What began on no branch, or on one that is gone, is a person's to merge: it is merged once
    their checkout holds it."""
    head = repo.checkout.commit_of("HEAD")
    held = ("merge-base", "--is-ancestor", change.tip, head or change.base)
    if repo.shared.raw(*held, codes=None).returncode:
        none = (
            f"{task_id} started on no branch, so there is no branch to merge {change.branch} into"
        )
        gone = f"the branch '{change.target}' is gone, so {change.branch} cannot be merged into it"
        raise CannotMerge(
            gone if change.target else none,
            f"git merge {change.branch}   where you want it; then orchestrator approve {task_id}",
        )
    return Planned("HEAD", head, head, change.tip)


class Maker:
    """Makes the commit of one merge by one of the strategies."""

    def __init__(
        self, layout: Layout, repo: Repository, tree: Tree, change: Change, old: str, message: str
    ) -> None:
        self.layout, self.repo, self.tree, self.change = layout, repo, tree, change
        self.old, self.message = old, message
        self.git = repo.shared.signed()

    def made(self, strategy: str) -> str:
        """The commit that the target is to have."""
        if strategy == "ff":
            return self._forward()
        if strategy == "rebase" and not self.tree.working:
            return self._rebased()
        base = saving.parting(self.repo, self.tree, self.change.tip)
        content = self.combined(base, self.old, self.change.tip)
        parents = ["-p", self.old]
        if strategy == "merge" and not self.tree.working:
            parents += ["-p", self.change.tip]
        return self._commit(content, parents, self.message)

    def _commit(self, content: str, parents: Sequence[str], message: str) -> str:
        return self.git("commit-tree", content, *parents, stdin=message.encode("utf-8", "replace"))

    def _forward(self) -> str:
        tip, old = self.change.tip, self.old
        if self.git.raw("merge-base", "--is-ancestor", old, tip, codes=None).returncode:
            raise CannotMerge(
                f"{self.change.target} has moved, and strategy: ff only goes forward",
                "strategy: merge, squash or rebase in the role",
            )
        if self._state(tip) != self._state(old):
            raise CannotMerge(
                f"the branch changes {WORK}/, which a merge must not carry", "strategy: merge"
            )
        return tip

    def _rebased(self) -> str:
        base = saving.parting(self.repo, self.tree, self.change.tip)
        listed = self.git(
            "rev-list", "--reverse", "--no-merges", "--topo-order", f"{base}..{self.change.tip}"
        )
        top = self.old
        for commit in lines_of(listed):
            before = self.git.commit_of(f"{commit}^") or self.git("mktree", stdin=b"")
            content = self.combined(before, top, commit)
            if content == self.git.tree_of(top):
                continue
            who = self.git(
                "show",
                "-s",
                "--no-show-signature",
                "--format=%an%n%ae%n%ad%n%B",
                "--date=raw",
                commit,
            )
            name, email, date, message = who.split("\n", 3)
            env = (
                ("GIT_AUTHOR_NAME", name),
                ("GIT_AUTHOR_EMAIL", email),
                ("GIT_AUTHOR_DATE", date),
            )
            git = self.git.at(env=(*self.git.env, *env))
            top = git("commit-tree", content, "-p", top, stdin=os.fsencode(message))
        return top

    def _state(self, commit: str) -> str:
        place = f"{commit}:{self.repo.below(WORK)}"
        return self.git("rev-parse", "-q", "--verify", place, codes=(0, 1, 128))

    def combined(self, base: str, ours: str, theirs: str) -> str:
        """The tree of ``theirs`` put on ``ours``, where both began from ``base``; ``work/`` as
        ``ours`` has it."""
        content = self._three_way(base, ours, theirs)
        if self._state(theirs) == self._state(base):
            return content
        index = smallfiles.scratch(self.layout, "merge.index")
        git = self.git.at(index=index)
        place = self.repo.below(WORK)
        try:
            forget_index(index)
            git("read-tree", content)
            git(
                "rm",
                "-r",
                "-q",
                "--cached",
                "--ignore-unmatch",
                "--",
                f":(literal){place}",
                cwd=self.repo.common,
            )
            if state := self._state(ours):
                git("read-tree", f"--prefix={place}/", state)
            return git("write-tree")
        finally:
            forget_index(index)

    def _three_way(self, base: str, ours: str, theirs: str) -> str:
        """As git merges, with a base that we choose. Raises `CannotMerge` with the files in
        conflict."""
        # Commits of no importance that have the three trees, so that their merge base is the one
        # that is meant.
        first = self._commit(self.git.tree_of(base), [], "base")
        sides = [
            self._commit(self.git.tree_of(side), ["-p", first], "side") for side in (ours, theirs)
        ]
        done = self.git.raw(
            "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", *sides, codes=None
        )
        if done.returncode == 0:
            return os.fsdecode(done.stdout).split("\0")[0].strip()
        if done.returncode != 1:
            return self._three_way_by_index(base, ours, theirs)
        files = [path for path in os.fsdecode(done.stdout).split("\0")[1:] if path]
        state = self.repo.below(WORK) + "/"
        files = sorted({path for path in files if not path.startswith(state)})
        if not files:  # only the state of tasks collides, and that is the target's in any case
            return self._three_way_by_index(base, ours, theirs)
        raise CannotMerge(
            f"{self.change.branch} and {self.change.target} conflict in {', '.join(files[:10])}",
            f"orchestrator reply {os.path.basename(self.tree.path)} --conflict   gives it back to"
            " its own session",
            files,
        )

    def _three_way_by_index(self, base: str, ours: str, theirs: str) -> str:
        """The same for a git that has no ``merge-tree --write-tree``: in a scratch index and
        folder."""
        folder = smallfiles.scratch(self.layout, "merge.d")
        atomic.remove_tree(folder)
        os.makedirs(folder)
        git = self.git.at(work_tree=folder, index=f"{folder}.index")
        forget_index(f"{folder}.index")
        try:
            git("read-tree", "-i", "-m", "--aggressive", base, ours, theirs)
            state = f":(top,exclude,literal){self.repo.below(WORK)}"
            names = git("ls-files", "-u", "-z", "--", ":(top)", state)
            paths = sorted({entry.partition("\t")[2] for entry in names.split("\0") if entry})
            bad = [
                path
                for path in paths
                if git.raw("merge-index", "git-merge-one-file", "--", path, codes=None).returncode
            ]
            if bad:
                raise CannotMerge(
                    f"{self.change.branch} and {self.change.target} conflict in"
                    f" {', '.join(bad[:10])}",
                    "",
                    bad,
                )
            left = git("ls-files", "-u", "-z")
            gone = {entry.partition("\t")[2] for entry in left.split("\0") if entry}
            if gone:
                git(
                    "update-index",
                    "-z",
                    "--force-remove",
                    "--stdin",
                    stdin=os.fsencode("\0".join(gone) + "\0"),
                )
            return git("write-tree")
        finally:
            atomic.remove_tree(folder)
            forget_index(f"{folder}.index")


# -- moving the target
# ----------------------------------------------------------------------------------------------


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
    git = Git(checkout.git_dir, checkout.path, filters=repo.filters)
    _refuse_in_the_way(git, checkout, planned)
    edited = set(git("diff-index", "--name-only", "-z", "HEAD").split("\0"))
    files = sorted(edited.intersection(path for path, _, _ in _changes(git, planned)))
    if files and git.raw("diff", "--quiet", "HEAD", "--", *files, codes=None).returncode:
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
        git = Git(checkout.git_dir, checkout.path, filters=repo.filters)
        if git.raw("read-tree", "-m", "-u", planned.old, planned.new, codes=None).returncode:
            repo.shared("update-ref", ref, planned.old, planned.new)
            raise CannotMerge(
                f"{planned.target} was checked out in the meantime, with edits in the way",
                "approve it again",
            )


def _forward(repo: Repository, checkout: Checkout, planned: Planned) -> None:
    """Move a branch where it is checked out, as the person would; their edits stop it, their hooks
    run."""
    git = Git(checkout.git_dir, checkout.path)
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
    """Whether the merge changes hooks of the checkout: git would run what an agent wrote, before
    anybody could look at it there."""
    place = Git(git.git_dir, top, hooks=True)("rev-parse", "--git-path", "hooks")
    hooks = os.path.relpath(os.path.realpath(os.path.join(top, place)), os.path.realpath(top))
    return any(f"{path}/".startswith(f"{hooks}/") for path, _, _ in _changes(git, planned))


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
    git = Git(checkout.git_dir, checkout.path, filters=repo.filters)
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


def merge(
    layout: Layout,
    repo: Repository,
    tree: Tree,
    change: Change,
    strategy: str,
    title: str,
    task_id: str,
    pending: Mapping[str, Any],
    note: Callable[[Mapping[str, Any]], None],
    proven: Callable[[str, str], str] = lambda old, new: "",
    ready: Callable[[Planned | None], None] = lambda planned: None,
) -> Planned:
    """Merge a task's branch. ``pending`` is the journal's newest record of a merge, ``note``
    appends to the journal.

    ``proven(old, new)`` runs the checks on the result where the target has moved since; it says
    what is red. ``ready`` hears of the plan before anything runs or moves, and may end it here;
    None is a merge that was cut off. Raises `CannotMerge`, and then the target is where it was.
    """
    with one_at_a_time(layout, change.target):
        if pending.get("record") == "merge" and pending.get("tip") == change.tip:
            planned = planned_from(pending)
            ready(None)
            if finish(repo, planned):
                note(planned.record("merged"))
                return planned
        planned = plan(layout, repo, tree, change, strategy, title, task_id)
        ready(planned)
        if (
            planned.old != change.base
            and planned.new != planned.old
            and (red := proven(planned.old, planned.new))
        ):
            raise CannotMerge(f"merged with the present {change.target}, it is not proven: {red}")
        note(planned.record("merge"))
        _remember(layout, planned)
        move(repo, planned)
        note(planned.record("merged"))
        return planned
