"""What is done per task must not depend on how many tasks there ever were.  Counted, not timed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import wait_until

from orchestrator.files.requests import load
from orchestrator.model.units import timestamp, when

COUNT = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" and "/work/" in str(args[0]) else None)
import orchestrator.cli.main as m
try: m.main(sys.argv[1:])
except SystemExit as e: assert not e.code, e.code
print(len(opened), file=sys.stderr)
"""


def counted(project, code: str, *words: str) -> tuple[str, str]:
    """Run this code in a process of its own: the last line of its standard error, where it counts, and its output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=project.root,
        env=project.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stderr.splitlines()[-1], done.stdout


def opens(project, *words: str) -> int:
    return int(counted(project, COUNT, *words)[0])


def finish_many(project, count: int) -> None:
    """As many finished tasks as if they had run long ago."""
    for number in range(count):
        (project.work / "done" / f"old{number:06d}.yaml").write_text("prompt: x\n")
        journal = project.layout.journal(f"old{number:06d}", closed=True)
        with open(journal, "w") as file:
            file.write('{"record":"claim","id":"old"}\n')
        os.utime(journal, (0, 0))  # what ended today is read once, at the start: today's money
    seen = project.work / ".state/review.json"
    if seen.exists():  # and what ended since somebody watched: a watcher was there
        moment = time.time() + 60
        os.utime(seen, (moment, moment))


def test_reading_verbs_open_no_more_files(project):
    for name in ("a", "b", "c"):
        project.drop(f"{name}.yaml", "prompt: x\n")
    project.drop("w.yaml", "prompt: x\nneeds: [zzz]\n")
    project.run("watch", "--until-empty", code=1)
    verbs = [("status",), ("show", "a"), ("why", "w"), ("list", "-n", "3"), ("status", "--short")]
    before = [opens(project, *words) for words in verbs]
    finish_many(project, 5000)
    assert [opens(project, *words) for words in verbs] == before


def test_the_loop_makes_no_more_calls(project):
    """System calls of a whole watch, counted by the kernel's own accounting of context: file descriptors opened."""

    def cost() -> int:
        for _ in range(5):
            project.drop(f"t{os.urandom(4).hex()}.yaml", "agent: 'true'\nprompt: x\n")
        return opens(project, "watch", "--until-empty")

    cost()
    before = cost()
    finish_many(project, 5000)
    assert (
        cost() <= before + 500
    )  # a busy machine lists the inbox more often; each of those 5,000 would be one more


