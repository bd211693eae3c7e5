"""Watchers, workers and brokers that are killed, frozen and wiped at random, over each broker that is installed.

Every task leaves a line outside of all work directories when it starts, and prints what is known before: so a task that was lost, one
that ran twice, two that were alive together and a log that is not byte for byte what was printed all show.  ``control`` is the same
outage with a leash that never ends: there two attempts of a task *must* be alive together, or the siege could not see it.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests"))

from brokers import ALL, broker_of
from brokers import missing as absent
from conftest import wait_until
from farms import Farm, WorkerProcess, opened

PATIENCE = 300.0
LINES = 300
ATTEMPTS = 1000  # over the same connections
LOUD = 100_000_000  # bytes that one attempt prints


def missing() -> str:
    """Why this cannot be tried here; empty if it can with one broker at least."""
    lacking = [why for kind in ALL if (why := absent(kind))]
    return "; ".join(lacking) if len(lacking) == len(ALL) else ""


class Field:
    """One farm under fire."""

    def __init__(self, kind: str, seed: int) -> None:
        self.random = random.Random(f"{kind} {seed}")
        self.folder = Path(tempfile.mkdtemp(prefix="orchestrator-farm-"))
        self.broker = broker_of(kind, self.folder / "broker")
        self.farm = Farm(self.folder, self.broker, "limits: {running: 8}\n")
        self.starts = self.folder / "starts"
        self.starts.touch()
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []
        self.tasks: list[str] = []
        self.workers = {name: self.farm.worker(name, "--slots", "4") for name in ("w1", "w2")}
        self.watcher = self.farm.watch()

    def close(self) -> None:
        self.farm.close()
        self.broker.close()
        if not self.broken:  # else somebody wants to look at it
            shutil.rmtree(self.folder, ignore_errors=True)

    def drop(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            task = f"t{len(self.tasks):04d}"
            self.tasks.append(task)
            pause = self.random.choice((0.0, 0.2, 1.0, 2.0))
            script = f"echo {task} >> {self.starts}\nseq 1 {LINES}\nsleep {pause}\nseq 1 {LINES}"
            self.farm.drop(task, script)

    def strike(self) -> None:
        """One of them dies, or is away for a moment, and comes back."""
        what = self.random.choice(
            ("watcher", "worker", "worker", "broker", "cut", "freeze", "wipe")
        )
        if what == "wipe" and self.random.random() < 0.7:
            what = "watcher"
        self.counts[f"killed {what}"] += 1
        getattr(self, f"_{what}")()

    def _watcher(self) -> None:
        self.watcher.send(signal.SIGKILL)
        self.watcher.wait()
        self.watcher = self.farm.watch()

    def _worker(self) -> None:
        name = self.random.choice(list(self.workers))
        self.workers[name].kill()
        self.workers[name] = self.farm.worker(name, "--slots", "4")

    def _broker(self) -> None:
        self.broker.kill()
        time.sleep(self.random.random())
        self.broker.start()

    def _cut(self) -> None:
        """As a link that is cut both ways: nothing arrives, nothing is refused."""
        self.broker.freeze()
        time.sleep(self.random.random() * 2)
        self.broker.thaw()

    def _freeze(self) -> None:
        worker: WorkerProcess = self.random.choice(list(self.workers.values()))
        worker.send(signal.SIGSTOP)
        time.sleep(self.random.random())
        worker.send(signal.SIGCONT)

    def _wipe(self) -> None:
        self.broker.wipe()

    def settle(self) -> None:
        """Everything ends, and then every promise is looked at."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and any(
            self.farm.near.where(task) != "done" for task in self.tasks
        ):
            time.sleep(0.2)
        ran = Counter(self.starts.read_text().split())
        wanted = b"".join(b"%d\n" % number for number in range(1, LINES + 1)) * 2
        for task in self.tasks:
            if (where := self.farm.near.where(task)) != "done":
                self.broken.append(f"{task} is in {where or 'no folder'}")
            if ran[task] != 1:
                self.broken.append(f"{task} ran {ran[task]} times")
            elif self.farm.log(task) != wanted:
                self.broken.append(f"the log of {task} is not what it printed")
        self.counts["tasks"] += len(self.tasks)
        self.counts["starts"] += sum(ran.values())
        self.counts["events"] += len(self.farm.near.events())
        lost = self.farm.near.events("task_retrying")
        if lost:
            self.broken.append(f"{len(lost)} attempts were repeated, and nobody asked for it")


