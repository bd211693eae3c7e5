"""Watchers are killed while due times pass, and the clock is set forward and back: each time makes one task, never two, never none.

A watcher's wall clock is what a file says (libfaketime); this script moves it by minutes and kills the watcher at a random moment
of what follows.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.files import eventreader, scan
from orchestrator.files.layout import Layout
from orchestrator.files.schedulestate import state_of
from orchestrator.model.status import FOLDERS

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
SCHEDULE = "missed: all\noverlap: queue\ntask: {agent: t, prompt: x}\n"
CONFIG = """limits: {{running: 4}}
watch: {{rescan: 100ms}}
agents: {{t: {{tool: shell, command: [sh, -c, 'echo "$ORCHESTRATOR_TASK_ID" >> {starts}']}}}}
"""
MINUTE = 60.0
BACKLOG = 40 * MINUTE
MOST_WAITING = 60  # tasks; then a watcher lives long enough to start them
PATIENCE = 60.0  # seconds without any progress


def missing() -> str:
    """Why this cannot be tried here; empty if it can."""
    return "" if LIBRARIES else "there is no libfaketime here"


class Place:
    """A project with one schedule for every minute, and one for every second minute since it was seen."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.root = Path(tempfile.mkdtemp(prefix="orchestrator-schedules-"))
        self.layout = Layout(str(self.root))
        self.starts, self.clock = self.root / "starts", self.root / "clock"
        self.starts.touch()
        self.offset = 0.0
        self.move(0.0)
        words = [sys.executable, "-m", "orchestrator", "init", "-q"]
        subprocess.run(words, cwd=self.root, check=True, stdin=subprocess.DEVNULL)
        work = self.root / "work"
        (work / "orchestrator.yaml").write_text(CONFIG.format(starts=self.starts))
        (work / "schedules").mkdir(exist_ok=True)
        (work / "schedules/cron.yaml").write_text("cron: '* * * * *'\ntz: UTC\n" + SCHEDULE)
        (work / "schedules/every.yaml").write_text("every: 2m\n" + SCHEDULE)
        self.watcher: subprocess.Popen[bytes] | None = None

    def move(self, seconds: float) -> None:
        """Set the clock forward, or back."""
        self.offset += seconds
        hidden = self.clock.with_suffix(".new")
        hidden.write_text(f"{self.offset:+.3f}\n")
        hidden.replace(self.clock)

    @property
    def now(self) -> float:
        return time.time() + self.offset

    def watch(self) -> None:
        fake = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.watcher = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "watch", "--quiet"],
            cwd=self.root,
            env={**os.environ, **fake},
            stdin=subprocess.DEVNULL,
            stdout=(self.root / "watch.log").open("ab"),
            stderr=subprocess.STDOUT,
        )

    def is_up(self) -> bool:
        """Whether the watcher has its lock and has begun to look."""
        assert self.watcher is not None
        try:
            return f'"pid": {self.watcher.pid},' in Path(self.layout.watcher_card).read_text()
        except OSError:
            return False

    def kill(self, number: int) -> None:
        assert self.watcher is not None
        self.watcher.send_signal(number)
        self.watcher.wait()

    def tasks(self) -> Counter[str]:
        """How often each id is anywhere."""
        folders = [self.layout.folder(status) for status in FOLDERS]
        return Counter(name for folder in folders for name, _ in scan.task_names(folder))

    def behind(self) -> float:
        """Seconds since the last time that is settled: only the newest hundred of missed times are made up for."""
        known = [state_of(self.layout, name) for name in ("cron", "every")]
        return max(self.now - state.after for state in known if state is not None)

    def first(self) -> dict[str, float]:
        """Since when each schedule counts."""
        return {name: state_of(self.layout, name).first for name in ("cron", "every")}

    def until(self, check: object, what: str) -> bool:
        end = time.monotonic() + PATIENCE
        while not check():  # type: ignore[operator]
            if time.monotonic() > end:
                print(f"  in vain: {what}")
                return False
            time.sleep(0.02)
        return True

    def until_ended(self, wanted: set[str]) -> None:
        """As long as it goes on: hundreds of tasks may wait that no watcher has lived long enough to start."""
        left = self.unended(wanted)
        while left:
            before = len(left)
            if not self.until(lambda: len(self.unended(wanted)) < before, f"{before} have ended"):
                return
            left = self.unended(wanted)

    def unended(self, wanted: set[str]) -> set[str]:
        folders = [self.layout.folder(name) for name in ("done", "failed")]
        return wanted - {name for folder in folders for name, _ in scan.task_names(folder)}

    def waiting(self) -> int:
        return len(scan.task_names(self.layout.folder("inbox")))


