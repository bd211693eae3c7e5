"""Disks that refuse: read-only, full of nothing but trouble, without rights, without descriptors; and floods of output.

Every time the same is promised: claiming stops, the pane and ``status`` say why, what runs goes on, nothing is lost,
and work resumes by itself.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Project, WatcherProcess, end_everything, wait_until

from orchestrator.files import journals

CONFIG = "agents: {sh: {tool: shell, command: [sh]}}\nwatch: {rescan: 200ms}\n"


class Ground:
    """A project whose watcher runs, a task of it too, and a file outside that lets the task end with code 3."""

    def __init__(self, root: Path, *prefix: str) -> None:
        root.mkdir(exist_ok=True)
        self.project = Project(root)
        self.project.run("init")
        self.project.config(CONFIG)
        self.go = root.parent / "go"
        self.watcher = WatcherProcess(self.project, prefix=prefix)
        self.watcher.ready()
        self.project.drop(
            "running.yaml",
            f"agent: sh\nprompt: while ! test -e {self.go}; do sleep 0.02; done; exit 3\n",
        )
        wait_until(lambda: self.project.events("attempt_started", "running"), "it runs")

    def refused(self) -> None:
        """The watcher says that it claims nothing, ``status`` as well, and the task that runs ends meanwhile."""
        wait_until(lambda: "fault" in self.watcher.text(), "the pane says so")
        shown = wait_until(
            lambda: (
                "nothing new starts" in (out := self.project.run("status", code=None).stdout)
                and out
            ),
            "status says so",
        )
        assert shown and self.watcher.process.poll() is None
        assert "problem" in self.project.run("doctor", "--json", code=1).stdout

    def resumes(self, *task_ids: str) -> None:
        """Everything that waited is done, by itself."""
        wait_until(lambda: "recovered" in self.watcher.text(), "it says that it goes on")
        self.project.settled("running", "failed")
        assert self.project.result("running")["exit_code"] == 3
        for task_id in task_ids:
            self.project.settled(task_id, "done")
        assert {event["event"] for event in self.project.events()} >= {
            "store_failed",
            "store_recovered",
        }
        for task_id in ("running", *task_ids):
            assert [
                len(self.project.events(kind, task_id))
                for kind in ("attempt_started", "attempt_finished", "task_finished")
            ] == [1, 1, 1]


@pytest.fixture
def ground(tmp_path):
    made: list[Ground] = []

    def start(*prefix: str, root: Path = tmp_path / "ground") -> Ground:
        made.append(Ground(root, *prefix))
        return made[-1]

    yield start
    for each in made:
        each.watcher.stop()
        end_everything(each.project)


@pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace here")
def test_a_read_only_file_system(ground):
    """Linux remounts nothing read-only that is open for writing, and what an aborted ext4 does is for ever; so every call
    that changes something fails with EROFS for a while, in the watcher and in the supervisor."""
    here = ground()
    watcher = here.watcher.process.pid
    calls = "rename,renameat2,unlink,mkdir,fsync,fdatasync"
    strace = subprocess.Popen(
        [
            "strace",
            "-qq",
            "-f",
            "-o",
            str(here.go.parent / "calls"),
            "-e",
            f"trace={calls}",
            "-e",
            "signal=none",
            "-e",
            f"inject={calls}:error=EROFS",
            "-p",
            str(watcher),
            "-p",
            str(parent(here.project)),
        ]
    )
    try:
        wait_until(
            lambda: all(
                "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text()
                for pid in (watcher, parent(here.project))
            )
        )
        here.project.drop("a.yaml", "agent: sh\nprompt: 'true'\n")
        here.refused()
        here.go.touch()
        wait_until(
            lambda: '"exit"' in Path(here.project.layout.journal("running")).read_text(),
            "its end is tried to be recorded",
        )
        assert here.project.where("running") == "running" and here.project.where("a") == "inbox"
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait()
    assert (here.go.parent / "calls").read_text().count("EROFS") > 5
    here.resumes("a")


def parent(project: Project) -> int:
    """The supervisor of the one task that runs."""
    started = list(journals.read(project.layout.journal("running")).attempts)[-1].started
    return started["supervisor"]


def test_no_descriptors_left(ground):
    here = ground()
    pid = here.watcher.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = min(set(range(len(used) + 1)) - used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, before[1]))
    here.project.drop("a.yaml", "agent: sh\nprompt: 'true'\n")
    here.refused()
    here.go.touch()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    here.resumes("a")


@pytest.mark.parametrize(
    "folder", ["running", "logs", "results", ".state/active", ".state/tmp", "failed"]
)
def test_permission_denied(ground, folder):
    """Even root obeys permissions without the right to override them."""
    prefix = (
        ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    )
    if prefix and not shutil.which("setpriv"):
        pytest.skip("there is no setpriv here")
    here = ground(*prefix)
    place = here.project.work / folder
    mode = place.stat().st_mode & 0o777
    place.chmod(0o500)
    try:
        here.project.drop("a.yaml", "agent: sh\nprompt: 'true'\n")
        here.go.touch()
        here.refused()
    finally:
        place.chmod(mode)
    here.resumes("a")


def test_a_flood_of_output_costs_no_memory(ground):
    """Three hundred megabytes go past the watcher, its supervisor and every reader."""
    here = ground()
    here.project.config(CONFIG + "limits: {log_mb: 400}\n")
    here.project.run("approve", "--settings")  # they were changed while a task ran
    here.watcher.stop()
    here.watcher = WatcherProcess(here.project).ready()
    pid = here.watcher.process.pid
    before = peak(pid)
    here.project.drop(
        "flood.yaml",
        "agent: sh\nprompt: head -c 300000000 /dev/zero | tr '\\0' 'x'; echo; echo the end\n",
    )
    here.project.settled("flood", "done")
    assert here.project.result("flood")["message"].endswith("the end")
    assert peak(pid) - before < 20_000
    for words in (["logs", "flood", "-n", "3"], ["show", "flood"], ["status"]):
        done = subprocess.run(
            [sys.executable, "-c", READER, *words],
            cwd=here.project.root,
            env=here.project.env,
            capture_output=True,
            check=True,
        )
        assert int(done.stderr.split()[-2]) < 120_000, words


# A process that is forked counts its parent's memory as its own in rusage; what it says of itself begins with its exec.
READER = """
import atexit, sys
import orchestrator.cli.main as main
atexit.register(lambda: print(next(line for line in open("/proc/self/status") if "VmHWM" in line), file=sys.stderr))
main.main(sys.argv[1:])
"""


def peak(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1])
