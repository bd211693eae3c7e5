"""`scripts/bench trees`: what a tree adds to a task, against `git worktree add` and `git status` of the same files."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from orchestrator.files.layout import Layout
from orchestrator.model.isolation import Trees
from orchestrator.store import removal, saving, trees
from orchestrator.store.trees import Tree

AT_ONCE = 10


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=root, check=True, capture_output=True)


def until_it_works(step: Callable[[], None]) -> None:
    """`git worktree add` fails now and then while another one runs ("failed to read commondir")."""
    while True:
        try:
            return step()
        except subprocess.CalledProcessError:
            continue


def repository(base: str, count: int) -> Path:
    """A repository with so many small files, a hundred in a folder."""
    root = Path(base) / f"trees-{count}"
    for number in range(count):
        path = root / f"d{number // 100}/f{number}"
        if number % 100 == 0:
            path.parent.mkdir(parents=True)
        path.write_text(f"{number}\n" * 5)
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "user.email", "e@example.org")
    git(root, "config", "user.name", "n")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    for name in ("trees", ".state/tmp", ".state/trees", "inbox"):
        (root / "work" / name).mkdir(parents=True)
    return root


def seconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def at_once(step: Callable[[int], object]) -> float:
    """So many of them in threads of their own, as the watcher does it; the time until the last is there."""
    threads = [threading.Thread(target=step, args=(number,)) for number in range(AT_ONCE)]

    def run() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return seconds(run)


class Bench:
    """One repository, and the steps that are measured in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.layout, self.config = root, Layout(str(root)), Trees()
        self.repo = trees.repository(self.layout)

    def make(self, task_id: str) -> Tree:
        tree = trees.plan(self.layout, self.config, task_id, self.repo)
        return trees.make(self.layout, self.config, self.repo, tree, os.devnull)

    def save(self, tree: Tree, task_id: str) -> None:
        saving.save(self.layout, self.repo, tree, task_id, 1, "bench")

    def remove(self, tree: Tree, task_id: str) -> None:
        held = removal.remove(self.layout, self.config, self.repo, tree, task_id, 1, "bench")
        assert not held, held

    def worktree(self, name: str) -> None:
        git(self.root, "worktree", "add", "-q", "-B", name, str(self.root.parent / f"{self.root.name}-{name}"))  # fmt: skip

    def drop_worktree(self, name: str) -> None:
        git(self.root, "worktree", "remove", str(self.root.parent / f"{self.root.name}-{name}"))


def added(bench: Bench, tree: Tree) -> int:
    """Files that a tree has beyond what is tracked, with those that the state keeps of it."""
    tracked = subprocess.run(["git", "ls-files"], cwd=bench.root, capture_output=True, text=True, check=True)  # fmt: skip
    return len(trees.inventory(bench.layout, tree)) - len(tracked.stdout.splitlines()) + 1


def measure(base: str, count: int, rounds: int) -> list[str]:
    """One line of the table."""
    bench = Bench(repository(base, count))
    times: dict[str, list[float]] = {}

    def note(name: str, step: Callable[[], object]) -> None:
        times.setdefault(name, []).append(seconds(step))

    files = 0
    for number in range(rounds):
        task_id = f"t{number}"
        note("git add", lambda number=number: bench.worktree(f"w{number}"))
        note("git status", lambda: git(bench.root, "status", "--porcelain"))
        note("git remove", lambda number=number: bench.drop_worktree(f"w{number}"))
        made: list[Tree] = []
        note("make", lambda made=made, task_id=task_id: made.append(bench.make(task_id)))
        files = added(bench, made[0])
        (Path(made[0].path) / "d0/f0").write_text("an edit\n")
        note("save", lambda made=made, task_id=task_id: bench.save(made[0], task_id))
        note("remove", lambda made=made, task_id=task_id: bench.remove(made[0], task_id))
    middle = {name: statistics.median(found) for name, found in times.items()}
    theirs = at_once(lambda number: until_it_works(lambda: bench.worktree(f"a{number}")))
    ours = at_once(lambda number: bench.make(f"a{number}"))
    ratios = [
        (middle["make"], middle["git add"]),
        (middle["save"], middle["git status"]),
        (middle["remove"], middle["git remove"]),
        (ours, theirs),
    ]
    cells = [f"{1000 * mine:.0f} ms, {mine / its:.2f}" for mine, its in ratios]
    return [f"{count:,}", *cells, str(files)]


def run(base: str, quick: bool) -> None:
    """The whole part."""
    print("\n## A tree for a task\n")
    print("Each in ms, and against git: `worktree add`, `status`, `worktree remove`, and ten `worktree add` at once.\n")  # fmt: skip
    print("| files | make | save | remove | ten at once | files added |\n|---|---|---|---|---|---|")
    for count, rounds in ((100, 7), (1000, 3)) if quick else ((100, 7), (10_000, 3), (100_000, 1)):
        print(f"| {' | '.join(measure(base, count, rounds))} |")
        sys.stdout.flush()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:3] == ["quick"])
