"""What a merge makes: the commit that a target is to have, made from commits outside every checkout.

The result is computed by `git merge-tree`, or in a scratch index where git is older than 2.38;
``work/`` of the target stays as the target has it, because the state of tasks never travels by a
merge. Nothing moves here: `store.targets` does that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import Refused
from orchestrator.files.layout import WORK, Layout
from orchestrator.files.text import lines_of
from orchestrator.model.isolation import Change
from orchestrator.records import dataclass
from orchestrator.store import atomic, saving, smallfiles
from orchestrator.store.git import Repository
from orchestrator.store.trees import Tree, forget_index


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
