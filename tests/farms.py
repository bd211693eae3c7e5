"""A watcher's project, a worker's project and a broker, as on two machines: they share nothing but the broker."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from brokers import Broker
from conftest import PATIENCE, Project, WatcherProcess, wait_until

from orchestrator.distributors.engines.base import Engine
from orchestrator.distributors.engines.choice import engine

LEASE = 0.3
LEASH = 30.0  # long enough for a machine that is busy; where a leash is to end, tests choose a short one
AGENTS = """cancel: {interrupt_grace: 200ms, terminate_grace: 200ms}
watch: {rescan: 500ms}
retry: {delay: 100ms}
agents:
  sh: {tool: shell, command: [sh]}
  ed: {tool: shell, command: [sh], edits: true, isolation: worktree, merge: never}
"""


class WorkerProcess:
    """``orchestrator worker`` in the background; what it says is in ``text()``."""

    def __init__(
        self, project: Project, url: str, name: str, *words: str, prefix: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.path = project.root.parent / f"{name}.log"
        self.spool = project.root.parent / f"spool-{name}"
        self.file = open(self.path, "ab")
        said = self.path.stat().st_size
        self.process = subprocess.Popen(
            [
                *prefix,
                project.python,
                "-m",
                "orchestrator",
                "worker",
                "--tool",
                "shell",
                "--name",
                name,
                "--spool",
                str(self.spool),
                *words,
            ],
            cwd=project.root,
            env={**project.env, "ORCHESTRATOR_QUEUE": url},
            stdin=subprocess.DEVNULL,
            stdout=self.file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._said = said

    def text(self) -> str:
        return self.path.read_text()

    def ready(self) -> WorkerProcess:
        self.says("serving")
        return self

    def says(self, words: str, patience: float = PATIENCE) -> None:
        def check() -> bool:
            assert self.process.poll() is None, self.text()
            return words in self.path.read_bytes()[self._said :].decode()

        wait_until(check, f"{self.name} says {words!r}, see {self.path}", patience)

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGCONT)
            os.killpg(self.process.pid, signal.SIGKILL)  # a prefix may be a process of its own
            self.process.wait(10)
        self.file.close()


class Farm:
    """``near`` has the watcher, ``far`` the workers."""

    def __init__(self, folder: Path, broker: Broker, more: str = "", code: str = "git") -> None:
        self.folder, self.broker = folder, broker
        self.near, self.far = self.project("near"), self.project("far")
        self.near.config(
            AGENTS
            + f"distributors:\n  farm: {{kind: queue, lease: {LEASE}s, leash: {LEASH}s, code: {code}}}\n"
            + more
        )
        self.far.config(AGENTS)
        self.workers: list[WorkerProcess] = []
        self.watchers: list[WatcherProcess] = []

    def set_leash(self, seconds: float) -> None:
        """Before the watcher begins."""
        text = (self.near.work / "orchestrator.yaml").read_text()
        self.near.config(text.replace(f"leash: {LEASH}s", f"leash: {seconds}s"))

    def project(self, name: str) -> Project:
        root = self.folder / name
        root.mkdir(parents=True)
        made = Project(root)
        made.env |= {
            "HOME": str(self.folder / f"home-{name}"),
            "ORCHESTRATOR_QUEUE": self.broker.url,
        }
        Path(made.env["HOME"]).mkdir()
        made.env.pop("XDG_STATE_HOME", None)
        self.git(made, "init", "-q")
        made.run("init")
        return made

    def git(self, project: Project, *words: str) -> str:
        who = ("-c", "user.name=n", "-c", "user.email=e@x")
        done = subprocess.run(
            ["git", *who, *words],
            cwd=project.root,
            env=project.env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def worker(
        self, name: str = "w1", *words: str, prefix: tuple[str, ...] = (), url: str = ""
    ) -> WorkerProcess:
        made = WorkerProcess(self.far, url or self.broker.url, name, *words, prefix=prefix)
        self.workers.append(made)
        return made.ready()

    def watch(self, *words: str, prefix: tuple[str, ...] = ()) -> WatcherProcess:
        made = WatcherProcess(self.near, *words, prefix=prefix)
        self.watchers.append(made)
        return made.ready()

    def drop(self, task: str, script: str, agent: str = "sh", more: str = "") -> None:
        lines = "".join(f"  {line}\n" for line in script.splitlines())
        self.near.drop(f"{task}.yaml", f"agent: {agent}\non: farm\nprompt: |\n{lines}{more}")

    def log(self, task: str, attempt: int = 1) -> bytes:
        path = Path(self.near.layout.logs(task, attempt)) / "stdout.log"
        return path.read_bytes() if path.exists() else b""

    def until_printed(self, task: str, words: bytes, attempt: int = 1) -> None:
        wait_until(lambda: words in self.log(task, attempt), f"{task} prints {words!r}")

    def close(self) -> None:
        for watcher in self.watchers:
            watcher.stop()
        for worker in self.workers:
            worker.kill()
        end_tagged(self.folder)


def end_tagged(folder: Path) -> None:
    """End every process whose environment names this folder: agents that outlived their workers."""
    wanted = str(folder).encode() + b"/"
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            environ = Path(f"/proc/{name}/environ").read_bytes()
        except OSError:
            continue
        if b"ORCHESTRATOR_TAG=" in environ and wanted in environ:
            os.kill(int(name), signal.SIGKILL)


def opened(farm: Farm, worker: WorkerProcess, watcher: WatcherProcess, count: int) -> list[int]:
    """Files and threads of the watcher and the worker once so many attempts are over, those before included."""
    done = farm.near.work / "done"
    for number in range(len(os.listdir(done)), count):
        farm.drop(f"t{number}", "exit 0")
    wait_until(lambda: len(os.listdir(done)) >= count, f"{count} are done", 90 + count / 5)
    wait_until(lambda: len(os.listdir(worker.spool)) == 3, "the worker has told all of it", 90)
    processes = [f"/proc/{one.process.pid}" for one in (watcher, worker)]
    return [len(os.listdir(f"{path}/{kind}")) for path in processes for kind in ("fd", "task")]


def at_broker(farm: Farm, work: Callable[[Engine], Awaitable[Any]]) -> Any:
    """Ask the broker as a third party."""

    async def run() -> Any:
        third: Engine = engine(farm.broker.url, "third")
        try:
            return await work(third)
        finally:
            await third.close()

    return asyncio.run(run())
