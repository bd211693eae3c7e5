"""Fixtures: a project in a temporary folder, the program as a real process, a watcher as a real process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import hermetic
import pytest
from hypothesis import HealthCheck, settings

from orchestrator.cli import lazily
from orchestrator.cli.main import cli
from orchestrator.files.layout import Layout

lazily.settle()  # tests run many threads: here every module is loaded where it is imported

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = float(os.environ.get("PATIENCE", "30"))
hermetic.shut_out()
# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def wait_until(
    check: Callable[[], object], what: str | Callable[[], str] = "", patience: float = PATIENCE
) -> object:
    """Wait for something to become true, looking often; fails with ``what`` (or what it says then) if it does not."""
    end = time.monotonic() + patience
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {patience:.0f} s in vain for: {told or check}")
        time.sleep(0.01)


# What a test needs, so that each kind can be run apart: pytest -m fast.  A file that is not named here starts processes.
KINDS = {
    "agents": ("test_agents",),
    "engines": (),
    "terminal": ("test_terminal", "test_interactive", "test_pane", "test_editors", "test_newcomer"),
    "fast": (
        *(
            "test_activity",
            "test_waiting",
            "test_dispatches",
            "test_appending",
            "test_byhand",
            "test_chains",
            "test_matrix",
            "test_architecture",
            "test_hand",
            "test_levels",
            "test_documents",
            "test_event_shape",
            "test_git_history",
            "test_provenance",
            "test_aside",
            "test_hermetic",
            "test_secrecy",
            "test_inside",
            "test_floods",
            "test_promises",
            "test_floor",
            "test_admission",
            "test_words",
        ),
        *("test_journals", "test_loop", "test_may", "test_mistakes", "test_model", "test_names"),
        *("test_holds", "test_templates", "test_ahead", "test_plans", "test_umask"),
        *(
            "test_import",
            "test_allowances",
            "test_limit_words",
            "test_records",
            "test_own_share",
            "test_schedule",
        ),
    ),
}
PROCESS_FIXTURES = {"project", "watch"}
SEEDS = 8  # random histories of a kind that scripts/check runs; scripts/test runs all of them


LONG = {
    "test_agents",
    "test_queue",
    "test_walls",
    "test_engines",
}  # a lane that began these last would end last
AT_ONCE = 20  # fast tests that a lane takes


def pytest_addoption(parser: pytest.Parser) -> None:
    """Several lanes run side by side (scripts/lanes): most tests wait for processes, not for a core."""
    parser.addoption("--share", help="run what no other lane has taken in this folder")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Who wants fast tests alone need not import the files that have none: that takes as long as a fifth of the tests."""
    if not config.option.markexpr.startswith("fast") or not collection_path.name.startswith(
        "test_"
    ):
        return None
    listed = collection_path.stem in KINDS["fast"]
    return None if listed or b"mark.fast" in collection_path.read_bytes() else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark every test with exactly one kind; the fast ones come first, then what takes longest in one piece."""
    kind_of = {stem: kind for kind, stems in KINDS.items() for stem in stems}
    for item in items:
        if any(item.get_closest_marker(kind) for kind in (*KINDS, "process")):
            continue
        kind = kind_of.get(item.path.stem, "process")
        if kind == "fast" and PROCESS_FIXTURES & set(getattr(item, "fixturenames", ())):
            kind = "process"
        item.add_marker(kind)
    for item in items:
        seed = item.callspec.params.get("seed") if hasattr(item, "callspec") else None
        if isinstance(seed, int) and seed >= SEEDS:
            item.add_marker("deep")
        if "tube" in getattr(item, "fixturenames", ()) or "test_whatever_happens" in item.name:
            item.add_marker("history")
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[bool, bool]:
    slow = item.get_closest_marker("fast") is None
    return slow, slow and item.path.stem not in LONG


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """As pytest does it, but one lane runs only what no other has taken before."""
    share, option = session.config.getoption("share"), session.config.option
    if not share or session.testsfailed or option.collectonly:
        return None
    mine = taken(session.items, Path(share))
    item = next(mine, None)
    while item is not None:
        following = next(mine, None)  # whatever that does not need is taken down after this one
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def taken(items: list[pytest.Item], share: Path) -> Iterator[pytest.Item]:
    """What this lane takes, when it has done what it took before: a file whose tests share what it has made, or some fast tests."""
    ours: set[str] = set()
    counts: Counter[str] = Counter()
    for item in items:
        key = item.path.stem
        if item.get_closest_marker("fast") is not None:
            counts[key] += 1
            key = "modules" if _is_shared(item) else f"{key}-{counts[key] // AT_ONCE}"
        if key not in ours:
            try:
                (share / key).mkdir()
            except FileExistsError:
                continue
            ours.add(key)
        yield item


def _is_shared(item: pytest.Item) -> bool:
    """Whether it parses all modules, which takes seconds and need not be done in several lanes."""
    fixtures = getattr(item, "fixturenames", ())
    parses = item.path.stem in ("test_architecture", "test_floor")
    return parses and not {"full_project", "bare"} & set(fixtures)


@pytest.fixture(autouse=True)
def nothing_is_held_for_all() -> Iterator[None]:
    """What one test holds for all projects is not held in the next."""
    yield
    shutil.rmtree(f"{os.environ['XDG_STATE_HOME']}/orchestrator/held", ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_waits_for_the_disk(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fast tests promise nothing about power cuts: the disk need not have what they write."""
    fast = request.node.get_closest_marker("fast") is not None
    with without_waiting() if fast else nullcontext():
        yield


