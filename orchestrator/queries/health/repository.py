"""What git does with a work directory: what it ignores, what it has not merged, a lock that was
left."""

from __future__ import annotations

import os

from orchestrator.files import git
from orchestrator.files.layout import Layout
from orchestrator.model.units import show_duration
from orchestrator.queries.health.check import Check, note, ok, problem

IGNORED = ("work/.state/active/x", "work/logs/x/1/stdout.log")  # as init's work/.gitignore says
OLD_LOCK = 60.0  # seconds after which a git that works is no longer believed to hold its lock
NAMED = 5  # unmerged files that are named


def repository(layout: Layout) -> list[Check]:
    try:
        nearest = git.nearest(layout.root)
        if nearest is None:
            return [ok("git", "not a git repository")]
        with git.reading(nearest) as reader:
            found = _asked(layout, nearest, reader)
    except git.Unclear as error:
        hint = "tasks that were not made here wait for approval until it does"
        return [problem("git", f"git gives no clear answer: {error}", hint)]
    return found or [ok("git", "logs and state are ignored, nothing unmerged")]


def _asked(layout: Layout, nearest: git.Repository, reader: git.Reader) -> list[Check]:
    project = os.path.realpath(layout.root)

    def inside(path: str) -> str:
        return os.path.relpath(os.path.join(project, path), nearest.folder)

    def ignored(path: str) -> bool:
        return reader.ask("check-ignore", "-q", "--", inside(path), codes=(0, 1)).code == 0

    found = []
    if ignored("work/inbox/x.yaml"):
        words = "work/inbox is ignored by git: tasks are not part of the history"
        found.append(note("git", words, "look at your .gitignore"))
    for path in IGNORED:
        if not ignored(path):
            words = f"{os.path.dirname(path)} is not ignored by git"
            found.append(problem("git", words, "orchestrator init   writes work/.gitignore"))
    below = f":(literal){inside('work')}"
    unmerged = reader.ask("diff", "--name-only", "-z", "--diff-filter=U", "--", below)
    names = [name for name in os.fsdecode(unmerged.out).split("\0") if name]
    if names:
        found.append(problem("git", f"unmerged: {', '.join(names[:NAMED])}", "resolve the merge"))
    return found


def index_lock(layout: Layout, now: float) -> list[Check]:
    """A git that was killed leaves its lock behind, and every later commit fails."""
    try:
        nearest = git.nearest(layout.root)
        if nearest is None:
            return []
        path = f"{nearest.git_dir}/index.lock"
        age = now - os.lstat(path).st_mtime
    except (git.Unclear, OSError):
        return []
    if age < OLD_LOCK:
        return []
    shown = layout.shown(path)
    words = f"{shown} is {show_duration(age)} old: git commits nothing while it is there"
    return [problem("index.lock", words, f"if no git is running: rm {shown}")]
