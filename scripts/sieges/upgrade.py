"""Older and newer code on one work directory, in both directions, and formats of a version to come.

``up``       an older watcher is killed, this version takes its attempts over
``down``     this version is killed, the older one takes over, and this one again
``beneath``  the program is replaced under a running watcher
``formats``  journals of a later version block their own ids and nothing else
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sieges.ground import ROOT, Ground, gathered

OLD = "34daaa4"  # the last commit of 0.1.0 before its formats changed
TASKS = 4


def missing() -> str:
    """Why this cannot be tried here; empty if it can."""
    if not shutil.which("git"):
        return "there is no git here"
    found = subprocess.run(
        ["git", "-C", str(ROOT), "cat-file", "-e", f"{OLD}:orchestrator"],
        capture_output=True,
        check=False,
    )
    return "" if found.returncode == 0 else f"the history has no commit {OLD} (a shallow clone)"


def older(place: Path) -> Path:
    """The older version's code, below this folder."""
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", OLD, "orchestrator", "schemas"],
        capture_output=True,
        check=True,
    ).stdout
    place.mkdir()
    subprocess.run(["tar", "-x", "-C", str(place)], input=archive, check=True)
    return place


def up(ground: Ground, old: Path) -> None:
    first = ground.watch(code=old)
    ground.drop(TASKS)
    if not ground.until_all_run():
        return
    ground.stop(first, signal.SIGKILL)
    ground.watch()
    ground.drop(1)
    ground.until_all_end()


def down(ground: Ground, old: Path) -> None:
    first = ground.watch()
    ground.drop(TASKS)
    if not ground.until_all_run():
        return
    ground.stop(first, signal.SIGKILL)
    second = ground.watch(code=old)
    ground.until(lambda: len(ground.events("watcher_started")) > 0, "the older one starts")
    ground.drop(1)
    ground.until(lambda: len(ground.started()) == TASKS + 1, "the older one runs a task")
    ground.stop(second, signal.SIGKILL)
    ground.watch()
    ground.until_all_end("done", "review")


def beneath(ground: Ground, old: Path) -> None:
    code = ground.base / "program"
    shutil.copytree(ROOT / "orchestrator", code / "orchestrator")
    shutil.copytree(ROOT / "schemas", code / "schemas")
    ground.watch(code=code)
    ground.drop(1)
    if not ground.until_all_run():
        return
    shutil.copytree(old / "orchestrator", code / "orchestrator", dirs_exist_ok=True)
    ground.drop(TASKS)
    ground.until_all_run()
    ground.until_all_end()


def formats(ground: Ground, old: Path) -> None:
    claim = {"record": "claim", "id": "x", "file": "x.yaml", "text": "", "ino": 1, "v": 2}
    for number, records in enumerate(([claim], [{**claim, "v": 1}, {"record": "teleported"}])):
        (ground.root / f"work/inbox/x{number}.yaml").write_text("agent: t\nprompt: x\n")
        path = Path(ground.layout.active) / f"x{number}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    ground.watch()
    ground.drop(TASKS)
    ground.until_all_end()
    if any(task_id.startswith("x") for task_id in ground.started()):
        ground.broken.append("a task whose journal is of a later version was started")
    for number in range(2):
        if not os.path.exists(f"{ground.layout.active}/x{number}.jsonl"):
            ground.broken.append("a journal of a later version is gone")


WAYS: dict[str, Callable[[Ground, Path], None]] = {
    "up": up,
    "down": down,
    "beneath": beneath,
    "formats": formats,
}


def siege(
    rounds: int, seed: int, ways: tuple[str, ...] = tuple(WAYS)
) -> tuple[Counter[str], list[str]]:
    """Every way so often."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    with tempfile.TemporaryDirectory(prefix="orchestrator-old-") as folder:
        old = older(Path(folder) / "old")
        for way in ways * rounds:
            with Ground() as ground:
                WAYS[way](ground, old)
                counts["killed upgrade"] += 1
                ground.judge("done", "review")
                gathered(counts, broken, ground, way)
    return counts, broken
