"""What would take long is judged in a process that can be killed; nothing else waits for it, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest
from conftest import wait_until

from orchestrator import waiting
from orchestrator.coordination.intake import (
    Heavy,
    Intake,
    Invalid,
    RunFile,
    TaskFile,
    understand,
)
from orchestrator.coordination.largefiles import LargeFiles, Verdict
from orchestrator.coordination.news import About, Remark, RunBegun, Started
from orchestrator.coordination.settings import Settings
from orchestrator.files import schemas
from orchestrator.files.configuration import load_config
from orchestrator.files.requests import Content, read
from orchestrator.testing.tube import Tube
from orchestrator.tools.specs import load_tools


def run_of(tasks: int) -> str:
    return "tasks:\n" + "".join(f"  t{n}: {{agent: ok, prompt: x}}\n" for n in range(tasks))


@pytest.fixture
def tube(tmp_path: Path) -> Tube:
    return Tube(tmp_path)


@pytest.fixture
def judges(tube):
    settings = Settings(
        tube.layout,
        lambda: (load_config(tube.layout, schemas.check), load_tools(tube.layout)),
    )
    made = LargeFiles(tube.layout, settings)
    yield made
    made.close()


def content_of(tube: Tube, task_id: str, text: str) -> Content:
    tube.drop(task_id, text)
    return read(tube.layout.file("inbox", f"{task_id}.yaml"))


def verdict(judges: LargeFiles) -> Verdict:
    found: list[Verdict] = []
    wait_until(lambda: found.extend(judges.ended()) or found)
    return found[0]


def pids() -> list[int]:
    """The processes that judge for us."""
    found = []
    for name in Path(f"/proc/{os.getpid()}/task").iterdir():
        found += [int(pid) for pid in (name / "children").read_text().split()]
    return [pid for pid in found if b"coordination.judge" in command(pid)]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def the_process() -> int:
    wait_until(pids)
    return pids()[0]


def test_others_start_while_a_large_run_is_judged(tube):
    tube.drop("big", run_of(250).replace("}", ", hold: true}"))
    tube.drop("small")
    tube.run()
    told = [type(item) for item in tube.news if isinstance(item, (Started, RunBegun))]
    assert told[:2] == [Started, RunBegun]


class Broken:
    """Rules by which nothing can be judged."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    @property
    def config(self):
        raise self.error


MACHINES = (
    *(OSError(number, "x") for number in (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENOMEM)),
    *(MemoryError(), RuntimeError("can't start new thread")),
)
FILES = OSError(errno.ENOENT, "x"), RuntimeError("x"), RecursionError(), KeyError("x")


@pytest.mark.parametrize("error", [*MACHINES, *FILES], ids=repr)
def test_whoever_is_to_blame_no_exception_stops_the_watcher(tube, error):
    content = content_of(tube, "a", "agent: ok\nprompt: x\n")
    with pytest.raises(type(error)) if error in MACHINES else nullcontext():
        look = understand(tube.layout, Broken(error), "a.yaml", content)
        assert isinstance(look, Invalid)
        assert look.problems[0].message == f"internal error: {type(error).__name__}"


@pytest.mark.parametrize("tasks, apart", [(200, False), (201, True)])
def test_a_run_of_many_tasks_is_judged_apart(tube, judges, tasks, apart):
    content_of(tube, "a", run_of(tasks))
    look = Intake(tube.layout, judges._rules).look("a.yaml", renamed=True, light=True)
    assert type(look) is (Heavy if apart else RunFile)


def test_it_says_the_same_as_where_others_wait(tube, judges):
    texts = {
        "run": run_of(300),
        "task": "agent: ok\nprompt: |\n" + "  a line\n" * 8000,
        "wrong": "agent: ok\nlabels:\n" + "".join(f"- l{n}\n" for n in range(8000)),
    }
    here = Intake(tube.layout, judges._rules)
    kinds = []
    for name, text in texts.items():
        content = content_of(tube, name, text)
        judges.begin(f"{name}.yaml", content)
        look = verdict(judges).look
        other = here.look(f"{name}.yaml", renamed=True)
        for key in ("signature", "run", "task", "chain", "problems", "document", "digest"):
            assert getattr(look, key, None) == getattr(other, key, None)
        kinds.append(type(look))
    assert kinds == [RunFile, TaskFile, Invalid]


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGSTOP, "it took longer than 2 s to judge"),
        (signal.SIGXCPU, "it took longer than 30 s of processor time to judge"),
        (signal.SIGSEGV, "the process that judged it crashed (SIGSEGV)"),
    ],
)
def test_a_judge_that_does_not_come_to_an_end_costs_that_file_only(tube, judges, number, why):
    judges.seconds = 2.0
    judges.begin("big.yaml", content_of(tube, "big", run_of(6000)))
    pid = the_process()
    os.kill(pid, number)
    look = verdict(judges).look
    assert isinstance(look, Invalid)
    assert look.problems[0].message == why
    assert pid not in pids()
    judges.seconds = 60.0
    judges.begin("next.yaml", content_of(tube, "next", run_of(300)))
    assert isinstance(verdict(judges).look, RunFile)


