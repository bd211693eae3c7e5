"""A quota that is reached while tasks run: the watcher says so, nothing is lost, and all goes on once there is room.

The project lies in a subvolume of a btrfs image: its quotas count for root, too.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from sieges.ground import Ground, gathered

GROUP = "0/256"  # the first subvolume of a new file system
PROGRAMS = ("mkfs.btrfs", "btrfs", "losetup", "mount")
# It waits, prints more than the quota has room for, and ends; its start is written down on another disk.
TOOL = "echo $ORCHESTRATOR_TASK_ID >> {starts}; while ! test -e {go}; do sleep 0.05; done; head -c 300000 /dev/zero | tr \\\\0 x"
TASKS = 4


def missing() -> str:
    """Why this cannot be tried here; empty if it can."""
    if os.geteuid() != 0:
        return "only root mounts images"
    for program in PROGRAMS:
        if not shutil.which(program):
            return f"there is no {program} here"
    try:
        with Disk() as disk:
            disk.limit("16k")
            try:
                (disk.root / "probe").write_bytes(b"x" * 500_000)
                return "quotas have no effect here"
            except OSError as error:
                return "" if error.errno == errno.EDQUOT else str(error)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"images with quotas cannot be mounted here: {error}"


def call(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Disk:
    """A subvolume of a btrfs image with quotas; a context that takes it away again."""

    def __enter__(self) -> Disk:
        self.base = Path(tempfile.mkdtemp(prefix="orchestrator-quota-"))
        self.place, self.root = self.base / "disk", self.base / "disk/limited"
        self.place.mkdir()
        image = self.base / "image"
        with image.open("wb") as file:
            file.truncate(160 << 20)
        try:
            call("mkfs.btrfs", "-q", "-f", str(image))
            call("mount", "-o", "loop,noatime", str(image), str(self.place))
            call("btrfs", "quota", "enable", str(self.place))
            call("btrfs", "subvolume", "create", str(self.root))
        except BaseException:
            self.__exit__()
            raise
        return self

    def limit(self, size: str) -> None:
        """So much may lie there; ``none`` lifts the limit."""
        os.sync()  # what is on its way counts
        call("btrfs", "qgroup", "limit", size, GROUP, str(self.place))

    def __exit__(self, *_: object) -> None:
        if os.path.ismount(self.place):
            subprocess.run(["umount", "-l", str(self.place)], capture_output=True, check=False)
        shutil.rmtree(self.base, ignore_errors=True)


def siege(rounds: int, seed: int) -> tuple[Counter[str], list[str]]:
    """So often: the quota is reached while tasks run, and raised again.  Every other time the watcher is a new one."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    for number in range(rounds):
        with Disk() as disk, Ground(disk.root) as ground:
            config = ground.root / "work/orchestrator.yaml"
            tool = TOOL.format(starts=ground.starts, go=ground.go)
            config.write_text(
                "limits: {running: 4}\nwatch: {rescan: 300ms}\n"
                f"agents: {{t: {{tool: shell, command: [sh, -c, '{tool}']}}}}\n"
            )
            one(ground, disk, replaced=number % 2 == 1)
            counts["killed quota"] += 1
            gathered(counts, broken, ground, f"round {number + 1}")
    return counts, broken


def one(ground: Ground, disk: Disk, replaced: bool) -> None:
    watcher = ground.watch()
    ground.drop(TASKS)
    if not ground.until_all_run():
        return
    if replaced:  # the supervisors are another's now
        watcher.kill()
        watcher.wait()
        watcher = ground.watch()
        ground.until(lambda: len(ground.events("task_adopted")) == TASKS, "all are adopted")
    disk.limit("16k")  # nothing more, whatever there is
    ground.go.touch()
    ground.until(lambda: told(ground), "the fault is told")
    disk.limit("none")
    ground.drop(1)
    ground.until_all_end("done", "failed")
    ground.until(lambda: not told(ground), "the fault is over")
    ground.stop(watcher)
    ground.judge("done", "failed")


def told(ground: Ground) -> bool:
    """Whether the watcher says that the disk refuses."""
    card = ground.status().get("watcher")
    return bool(isinstance(card, dict) and card.get("fault"))
