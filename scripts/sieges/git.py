"""git moves ``work/`` under eight running tasks, in eight ways; every end has to be in the log afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable

from sieges.ground import Ground, gathered

NAMES = {"GIT_AUTHOR_NAME": "a", "GIT_COMMITTER_NAME": "a"}
MAILS = {"GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_EMAIL": "a@example.com"}
TASKS = 8


def missing() -> str:
    return "" if shutil.which("git") else "there is no git here"


def git(ground: Ground, *words: str) -> None:
    """A git command; one that refuses (a conflict, an untracked file in its way) has moved nothing, or part of it."""
    done = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", "-c", "rerere.enabled=false", *words],
        cwd=ground.root,
        env={**os.environ, **NAMES, **MAILS},
        capture_output=True,
        check=False,
    )
    ground.counts["refused"] += done.returncode != 0


def commit(ground: Ground, words: str) -> None:
    git(ground, "add", "-A")
    git(ground, "commit", "-qm", words)


def stash(ground: Ground) -> None:
    git(ground, "stash")
    ground.go.touch()
    git(ground, "stash", "pop")


def stash_all(ground: Ground) -> None:
    git(ground, "stash", "-u")
    ground.go.touch()
    ground.until(lambda: len(ground.events("attempt_finished")) == TASKS, "all ends in the log")
    git(ground, "stash", "pop")


def pull(ground: Ground) -> None:
    """`git pull --rebase --autostash` of a branch that others have worked on."""
    other = ground.base / "other"
    git(ground, "clone", "-q", "--no-local", str(ground.root), str(other))
    git(ground, "-C", str(other), "commit", "-q", "--allow-empty", "-m", "theirs")
    git(ground, "remote", "add", "theirs", str(other))
    commit(ground, "ours")
    git(ground, "pull", "-q", "--rebase", "--autostash", "theirs", "main")


def switch(ground: Ground) -> None:
    """Away, to a time before the tasks, and back."""
    commit(ground, "running")
    git(ground, "switch", "-q", "-f", "--detach", "HEAD~1")
    ground.go.touch()
    ground.until(lambda: len(ground.events("attempt_finished")) == TASKS, "all ends in the log")
    git(ground, "switch", "-q", "-f", "main")


def reset(ground: Ground) -> None:
    commit(ground, "running")
    git(ground, "reset", "-q", "--hard", "HEAD~1")


def clean(ground: Ground) -> None:
    """Everything that is not tracked goes, the ledger as well."""
    git(ground, "clean", "-fdxq", "work/events", "work/running", "work/logs")


def checkout(ground: Ground) -> None:
    commit(ground, "running")
    git(ground, "checkout", "-q", "HEAD~1", "--", "work")
    git(ground, "rm", "-rqf", "work/events")


def merge(ground: Ground) -> None:
    """A branch on which somebody has put the tasks elsewhere."""
    commit(ground, "running")
    git(ground, "switch", "-q", "-c", "side", "HEAD~1")
    git(ground, "commit", "-q", "--allow-empty", "-m", "side")
    git(ground, "switch", "-q", "main")
    git(ground, "merge", "-q", "--no-ff", "-m", "merge", "side")


WAYS: dict[str, Callable[[Ground], None]] = {
    "stash": stash,
    "stash -u": stash_all,
    "pull": pull,
    "switch": switch,
    "reset": reset,
    "clean": clean,
    "checkout": checkout,
    "merge": merge,
}


def siege(
    rounds: int, seed: int, ways: tuple[str, ...] = tuple(WAYS)
) -> tuple[Counter[str], list[str]]:
    """Every way so often."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    for way in ways * rounds:
        with Ground() as ground:
            git(ground, "init", "-q")
            commit(ground, "begin")
            watcher = ground.watch()
            ground.drop(TASKS)
            if ground.until_all_run():
                WAYS[way](ground)
                counts["killed git"] += 1
                ground.go.touch()
                ground.until(
                    lambda: len(ground.events("attempt_finished")) == TASKS, "all ends in the log"
                )
                ground.until(lambda: not _unsettled(ground), "all tasks are put away")
            ground.stop(watcher)
            ground.judge("done", "review")
            gathered(counts, broken, ground, way)
    return counts, broken


def _unsettled(ground: Ground) -> list[str]:
    places = ground.places()
    return [
        task_id for task_id in ground.tasks if places.get(task_id) not in (["done"], ["review"])
    ]
