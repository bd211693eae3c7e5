"""Attempts over a broker beside attempts on this machine: how long one takes, how many a second, memory, sockets."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from brokers import ALL, broker_of, missing
from conftest import WatcherProcess, wait_until
from farms import Farm, WorkerProcess

PATIENCE = 300.0


def drop(farm: Farm, name: str, on: str) -> None:
    farm.near.drop(f"{name}.yaml", f"agent: t\nprompt: x\non: {on}\n")


def latency(farm: Farm, on: str, count: int) -> float:
    """Milliseconds from the inbox to done, p50."""
    took = []
    for number in range(count):
        path = farm.near.work / "done" / f"l{on}{number}.yaml"
        began = time.perf_counter()
        drop(farm, f"l{on}{number}", on)
        wait_until(path.exists, str(path), PATIENCE)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def rate(farm: Farm, on: str, name: str, count: int) -> float:
    """Tasks a second, of so many that are dropped at once."""
    done = farm.near.work / "done"
    before = len(os.listdir(done))
    began = time.perf_counter()
    for number in range(count):
        drop(farm, f"r{name}{number}", on)
    wait_until(lambda: len(os.listdir(done)) >= before + count, f"{count} are done", PATIENCE)
    return count / (time.perf_counter() - began)


def weight(process: WatcherProcess | WorkerProcess) -> str:
    """Resident memory, and open sockets."""
    pid = process.process.pid
    text = Path(f"/proc/{pid}/status").read_text()
    memory = int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])
    sockets = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            sockets += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket")
        except OSError:
            continue
    return f"{memory / 1024:.0f} MiB, {sockets} sockets"


def queue(quick: bool) -> None:
    """The table."""
    count, singles = (40, 5) if quick else (300, 40)
    print(f"\n## {count} x /bin/true over a broker, 8 slots in all, and one at a time\n")
    print(
        "| where | workers | inbox to done, p50 | tasks/s | watcher | a worker, before and after |\n|---|---|---|---|---|---|"
    )
    for kind in ALL:
        if why := missing(kind):
            print(f"| {why} | | | | | |")
            continue
        with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
            broker = broker_of(kind, Path(folder) / "broker")
            farm = Farm(Path(folder), broker, "limits: {running: 8}\n")
            for project in (farm.near, farm.far):
                text = (project.work / "orchestrator.yaml").read_text()
                extra = "  t: {tool: shell, command: [/bin/true]}\n"
                project.config(text.replace("agents:\n", f"agents:\n{extra}"))
            try:
                watcher = farm.watch("--quiet")
                if kind == ALL[0]:
                    one, many = latency(farm, "direct", singles), rate(farm, "direct", "d", count)
                    print(
                        f"| this machine | | {one:.0f} ms | {many:.0f} | {weight(watcher)} | |",
                        flush=True,
                    )
                for workers in (1, 2, 4):
                    slots = str(8 // workers)
                    started = [
                        farm.worker(f"w{workers}{number}", "--slots", slots)
                        for number in range(workers)
                    ]
                    before = weight(started[0])
                    one = latency(farm, "farm", singles) if workers == 1 else 0.0
                    many = rate(farm, "farm", f"{kind}{workers}x", count)
                    shown = f"{one:.0f} ms" if one else ""
                    print(
                        f"| {kind} | {workers} | {shown} | {many:.0f} | {weight(watcher)} | {before}; {weight(started[0])} |",
                        flush=True,
                    )
                    for worker in started:
                        worker.kill()
            finally:
                farm.close()
                broker.close()
