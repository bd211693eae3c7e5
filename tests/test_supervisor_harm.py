"""What an agent puts where its supervisor looks: no limit is escaped by it, and a fault of ours is told."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from test_supervisor import Bench, run

from orchestrator.distributors.base import Order
from orchestrator.execution import orphans
from orchestrator.store import owned


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def agent(bench: Bench, script: str, **more) -> Order:
    """An attempt of Python that begins in its log folder, and may ask and be told."""
    text = f"import fcntl, json, os, signal, time\nos.chdir({str(bench.folder / '1')!r})\n{script}"
    order = bench.order("/usr/bin/env", "python3", "-c", text, **more)
    for name in ("asked", "answers", "words"):
        os.mkdir(f"{order.run_dir}/{name}")
    return order


PIPE = "os.mkfifo({0!r})\n"
HELD = PIPE + "held = os.open({0!r}, os.O_RDWR)\n"
WILES = {
    "settled": PIPE.format("settled") + "os.kill(os.getppid(), signal.SIGTERM)\n",
    "settled-held": HELD.format("settled") + "os.kill(os.getppid(), signal.SIGTERM)\n",
    "settled-link": "os.symlink('/dev/ptmx', 'settled')\nos.kill(os.getppid(), signal.SIGTERM)\n",
    "words-over": PIPE.format("words/over"),
    "words": PIPE.format("words/0.a.json"),
    "words-held": HELD.format("words/0.a.json"),
    "words-hole": "os.truncate(os.open('words/0.a.json', os.O_CREAT | os.O_RDWR), 1 << 36)\n",
    "words-folder": "os.mkdir('words/0.a.json')\n",
    "asked-number": "question = {'tool': 'x', 'since': 10 ** 400}\n",
    "asked-deep": "question = None\n",
}
ASKED = (
    "name = 'asked/' + 32 * 'a' + '.json'\n"
    "file = open(name, 'w')\n"
    "file.write('[' * 90000 if question is None else json.dumps(question))\n"
    "file.flush()\n"
    "fcntl.flock(file, fcntl.LOCK_EX)\n"
)


@pytest.mark.parametrize("what", WILES)
def test_what_an_agent_puts_where_its_supervisor_looks_gets_it_past_no_limit(bench, what):
    script = WILES[what] + (ASKED if what.startswith("asked") else "")
    words = {"end": '"the end"', "taken": '"taken"'} if what.startswith("words") else {}
    script += "print('there', flush=True)\ntime.sleep(300)\n"
    end = run(agent(bench, script, timeout=1.0, words=words))
    assert "there" in bench.out()
    assert end.cause == "timeout"


def test_a_leash_that_is_no_file_has_ended(bench):
    leash = str(bench.folder / "leash")
    os.mkfifo(leash)
    assert run(agent(bench, "time.sleep(300)\n", leash=leash, leash_limit=60.0)).cause == "leash"


SECRET = "hunter2-hunter2"


def test_what_ends_a_supervisor_is_kept_beside_its_logs_and_ends_its_tool(bench):
    """A fault of ours (here: a job that makes no sense) leaves more than an attempt that is lost."""
    leash = bench.folder / "leash"
    leash.write_text("0.0")
    order = bench.sh(
        "echo $$ > pid; sleep 300", leash=str(leash), leash_limit=SECRET, secrets=(SECRET,)
    )
    (bench.folder / "1/supervisor.log").mkdir()
    end = run(order)
    said = (bench.folder / "1/supervisor.log").read_text()
    assert end.cause == "lost"
    assert said.startswith("Traceback") and "ValueError" in said and "attemptlimits" in said
    assert SECRET not in said and "*" * len(SECRET) in said


def test_what_ended_a_supervisor_is_told(project, watch):
    script = (
        "cd $ORCHESTRATOR_ARTIFACTS/..; echo 'ValueError: no number' > supervisor.log;"
        " kill -9 $PPID"
    )
    project.config(
        f"tools: {{shell: {{allow: [sh]}}}}\nagents: {{a: {{tool: shell, command: {json.dumps(['sh', '-c', script])}}}}}\n"
    )
    project.drop("x.yaml", "agent: a\nprompt: x\n")
    project.run("watch", "--until-empty", code=None)
    for verb in ("why", "show"):
        assert "its supervisor failed: ValueError: no number" in project.run(verb, "x").stdout


def test_a_folder_that_became_a_link_is_given_to_nobody(bench):
    real, link = bench.folder / "real", bench.folder / "link"
    real.mkdir()
    link.symlink_to(real)
    end = run(bench.sh("readlink /proc/self/fd/4", pins=(str(real),)))
    assert (end.code, bench.out()) == (0, f"{real}\n")
    end = run(bench.sh("touch ran", pins=(str(real), str(link))))
    assert end.cause == "start" and "leads elsewhere" in end.message
    assert not (bench.folder / "ran").exists()


def test_only_what_an_attempt_left_is_taken_for_that():
    """What we begin ourselves (git in our session, setup and checks in theirs) is nobody's."""
    sleep = ["sleep", "60"]
    begun = [
        subprocess.Popen(sleep),
        owned.begin(lambda: subprocess.Popen(sleep, start_new_session=True)),
        subprocess.Popen(sleep, start_new_session=True),
    ]
    try:
        found = orphans.found(0.0)
        assert [process.pid in found for process in begun] == [False, False, True]
        assert begun[2].pid not in orphans.found(orphans.now() + 60)
    finally:
        for process in begun:
            process.kill()
            process.wait()
