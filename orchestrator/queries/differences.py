"""What a task or a run has changed, as git tells it: between two commits, or between one and a
folder's files."""

from __future__ import annotations

import os

from orchestrator.files import git, opening, results
from orchestrator.files.layout import WORK, Layout
from orchestrator.model.isolation import Change, change_from
from orchestrator.model.journal import Journal
from orchestrator.model.runbranch import RunBranch
from orchestrator.records import dataclass


@dataclass(frozen=True, slots=True)
class Since:
    """What a branch's target got that the branch does not have: so many ``commits``; ``both`` are
    the files that they and the branch have changed."""

    commits: int
    both: tuple[str, ...]


def ends_of_task(layout: Layout, journal: Journal) -> tuple[str, list[str]]:
    """The folder to ask in, and the commits between which a task's work lies: only the first while
    its tree has more than its branch.

    Raises `git.Unclear` if there is no tree.
    """
    change = change_from(journal.change)
    if change is not None:
        return layout.root, [change.base, change.tip]
    if not (opening.is_folder(layout.trees) and opening.is_folder(layout.tree(journal.task_id))):
        raise git.Unclear("its tree is gone")
    return layout.tree(journal.task_id), [str(journal.tree.get("base", ""))]


def ends_of_run(layout: Layout, run: RunBranch) -> list[str]:
    """The commits between which a run's work lies: what its branch holds now, or what was merged.

    Raises `git.Unclear` if git does not tell.
    """
    told = results.read(layout, run.run)
    if run.merge.get("record") == "merged" and told.get("tip") == run.merge.get("tip"):
        return [str(told["base"]), str(told["tip"])]
    with git.reading(_repository(layout.root)) as reader:
        named = reader.ask("rev-parse", "-q", "--verify", f"refs/heads/{run.branch}", codes=(0, 1))
        tip = named.out.decode().strip() or run.looked_at or run.base
        parts = reader.ask("merge-base", f"refs/heads/{run.target}", tip, codes=(0, 1, 128))
    return [parts.out.decode().strip() or run.base, tip]


def since(layout: Layout, change: Change) -> Since:
    """How far the target of a task's branch has moved on. Whether the two collide is for a merge to
    find out, which writes. Raises `git.Unclear` if git does not tell."""
    target = f"refs/heads/{change.target}"
    with git.reading(_repository(layout.root)) as reader:
        count = reader.ask("rev-list", "--count", f"{change.tip}..{target}").out
        parting = reader.ask("merge-base", target, change.tip, codes=(0, 1)).out.decode().strip()
        ends = (target, change.tip) if int(count) and parting else ()
        changed = [
            set(_diff(layout, reader, [parting, end], ["--name-only", "-z"]).split(b"\0"))
            for end in ends
        ]
    both = changed[0] & changed[1] - {b""} if changed else set()
    return Since(int(count), tuple(sorted(map(os.fsdecode, both))))


def between(layout: Layout, folder: str, ends: list[str], how: list[str]) -> bytes:
    """What ``git diff`` prints with the options ``how``, without ``work/``. Raises `git.Unclear` if
    git does not tell."""
    with git.reading(_repository(folder)) as reader:
        return _diff(layout, reader, ends, how)


def _diff(layout: Layout, reader: git.Reader, ends: list[str], how: list[str]) -> bytes:
    place = os.path.relpath(layout.root, (git.nearest(layout.root) or reader.repository).folder)
    state = WORK if place == "." else f"{place}/{WORK}"
    answer = reader.ask(
        "diff", *how, "--no-renames", *ends, "--", ":(top)", f":(top,exclude,literal){state}"
    )
    return answer.out


def _repository(folder: str) -> git.Repository:
    found = git.nearest(folder)
    if found is None:
        raise git.Unclear("the repository is gone")
    return found