LOOKS = """
import cProfile, pstats, sys
import orchestrator.cli.main as m
profile = cProfile.Profile()
try: profile.runcall(m.main, ["watch", "--until-empty", "-q"])
except SystemExit as e: assert not e.code, e.code
calls = {(path.rpartition("/")[2], name): row[0] for (path, _, name), row in pstats.Stats(profile).stats.items()}
print(calls["~", "<built-in method posix.lstat>"], calls["statuses.py", "of"], file=sys.stderr)
"""
SHAPES = {
    "members": lambda number, count: {},
    "a chain": lambda number, count: {"needs": [f"t{number - 1}"]} if number else {},
    "a fan-in": lambda number, count: {"needs": [f"t{n}" for n in range(number)]} if number == count - 1 else {},
    "a fan-out": lambda number, count: {"needs": ["t0"]} if number else {},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_costs_what_its_tasks_cost(project, shape):
    """Looks at files and questions where a task is, for each task of a run: no more of them in a run four times as large."""

    def looks(run_id: str, count: int) -> tuple[float, float]:
        tasks = {
            f"t{number}": {"agent": "true", "prompt": "x", **SHAPES[shape](number, count)}
            for number in range(count)
        }
        project.drop(f"{run_id}.yaml", json.dumps({"tasks": tasks, "on_failure": "stop"}))
        last, _ = counted(project, LOOKS)
        assert project.where(f"{run_id}.t{count - 1}") == "done"
        files, questions = (int(word) for word in last.split())
        return files / count, questions / count

    small, large = looks("a", 30), looks("b", 120)
    assert large[0] <= 1.3 * small[0]
    assert (
        large[1] <= 2 * small[1]
    )  # it was three times as many where the last one needs all others


def test_a_hundred_thousand_files_keep_nothing_waiting(project, watch):
    """Scaled down to what a test may take: while thousands of files are still to be looked at, a new one runs, and keys work."""
    for number in range(10000):
        (project.work / "inbox" / f"f{number}.yaml").write_text(
            "promt: x\n" if number % 2 else "prompt: x\nhold: true\n"
        )
    watcher, inbox = watch(), project.work / "inbox"
    # From the first note on it has listed the folder: what comes now is told, and is not one of the ten thousand.
    wait_until(lambda: any(inbox.glob("*.error.md")), "it has begun to look")
    project.drop("now.yaml", "agent: 'true'\nprompt: x\n")
    project.until("now", "done")
    looked = len(list(inbox.glob("*.error.md")))
    watcher.send(signal.SIGINT)
    watcher.wait(20)
    assert looked < 4200, "everything was looked at first"


READ = """
import sys
import orchestrator.cli.main as m
try: m.main(sys.argv[1:])
except SystemExit as e: assert not e.code, e.code
print(next(l for l in open("/proc/self/io") if l.startswith("rchar")).split()[1], file=sys.stderr)
"""


def bytes_read(project, *words: str) -> tuple[int, str]:
    """What a verb read from files, counted by the kernel; and what it printed."""
    last, shown = counted(project, READ, *words)
    return int(last), shown


def test_the_last_events_cost_no_more_after_a_long_history(project):
    project.drop("a.yaml", "prompt: x\n")
    project.run("watch", "--until-empty")
    bytes_read(project, "events", "-n", "3")  # compiles modules
    before, printed = bytes_read(project, "events", "-n", "3")
    with open(f"{project.layout.events}/2020-01-01.old.jsonl", "w") as file:
        file.writelines(
            f'{{"ts":"2020-01-01T00:00:00.000Z","event_id":"o{number}","event":"task_submitted"}}\n'
            for number in range(50_000)
        )
    after, again = bytes_read(project, "events", "-n", "3")
    assert again == printed and len(printed.splitlines()) == 3
    assert after <= before + (1 << 17)  # a block of the log, not 4 MB


@pytest.mark.parametrize(
    "verb", [("show", "a"), ("status",), ("status", "-s"), ("list",)], ids=lambda verb: verb[0]
)
def test_what_people_look_at_costs_no_more_after_a_long_history(project, verb):
    """The laws: the log is read from its end or where the task's time is, results are opened for what is shown."""
    project.drop("a.yaml", "prompt: x\n")
    project.run("watch", "--until-empty")
    bytes_read(project, *verb)  # compiles modules
    before, printed = bytes_read(project, *verb)
    kinds = ("task_claimed", "attempt_started", "attempt_finished", "task_finished")
    ended = when(project.events("task_finished", "a")[0]["ts"])
    today = timestamp(ended - 7200)[:10]  # its first minute is more than an hour before the task
    with open(f"{project.layout.events}/{today}.another-watch.jsonl", "w") as file:
        file.writelines(
            f'{{"ts":"{today}T00:00:{number % 60:02d}.000Z","event_id":"o{number}","schema_version":1,'
            f'"event":"{kinds[number % 4]}","task_id":"t{number // 4}","status":"done"}}\n'
            for number in range(40_000)
        )
    for number in range(2000):
        (project.work / f"done/t{number}.yaml").write_text("prompt: x\n")
    after, again = bytes_read(project, *verb)
    assert after <= before + (1 << 19), "the end of the log, not 6 MB; no file of each task"
    assert verb[0] != "show" or again == printed


def test_a_large_run_keeps_nothing_waiting(project, watch):
    """It is expanded in a thread: a task that is dropped meanwhile starts and ends before the run's tasks are there."""
    project.config("agents:\n  'true': {tool: shell, command: ['true']}\n")
    tasks = {f"t{number}": {"agent": "true", "prompt": "x", "hold": True} for number in range(3000)}
    watch()
    project.drop("big.yaml", json.dumps({"tasks": tasks}))
    project.drop("small.yaml", "agent: 'true'\nprompt: x\n")
    project.settled("small", "done")
    inbox = project.work / "inbox"
    wait_until(lambda: len(list(inbox.glob("big.t*.yaml"))) == 3000, "all are there", 120)
    assert (project.work / "runs/big.yaml").exists()


def test_a_run_has_ten_thousand_tasks_at_most(tmp_path):
    """Its tasks are counted apart from the values in them."""
    tasks = "".join(f"  t{number}: {{agent: t, prompt: x}}\n" for number in range(10_000))
    assert not load("r.yaml", "r", f"tasks:\n{tasks}".encode()).problems
    (problem,) = load("r.yaml", "r", f"tasks:\n{tasks}  more: x\n".encode()).problems
    assert "more than 10,000 tasks" in problem.message and problem.line == 10_002


STEPS = """
import cProfile, json, os, pstats, sys
import orchestrator.cli.main as m
profile = cProfile.Profile()
try: profile.runcall(m.main, ["watch", "--until-empty", "-q"])
except SystemExit as e: assert not e.code, e.code
calls = {}
for (path, _, name), row in pstats.Stats(profile).stats.items():
    step = f"{os.path.basename(path)}:{name}" if path.endswith(".py") else name
    calls[step] = calls.get(step, 0) + row[0]
print(json.dumps(calls), file=sys.stderr)
"""


def test_a_plain_task_is_run_without_detours(project):
    """What the loop does for each: no other thread but the one that commits, its journal is read once, and so are the folders."""
    count = 40
    project.config("agents:\n  t: {tool: shell, command: ['true']}\n")
    project.drop("first.yaml", "agent: t\nprompt: x\n")
    project.run("watch", "--until-empty")  # the work directory is as it stays
    for number in range(count):
        project.drop(f"t{number}.yaml", "agent: t\nprompt: x\n")
    last, _ = counted(project, STEPS)
    calls = json.loads(last)
    assert len(project.events("task_finished")) == count + 1
    assert calls["base_events.py:run_in_executor"] < count / 4
    assert calls.get("aside.py:_begin", 0) < count / 4
    assert calls["ledger.py:_read"] < 1.25 * count
    assert calls["places.py:_check_each"] < count / 4