@contextmanager
def without_waiting() -> Iterator[None]:
    """What is written meanwhile is not waited for until the disk has it."""
    real = os.fsync, os.fdatasync
    os.fsync = os.fdatasync = lambda fd: None
    try:
        yield
    finally:
        os.fsync, os.fdatasync = real


class Project:
    """A project with a work directory, and the program to use on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(str(root))
        self.python = sys.executable
        self.env = {**os.environ, "TZ": "UTC", "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1"}
        for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "ORCHESTRATOR_ROOT"):
            self.env.pop(name, None)

    @property
    def work(self) -> Path:
        return self.root / "work"

    def run(
        self, *words: str, code: int | None = 0, stdin: str = "", patience: float = 60, **more
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; ``code`` is the exit code it must have (None: any)."""
        done = subprocess.run(
            [self.python, "-m", "orchestrator", *words],
            cwd=self.root,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
            **more,
        )
        # Nothing failed, and something waits for a person: as good as 0 where nobody asks for more.
        fine = (0, 7) if code == 0 and words[:1] in (("watch",), ("review",)) else (code,)
        if code is not None:
            assert done.returncode in fine, (
                f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def init(self) -> None:
        """What ``orchestrator init`` makes, without a process for it: nearly every test begins with one."""
        words = ["-C", str(self.root), "init", "-q"]
        with without_waiting():  # no test of these cuts the power
            cli.main(words, "orchestrator", standalone_mode=False)

    def json(self, *words: str) -> dict:
        return json.loads(self.run(*words, "--json").stdout)

    def config(self, text: str) -> None:
        (self.work / "orchestrator.yaml").write_text(text)

    def drop(self, name: str, text: str | bytes, folder: str = "inbox") -> Path:
        """Place a file as a careful program does: under a hidden name first, then by a rename."""
        path = self.work / folder / name
        hidden = path.with_name(f".{name}.tmp")
        hidden.write_bytes(text.encode() if isinstance(text, str) else text)
        hidden.rename(path)
        return path

    def where(self, task_id: str) -> str:
        """The folder a task lies in; empty if it is nowhere."""
        found = self._places(task_id)
        if len(found) > 1:  # it may have moved between two looks
            found = self._places(task_id)
        assert len(found) < 2, f"{task_id} is in {found}"
        return found[0] if found else ""

    def _places(self, task_id: str) -> list[str]:
        return [
            folder.name
            for folder in self.work.iterdir()
            if folder.is_dir()
            and folder.name not in ("results", "events", "logs", "schemas", "tools", "runs")
            for suffix in (".yaml", ".yml", ".md")
            if (folder / f"{task_id}{suffix}").exists()
        ]

    def until(self, task_id: str, folder: str, patience: float = PATIENCE) -> None:
        wait_until(
            lambda: (
                (self.work / folder).is_dir()
                and any(
                    (self.work / folder / f"{task_id}{suffix}").exists()
                    for suffix in (".yaml", ".yml", ".md")
                )
            ),
            lambda: (
                f"{task_id} in {folder}/; it is in {self.where(task_id)}, and these ended: "
                + ", ".join(str(event["task_id"]) for event in self.events("task_finished"))
            ),
            patience,
        )

    def settled(self, task_id: str, folder: str) -> None:
        """Until the task has been put away for good: its journal is closed."""
        self.until(task_id, folder)
        wait_until(
            lambda: os.path.exists(self.layout.journal(task_id, closed=True)), f"{task_id} closed"
        )

    def result(self, task_id: str) -> dict:
        from orchestrator.files import results

        return results.read(self.layout, task_id)

    def events(self, kind: str = "", task_id: str = "") -> list[dict]:
        from orchestrator.files import eventreader

        return [
            event
            for event in eventreader.events(self.layout)[0]
            if (not kind or event["event"] == kind) and (not task_id or event["task_id"] == task_id)
        ]

    def log(self, task_id: str, attempt: int = 1, name: str = "stdout.log") -> str:
        path = Path(self.layout.logs(task_id, attempt)) / name
        return path.read_text() if path.exists() else ""


class WatcherProcess:
    """``orchestrator watch`` in the background; its output is in ``text()``."""

    def __init__(self, project: Project, *words: str, prefix: tuple[str, ...] = ()) -> None:
        self.project = project
        self.path = project.root.parent / f"watch-{time.monotonic_ns()}.log"
        self.file = open(self.path, "wb")
        self.process = subprocess.Popen(
            [*prefix, project.python, "-m", "orchestrator", "watch", *words],
            cwd=project.root,
            env=project.env,
            stdin=subprocess.DEVNULL,
            stdout=self.file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def text(self) -> str:
        return self.path.read_text()

    def ready(self) -> WatcherProcess:
        """Until it watches: its card is there and is its own."""

        def check() -> bool:
            assert self.process.poll() is None, self.text()
            try:
                return (
                    json.loads(Path(self.project.layout.watcher_card).read_text())["pid"]
                    == self.process.pid
                )
            except (OSError, ValueError):
                return False

        wait_until(check, "the watcher's card")
        return self

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        return self.process.wait(patience)

    def stop(self) -> None:
        """End it at once; agents go on."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.file.close()


def fresh(folder: Path) -> Project:
    """A fresh project in this folder with a work directory, fast retries and gentle limits."""
    root = folder / "acme-api"
    root.mkdir()
    made = Project(root)
    made.init()
    made.config(
        "retry: {delay: 100ms}\ncancel: {interrupt_grace: 1s, terminate_grace: 500ms}\n"
        "watch: {rescan: 500ms}\n"
        "agents:\n  'true': {tool: shell, command: [/bin/true]}\n  sh: {tool: shell, command: [sh]}\n"
    )
    return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """As `fresh`; for tests that change nothing in it, a file can have one of its own for all of them."""
    return fresh(tmp_path)


@pytest.fixture
def watch(project: Project) -> Iterator[Callable[..., WatcherProcess]]:
    """Starts watchers that are ended, with everything they started, when the test is over."""
    started: list[WatcherProcess] = []

    def start(*words: str, ready: bool = True) -> WatcherProcess:
        watcher = WatcherProcess(project, *words)
        started.append(watcher)
        return watcher.ready() if ready else watcher

    yield start
    for watcher in started:
        watcher.stop()
    end_everything(project)


def end_everything(project: Project) -> None:
    """Kill what still belongs to the project: processes whose environment names it."""
    for pid in tagged(project):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def apart(work: Callable[[], object]) -> int:
    """Run this in a forked process; its exit code.  Whatever it raises, the process never comes back into pytest: it would run
    the other tests as well."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for (not every container's init does) is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def tagged(project: Project) -> list[int]:
    """Pids of tools of this project that are alive."""
    return marked(f"ORCHESTRATOR_WORK={project.work}")


def marked(variable: str) -> list[int]:
    """Pids of processes that have this variable, ``NAME=value``, in their environment."""
    mark = variable.encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:
                continue
    return found