def siege(kills: int, seed: int) -> tuple[Counter[str], list[str]]:
    """So many kills, each while a due time passes or after a jump; then all is compared with the calendar."""
    place = Place(seed)
    place.watch()
    known = [f"{place.layout.state}/schedules/{name}.json" for name in ("cron", "every")]
    place.until(lambda: all(map(os.path.exists, known)), "both schedules are seen")
    begun = [place.first()]  # a clock that is set back to before a schedule was seen begins it anew
    counts: Counter[str] = Counter()
    furthest = place.now
    for _ in range(kills):
        if place.random.random() < 0.8:  # else it is killed while it begins
            place.until(place.is_up, "the watcher is up")
        if place.behind() > BACKLOG:
            place.until(lambda: place.behind() < 4 * MINUTE, "it has made what was missed")
        if place.waiting() > MOST_WAITING:
            place.until(lambda: place.waiting() < 4, "what waits has started")
        step = place.random.choice((MINUTE, MINUTE, MINUTE, 2 * MINUTE, 5 * MINUTE, -3 * MINUTE))
        place.move(step)
        counts["set back"] += step < 0
        furthest = max(furthest, place.now)
        time.sleep(place.random.random() * place.random.choice((0.05, 0.3, 0.6)))
        place.kill(signal.SIGKILL)
        begun.append(place.first())
        counts["killed schedules"] += 1
        place.watch()
    place.move(max(0.0, furthest - place.now) + MINUTE)
    return counts, judge(place, begun, counts)


def judge(place: Place, begun: list[dict[str, float]], counts: Counter[str]) -> list[str]:
    """Every promise that is broken. ``begun``: since when each schedule counted, after each kill."""
    end = place.now
    place.until(
        lambda: expected(place.first(), end) <= set(place.tasks()),
        "every due time has made its task",
    )
    wanted = expected(place.first(), end)
    place.until_ended(wanted)
    place.kill(signal.SIGTERM)
    found, started = place.tasks(), Counter(place.starts.read_text().split())
    submitted = Counter(
        event["task_id"]
        for event in eventreader.events(place.layout)[0]
        if event["event"] == "task_submitted"
    )
    begun.append(place.first())
    late = {name for since in begun for name in expected(since, place.now)}  # and while we looked
    broken = [f"{name} was never made" for name in sorted(wanted - set(found))]
    broken += [f"{name} was made for no due time" for name in sorted(set(found) - late)]
    for what, table in (("is in", found), ("was started", started), ("was submitted", submitted)):
        broken += [f"{name} {what} {n} times" for name, n in table.items() if n > 1]
    broken += [f"{name} was never started" for name in sorted(wanted - set(started))]
    counts["tasks"], counts["starts"] = len(found), len(started)
    counts["events"] = len(eventreader.events(place.layout)[0])
    if not broken:
        shutil.rmtree(place.root, ignore_errors=True)
    return broken


def expected(first: dict[str, float], end: float) -> set[str]:
    """The ids of all times that have come since the schedules were first seen."""
    moments = {
        "cron": [(int(first["cron"] // 60) + n) * 60.0 for n in range(1, 1 + int(end - first["cron"]) // 60 + 1)],
        "every": [first["every"] + 120.0 * n for n in range(1, 1 + int(end - first["every"]) // 120 + 1)],
    }  # fmt: skip
    named = set()
    for name, times in moments.items():
        for moment in times:
            if first[name] < moment <= end:
                text = datetime.fromtimestamp(moment, UTC).strftime("%Y%m%dT%H%M")
                named.add(f"{name}-{text}{'Z' if name == 'every' else ''}")
    return named
