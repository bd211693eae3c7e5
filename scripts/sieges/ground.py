"""A project under fire: tasks that write down outside of it that they ran, and the promises that are checked at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.files import eventreader
from orchestrator.files.layout import Layout

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0
FOLDERS = ("inbox", "held", "running", "review", "done", "failed", "cancelled", "archive")
# Every start leaves a line outside of the work directory; the task waits for the file that lets it go on.
CONFIG = """limits: {{running: 8}}
retry: {{delay: 50ms}}
cancel: {{interrupt_grace: 300ms, terminate_grace: 300ms}}
watch: {{rescan: 300ms}}
agents:
  t: {{tool: shell, command: [sh, -c, 'echo $ORCHESTRATOR_TASK_ID >> {starts}; while ! test -e {go}; do sleep 0.05; done']}}
"""


class Ground:
    """One project, in a folder of its own or below ``root``.  A context that ends and removes all of it."""

    def __init__(self, root: Path | None = None) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="orchestrator-siege-"))
        self.root = (root or self.base) / "project"
        self.starts, self.go = self.base / "starts", self.base / "go"
        self.starts.touch()
        self.layout = Layout(str(self.root))
        self.tasks: list[str] = []
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []
        self.children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Ground:
        self.root.mkdir()
        self.run("init")
        config = self.root / "work/orchestrator.yaml"
        config.write_text(CONFIG.format(starts=self.starts, go=self.go))
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.base, ignore_errors=True)

    def environment(self, code: Path = ROOT) -> dict[str, str]:
        home = {"XDG_STATE_HOME": str(self.base / "state")}
        return {**os.environ, **home, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "orchestrator", *words]

    def run(self, *words: str, code: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """A verb, to its end."""
        return subprocess.run(
            self.command(*words),
            cwd=self.root,
            env=self.environment(code),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def watch(
        self, *words: str, prefix: tuple[str, ...] = (), code: Path = ROOT
    ) -> subprocess.Popen[bytes]:
        """A watcher in the background."""
        with (self.base / "watch.log").open("ab") as log:
            process = subprocess.Popen(
                [*prefix, *self.command("watch", "--quiet", *words)],
                cwd=self.root,
                env=self.environment(code),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.children.append(process)
        return process

    def drop(self, count: int) -> list[str]:
        """Tasks, placed as a careful program does it."""
        made = []
        for _ in range(count):
            task_id = f"t{len(self.tasks):04d}"
            hidden = self.root / f"work/inbox/.{task_id}.tmp"
            hidden.write_text("agent: t\nprompt: x\n")
            hidden.rename(self.root / f"work/inbox/{task_id}.yaml")
            self.tasks.append(task_id)
            made.append(task_id)
        return made

    def started(self) -> Counter[str]:
        return Counter(self.starts.read_text().split())

    def places(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for folder in FOLDERS:
            place = self.root / "work" / folder
            for name in os.listdir(place) if place.is_dir() else ():
                if name.endswith(".yaml") and not name.startswith((".", "@")):
                    found.setdefault(name.removesuffix(".yaml"), []).append(folder)
        return found

    def events(self, kind: str) -> Counter[str]:
        found = eventreader.events(self.layout)[0]
        return Counter(str(event["task_id"]) for event in found if event["event"] == kind)

    def status(self) -> dict[str, Any]:
        text = self.run("status", "--json").stdout
        return json.loads(text) if text.startswith("{") else {}

    def until(self, check: Callable[[], object], what: str, patience: float = PATIENCE) -> bool:
        """Wait for something; what does not come is a promise that is broken."""
        end = time.monotonic() + patience
        while not check():
            if time.monotonic() > end:
                words = (self.base / "watch.log").read_text(errors="replace")[-300:]
                self.broken.append(f"waited {patience:.0f} s in vain for: {what}; {words}")
                return False
            time.sleep(0.05)
        return True

    def until_all_run(self) -> bool:
        return self.until(lambda: len(self.started()) == len(self.tasks), "all tasks run")

    def until_all_end(self, *folders: str) -> bool:
        """Let all of them go on, and wait until each lies in one of the folders."""
        self.go.touch()
        wanted = folders or ("done",)

        def ended() -> bool:
            places = self.places()
            return all(set(places.get(task_id, ())) & set(wanted) for task_id in self.tasks)

        return self.until(ended, f"all tasks end in {' or '.join(wanted)}")

    def judge(self, *folders: str) -> None:
        """One folder for every task, one of these; no start twice; an end in the log for every start."""
        places, starts = self.places(), self.started()
        finished = self.events("attempt_finished")
        for task_id in self.tasks:
            where = places.get(task_id, [])
            if len(where) != 1 or where[0] not in (folders or ("done",)):
                self.broken.append(f"{task_id} is in {where or 'no folder'}")
            if starts[task_id] > 1:
                self.broken.append(f"{task_id} was started {starts[task_id]} times")
            if starts[task_id] and not finished[task_id]:
                self.broken.append(f"the log has no end of {task_id}")
        self.counts["tasks"] += len(self.tasks)
        self.counts["starts"] += sum(starts.values())
        events, bad = eventreader.events(self.layout)
        self.counts["events"] += len(events)
        self.counts["bad lines"] += bad

    def stop(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
        """Have a watcher leave; its attempts go on."""
        process.send_signal(number)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.broken.append("the watcher did not leave")
            process.kill()
            process.wait()

    def end(self) -> None:
        """End everything that belongs to the project, other namespaces included."""
        self.go.touch()
        for process in self.children:
            if process.poll() is None:
                process.kill()
            process.wait()
        for pid in _pids(f"ORCHESTRATOR_WORK={self.root}/work".encode()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _pids(mark: bytes) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
        except OSError:
            continue
    return found


def gathered(rounds: Counter[str], broken: list[str], ground: Ground, name: str) -> None:
    """Add what one ground has shown to what is known of all."""
    rounds.update(ground.counts)
    broken += [f"{name}: {text}" for text in ground.broken]
