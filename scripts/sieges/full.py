"""A disk that is really full while agents work in trees: a small tmpfs, filled at random moments, emptied, and filled again.

Every line that an agent wrote there it writes outside, too.  Once there is room for good, a quiet watcher and ``doctor --fix``
run, and then each of them is in a ref of ours, in a branch or in a tree; nothing unnamed is left, and the person's checkout is untouched.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import faults_trees

SIZE, ROOM = "12m", "64m"  # of the file system while it is filled, and at the end
FILLS = 4  # in one round


def missing() -> str:
    """Why this cannot be tried here; empty if it can."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        return "only root mounts a small file system"
    try:
        with Disk():
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no tmpfs can be mounted here: {error}"


class Disk:
    """A small tmpfs; a context that takes it away again."""

    def __enter__(self) -> Disk:
        self.place = Path(tempfile.mkdtemp(prefix="orchestrator-full-"))
        self._mount(f"size={SIZE}")
        return self

    def _mount(self, options: str) -> None:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.place)]
        subprocess.run(words, check=True, capture_output=True)

    def grow(self) -> None:
        """There is room from now on."""
        (self.place / "filler").unlink(missing_ok=True)
        self._mount(f"remount,size={ROOM}")

    def fill(self) -> None:
        """Not a byte more has room."""
        with open(self.place / "filler", "ab", buffering=0) as out:
            try:
                while out.write(b"x" * 4096):
                    pass
            except OSError:
                return

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.place)], capture_output=True, check=False)
        shutil.rmtree(self.place, ignore_errors=True)


def siege(rounds: int, seed: int) -> tuple[Counter[str], list[str]]:
    """So many rounds, each with a project and a disk of its own; what was counted, and what was broken."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    for number in range(rounds):
        with Disk() as disk:
            found, told = one(disk, seed + number)
        counts += found
        broken += [f"seed {seed + number}: {text}" for text in told]
    return counts, broken


def one(disk: Disk, seed: int) -> tuple[Counter[str], list[str]]:
    """One round."""
    field = faults_trees.Field(seed, disk.place)
    drawn = random.Random(seed)
    try:
        for _ in range(FILLS):
            field.drop()
            field.watch()
            time.sleep(drawn.random() * 0.8)
            disk.fill()
            field.counts["killed full"] += 1
            time.sleep(drawn.random() * 0.8)
            (disk.place / "filler").unlink()
        disk.grow()
        if field.watcher is not None:
            field.watcher.send_signal(signal.SIGTERM)
            field.watcher.wait()
        broken = [] if field.run("watch", "--until-empty", "--quiet") is not None else ["the last watcher did not end"]  # fmt: skip
        field.run("doctor", "--fix")
        broken += field.broken()
        field.counts["starts"] = len(field.wrote.read_text().splitlines())
    finally:
        shutil.rmtree(field.base, ignore_errors=True)
    return field.counts, broken