def test_a_judge_has_so_much_time_and_memory(tube, judges):
    judges.begin("big.yaml", content_of(tube, "big", run_of(300)))
    assert isinstance(verdict(judges).look, RunFile)
    limits = Path(f"/proc/{the_process()}/limits").read_text()
    found = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
    assert int(found["Max address space"]) == 2 << 30
    assert 30 <= int(found["Max cpu time"]) < 60


def test_a_judge_that_somebody_kills_is_replaced(tube, judges):
    judges.begin("big.yaml", content_of(tube, "big", run_of(3000)))
    os.kill(the_process(), signal.SIGKILL)
    assert isinstance(verdict(judges).look, RunFile)


def test_no_process_to_be_had_is_the_machines_fault(tube, judges, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    content = content_of(tube, "big", run_of(300))
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    opened = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, hard))
        while True:
            try:
                opened.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        judges.begin("big.yaml", content)
        wait_until(lambda: not judges._verdicts.empty())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in opened:
            os.close(fd)
    error = verdict(judges).error
    assert isinstance(error, OSError)
    assert error.errno == 24


@contextmanager
def no_thread_to_be_had() -> Iterator[None]:
    """Each new one would need more memory for its stack than this process may have."""
    before, (soft, hard) = threading.stack_size(1 << 30), resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 29), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        threading.stack_size(before)


def test_no_thread_to_be_had_is_the_machines_fault(tube):
    """It waits until there is one again: neither is the file to blame, nor is it forgotten."""
    with ExitStack() as shortage:

        def begin() -> None:
            shortage.enter_context(no_thread_to_be_had())
            tube.drop("big", run_of(250).replace("}", ", hold: true}"))

        tube.drop("small")
        tube.at(0, begin)
        tube.at(6, shortage.close)
        tube.run()
    told = [item for item in tube.news if isinstance(item, Remark)]
    faults = {item.text for item in told if item.about is About.FAULT}
    assert faults == {"can't start new thread"}
    assert not [item for item in told if item.about is About.INVALID]
    assert [item for item in tube.news if isinstance(item, RunBegun)]


def test_what_is_asked_beside_the_loop_is_asked_in_it_where_there_is_no_thread():
    with no_thread_to_be_had():
        assert asyncio.run(waiting.beside(lambda: 7)) == 7


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "tasks:\n"
            + "".join(f"  t{n}: {{matrix: {{a: {list(range(500))}}}, agent: ok, prompt: 'x {{a}}'}}\n" for n in range(21)),
            "the run makes 10,500 tasks, more than 10,000",
        ),
        (
            f"defaults: {{agent: ok, env: {{ORCHESTRATOR_VAR_X: {'x' * 100_000}}}}}\ntasks:\n"
            + "".join(f"  t{n}: {{prompt: x}}\n" for n in range(1000)),
            "its tasks would be 95 MiB together, more than 64",
        ),
        (
            f"tasks:\n  a: {{matrix: {{a: {list(range(500))}}}, agent: ok, prompt: '{'{a}' * 40_000}'}}\n",
            "its tasks would be",
        ),
        (
            f"tasks:\n  a: {{matrix: {{a: {list(range(450))}}}, agent: ok, prompt: 'x {{a}}'}}\n"
            + "".join(f"  t{n}: {{agent: ok, prompt: x, needs: [a]}}\n" for n in range(5000)),
            "its tasks would be",
        ),
    ],
    ids=["tasks", "defaults", "values", "needs"],
)  # fmt: skip
def test_a_few_lines_make_no_more_than_a_machine_holds(tube, text, why):
    tube.drop("bomb", text)
    tube.drop("small")
    tube.run()
    assert tube.remarks(About.INVALID) == ["bomb"]
    assert [item.text.partition(" ")[2][: len(why)] for item in tube.of(Remark)] == [why]
    assert [task_id for _, task_id, _ in tube.started] == ["small"]