def _touch(spool: Path, over: threading.Event) -> None:
    """As if attempts had no leash: somebody touches it all the time."""
    while not over.wait(0.05):
        now = b"%-24.3f" % time.clock_gettime(time.CLOCK_BOOTTIME)
        for path in spool.glob("*/leash"):
            with suppress(OSError), open(path, "r+b", buffering=0) as file:
                file.write(now)  # in one go: an empty leash has ended


def control(kind: str, seed: int, leash: bool) -> bool:
    """A worker is frozen for good while its task runs; whether two attempts of the task were alive together."""
    field = Field(kind, seed)
    over = threading.Event()
    try:
        farm = field.farm
        field.watcher.stop()
        config = farm.near.work / "orchestrator.yaml"
        config.write_text(config.read_text() + "on_lost: retry\ndefaults: {retries: 1}\n")
        farm.set_leash(2.0)
        field.workers["w2"].kill()
        farm.watch()
        alive = field.folder / "alive"
        alive.mkdir()
        loop = f"echo begun\nwhile :; do : > {alive}/$ORCHESTRATOR_ATTEMPT; sleep 0.05; done"
        farm.drop("a", loop)
        farm.until_printed("a", b"begun")
        field.workers["w1"].send(signal.SIGSTOP)
        if not leash:
            threading.Thread(target=_touch, args=(field.workers["w1"].spool, over)).start()
        farm.worker("w2")
        wait_until((alive / "2").exists, "the second attempt", PATIENCE)
        seen = (alive / "2").stat().st_mtime_ns
        time.sleep(2.0)
        return (alive / "1").stat().st_mtime_ns > seen  # the first one has gone on since
    finally:
        over.set()
        field.close()


def growth(kind: str) -> list[str]:
    """What a watcher and a worker have open after very many attempts, and had not after a few."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-farm-") as folder:
        broker = broker_of(kind, Path(folder) / "broker")
        farm = Farm(Path(folder), broker, "limits: {running: 8}\n")
        try:
            worker, watcher = farm.worker("w1", "--slots", "8"), farm.watch("--quiet")
            few = opened(farm, worker, watcher, 20)
            many = opened(farm, worker, watcher, ATTEMPTS)
        finally:
            farm.close()
            broker.close()
    print(
        f"            {kind}: files and threads after 20 attempts {few}, after {ATTEMPTS} {many}",
        flush=True,
    )
    # A pool of connections or threads may still grow to its size.
    grown = any(late > early + 16 for early, late in zip(few, many, strict=True))
    return [f"what is open grew from {few} to {many}"] if grown else []


def loud(kind: str) -> list[str]:
    """A log of 100 MB arrives as it was printed."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-farm-") as folder:
        broker = broker_of(kind, Path(folder) / "broker")
        farm = Farm(Path(folder), broker)
        try:
            farm.worker()
            farm.drop("a", f"yes | head -c {LOUD}")
            farm.watch("--quiet")
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end and farm.near.where("a") != "done":
                time.sleep(0.2)
            whole = farm.near.where("a") == "done" and farm.log("a") == b"y\n" * (LOUD // 2)
        finally:
            farm.close()
            broker.close()
    return [] if whole else [f"a log of {LOUD} bytes did not arrive as it was printed"]


KILLS = (
    "killed watcher",
    "killed worker",
    "killed broker",
    "killed wipe",
)  # those that are SIGKILLs


def siege(kills: int, seed: int, kinds: tuple[str, ...] = ALL) -> tuple[Counter[str], list[str]]:
    """So many SIGKILLs at each broker, other strikes between them, and the control."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    for kind in kinds:
        if why := absent(kind):
            print(f"            {kind}: left out: {why}", flush=True)
            continue
        field = Field(kind, seed)
        try:
            while sum(field.counts[name] for name in KILLS) < kills:
                field.drop()
                time.sleep(field.random.choice((0.05, 0.2, 0.5, 1.0)) * field.random.random())
                field.strike()
            field.settle()
        finally:
            field.close()
        counts += field.counts
        counts["killed queue"] += sum(field.counts[name] for name in KILLS)
        told = ", ".join(f"{field.counts[name]} {name}" for name in sorted(field.counts))
        print(f"            {kind}: {told}", flush=True)
        broken += [f"{kind}: {text}" for text in (*field.broken, *growth(kind), *loud(kind))]
        for leash, wanted in ((True, False), (False, True)):
            if control(kind, seed, leash) is not wanted:
                what = (
                    "with a leash they were alive together"
                    if leash
                    else "the control sees no overlap"
                )
                broken.append(f"{kind}: {what}")
    return counts, broken
