"""Watchers in other PID and mount namespaces, as containers that share a folder: the lock tells who is at work, not a pid.

``adopt``    one outside is killed, one inside takes its attempts over
``leave``    one inside is killed while its container goes on, one outside takes over
``beside``   a second one has to refuse while the first one lives, and verbs work from both sides
``restart``  the whole container is killed; the next one has the same pids
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sieges.ground import Ground, gathered

UNSHARE = ("unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")
# The first process of the container is no watcher, so that it outlives one.
HOLD = (*UNSHARE, "sh", "-c", '"$@" & sleep 1000', "sh")
TASKS = 4


def missing() -> str:
    """Why this cannot be tried here; empty if it can."""
    if not shutil.which("unshare"):
        return "there is no unshare here"
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "PID namespaces cannot be made here"


def watchers(ground: Ground) -> list[int]:
    """Pids, as seen from outside, of this project's watchers."""
    found = []
    for name in os.listdir("/proc"):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            home = f"XDG_STATE_HOME={ground.base}/state".encode()
            if b"watch" in words and b"-m" in words and words[0].endswith((b"python", b"python3")):
                if home in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue
    return found


def adopt(ground: Ground) -> None:
    first = ground.watch()
    ground.drop(TASKS)
    if not ground.until_all_run():
        return
    ground.stop(first, signal.SIGKILL)
    ground.watch(prefix=UNSHARE)
    ground.until(lambda: len(ground.events("task_adopted")) == TASKS, "all are adopted inside")
    ground.until_all_end()


def leave(ground: Ground) -> None:
    ground.watch(prefix=HOLD)
    ground.drop(TASKS)
    if not ground.until_all_run():
        return
    for pid in watchers(ground):
        os.kill(pid, signal.SIGKILL)
    ground.until(lambda: not watchers(ground), "the one inside is dead")
    ground.watch()
    ground.until(lambda: len(ground.events("task_adopted")) == TASKS, "all are adopted outside")
    ground.until_all_end()


def beside(ground: Ground) -> None:
    ground.watch(prefix=UNSHARE)
    ground.drop(TASKS)
    if not ground.until_all_run():
        return
    for prefix in (UNSHARE, ()):
        second = ground.watch(prefix=prefix)
        if second.wait(60) == 0:
            ground.broken.append("a second watcher did not refuse")
    seen = ground.status()
    if not (seen.get("watcher") or {}).get("alive"):
        ground.broken.append("status does not see the watcher from outside")
    if seen.get("counts", {}).get("running") != TASKS:
        ground.broken.append(f"status does not see {TASKS} running from outside")
    if "runs in another container" not in (said := ground.run("reload").stderr):
        ground.broken.append(f"reload takes a pid of another namespace for one of here: {said}")
    if "was cut off" in (said := ground.run("doctor").stdout):
        ground.broken.append(f"doctor takes living attempts for dead: {said}")
    ground.run("cancel", "--no-wait", ground.tasks[0])
    ground.until(lambda: "cancelled" in ground.places().get(ground.tasks[0], ()), "it is cancelled")
    ground.until_all_end("done", "cancelled")


def restart(ground: Ground) -> None:
    container = ground.watch(prefix=HOLD)
    ground.drop(TASKS)
    if not ground.until_all_run():
        return
    container.kill()
    container.wait()
    ground.until(lambda: not watchers(ground), "the container is gone")
    ground.watch(prefix=HOLD)
    ground.drop(TASKS)
    ground.until_all_end("done", "review")  # what ran when it was killed is lost, and said to be


WAYS: dict[str, Callable[[Ground], None]] = {
    "adopt": adopt,
    "leave": leave,
    "beside": beside,
    "restart": restart,
}


def siege(
    rounds: int, seed: int, ways: tuple[str, ...] = tuple(WAYS)
) -> tuple[Counter[str], list[str]]:
    """Every way so often."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    for way in ways * rounds:
        with Ground() as ground:
            WAYS[way](ground)
            counts["killed namespaces"] += 1
            ground.until(lambda: not os.listdir(ground.layout.active), "all journals are closed")
            ground.judge("done", "review", "cancelled")
            if way != "restart" and ground.events("task_retrying"):
                ground.broken.append("a living attempt was declared lost")
            lost = [task_id for task_id, where in ground.places().items() if where == ["review"]]
            if lost and way != "restart":
                ground.broken.append(f"living attempts were declared lost: {', '.join(lost)}")
            gathered(counts, broken, ground, way)
    return counts, broken
