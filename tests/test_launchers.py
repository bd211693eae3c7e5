"""Engines that start workers, as stand-ins that start real processes, over a folder that both sides see.

The real Slurm, sshd and Dagu are in test_launchers_real.py (scripts/test-engines).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import SharedFolder
from conftest import wait_until
from engine_stand_ins import Engine, KestraServer
from farms import LEASE, Farm

PROGRAM = Path(sys.executable).parent / "orchestrator"


class Site:
    """A watcher's project with one launcher, and an engine that starts workers in another project."""

    def __init__(
        self, folder: Path, preset: str, engine: Engine | KestraServer | None, more: str = ""
    ) -> None:
        self.farm = Farm(folder, SharedFolder("folder", folder / "broker"))
        self.engine, self.folder, self.preset = engine, folder, preset
        near = self.farm.near
        text = (near.work / "orchestrator.yaml").read_text()
        shared = f"{folder}/broker/mounted/orchestrator"
        near.config(
            text[: text.index("distributors:")]
            + f"distributors:\n  far: {{kind: launcher, preset: {preset}, folder: {shared}, lease: {LEASE}s, leash: 30s,"
            + f" project: {self.farm.far.root}, program: {PROGRAM}{more}}}\n"
        )
        near.env.pop("ORCHESTRATOR_QUEUE", None)
        if isinstance(engine, Engine):
            near.env["PATH"] = f"{engine.bin}:{near.env['PATH']}"

    def drop(
        self, task: str, script: str, agent: str = "sh", more: str = "", on: str = "far"
    ) -> None:
        lines = "".join(f"  {line}\n" for line in script.splitlines())
        self.farm.near.drop(f"{task}.yaml", f"agent: {agent}\non: {on}\nprompt: |\n{lines}{more}")

    def set(self, more: str) -> None:
        path = self.farm.near.work / "orchestrator.yaml"
        self.farm.near.config(path.read_text() + more)

    def says(self, verb: str, words: str, *more: str) -> None:
        wait_until(
            lambda: words in self.farm.near.run(verb, *more).stdout, f"{verb} says {words!r}"
        )

    def spools(self) -> list[Path]:
        return list(self.folder.glob("home-far*/.local/state/orchestrator/spool/once/*/*"))


@pytest.fixture
def site(request, tmp_path) -> Iterator[Site]:
    kind, *more = getattr(request, "param", ("slurm",))
    made = Site(tmp_path, kind, Engine(kind, tmp_path / "engine", tmp_path / "home-far"), *more)
    yield made
    made.farm.close()


MORE = {"slurm": "", "ssh": ", host: gpu1", "kubernetes": ", image: i"}


@pytest.mark.parametrize("site", MORE.items(), indirect=True, ids=MORE)
def test_a_dirty_tree_goes_out_and_a_branch_comes_back(site):
    farm = site.farm
    (farm.near.root / "f").write_text("one\n")
    farm.git(farm.near, "add", "f")
    farm.git(farm.near, "commit", "-qm", "base")
    (farm.near.root / "f").write_text("one\ndirty\n")
    site.drop("seen", "cat f; echo $HOME")
    site.drop("changed", "echo more >> f", agent="ed")
    farm.near.run("watch", "--until-empty")
    assert farm.log("seen").decode().splitlines() == ["one", "dirty", f"{site.folder}/home-far"]
    assert farm.git(farm.near, "show", "task/changed:f") == "one\nmore\n"
    wait_until(lambda: not site.spools(), "workers leave nothing behind")
    farm.watch()  # the first one may have left before the engine was told of the end
    jobs = f"{farm.near.layout.state}/queues/far.jobs"
    wait_until(lambda: not os.listdir(jobs), "no job is remembered")
    if site.preset == "kubernetes":
        pods = {words[1] for words in site.engine.calls("kubectl") if words[0] == "run"}
        gone = {words[2] for words in site.engine.calls("kubectl") if words[0] == "delete"}
        assert len(pods) == 2 and pods == gone


def test_a_job_that_is_started_twice_runs_once_and_one_that_its_engine_ends_is_lost(site):
    runs = site.folder / "runs"
    site.set("on_lost: retry\ndefaults: {retries: 1}\n")
    site.engine.mode("twice")
    site.drop("a", f"echo run >> {runs}; echo begun; while :; do sleep 0.05; done")
    site.farm.watch()
    site.farm.until_printed("a", b"begun")
    log = next((site.folder / "broker").glob("mounted/orchestrator/log/*.log"))
    wait_until(lambda: "nothing is left to be done" in log.read_text(), "the second one leaves")
    assert runs.read_text() == "run\n"
    site.engine.mode("well")
    # As scancel, a time limit or a preemption do it: its watcher hears of it at once.
    wait_until(lambda: len(_workers(site.spools())) == 1, "the second one is gone")
    os.kill(_workers(site.spools())[0], signal.SIGTERM)
    site.farm.until_printed("a", b"begun", attempt=2)
    assert runs.read_text() == "run\n" * 2
    assert site.farm.near.events("task_retrying")
    site.farm.near.run("cancel", "a")
    site.farm.near.settled("a", "cancelled")
    wait_until(lambda: not site.spools(), "workers leave nothing behind")


def _workers(spools: list[Path]) -> list[int]:
    """The processes that run the dispatches in these spools; those that they have forked look like them."""
    ours = [path.name.encode() for path in spools]
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            parent = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"--once" in words and any(word in ours for word in words):
            found[int(name)] = parent
    return [pid for pid, parent in found.items() if parent not in found]


def test_what_waits_at_an_engine_is_shown_and_can_be_cancelled_and_taken_over(site):
    near, engine = site.farm.near, site.engine
    engine.mode("refuse: invalid partition")
    watcher = site.farm.watch()
    site.drop("a", "echo ran")
    site.says("why", "invalid partition", "a")
    engine.mode("hold")
    site.says("why", "job 100: PENDING", "a")
    site.says("workers", "job 100: PENDING")
    submitted = len(engine.calls("sbatch"))
    watcher.send(signal.SIGKILL)
    watcher.wait()
    site.farm.watch()
    site.says("why", "job 100: PENDING", "a")
    assert len(engine.calls("sbatch")) == submitted
    near.run("cancel", "a")
    near.settled("a", "cancelled")
    wait_until(lambda: engine.calls("scancel") == [["100"]], "the job is taken out of the queue")


@pytest.mark.parametrize("site", [("slurm", ", labels: {gpu: [--gres=gpu:1]}")], indirect=True)
def test_jobs_that_end_before_their_worker_came_are_started_again_and_then_given_up(
    site,
):
    engine = site.engine
    engine.mode("fail")
    site.drop("a", "echo never", on="far+gpu")
    site.farm.near.run("watch", "--until-empty", code=1, patience=180)
    result = site.farm.near.result("a")
    message = result["reason"]
    assert "3 jobs at far ended before their worker took it" in message, result
    assert "FAILED" in message and "no such account" in message, result
    calls = engine.calls("sbatch")
    assert len(calls) == 3 and all("--gres=gpu:1" in words for words in calls)
    assert len({words[1] for words in calls}) == 3  # each with a name of its own


def test_kestra_is_believed_nothing(tmp_path):
    """It starts the same twice, loses answers, says KILLED of what lives, and starts again by itself."""
    site = Site(tmp_path, "kestra", None)
    kestra = KestraServer(tmp_path / "home-far", site.farm.near.env)
    site.farm.near.env["KESTRA_URL"] = kestra.url
    try:
        runs, go = tmp_path / "runs", tmp_path / "go"
        kestra.lose_answers = 1
        site.drop(
            "a",
            f"echo run >> {runs}; echo begun; while [ ! -e {go} ]; do sleep 0.05; done; echo end; echo odd >&2; exit 0",
        )
        site.farm.watch()
        site.farm.until_printed("a", b"begun")
        assert kestra.starts == ["x0"]  # it was asked before it was told again
        dispatch = kestra.executions["x0"]["dispatch"]
        label = kestra.executions["x0"]["label"]
        kestra.answer(
            "POST",
            f"/api/v1/executions/orchestrator/{next(iter(kestra.flows))}?labels={label}",
            _form(dispatch),
        )
        kestra.executions["x0"]["killed"] = True  # it says so, and the program lives on
        kestra.restart("x0")
        wait_until(
            lambda: [process.poll() for process in kestra.processes[1:]] == [0, 0],
            "the others leave",
        )
        go.write_text("")
        site.farm.near.settled("a", "done")
        assert runs.read_text() == "run\n" and site.farm.log("a") == b"begun\nend\n"
        wait_until(lambda: kestra.processes[0].poll() == 0, "the worker leaves")
        assert kestra.processes[0].stderr.read() == b""  # which would be a WARNING
        assert set(kestra.auth) == {"Basic bWU6c2VjcmV0"}
        assert "secret" not in "".join(
            path.read_text() for path in site.farm.near.work.rglob("*.y*ml")
        )
    finally:
        site.farm.close()
        kestra.close()


def _form(dispatch: str) -> bytes:
    return f'--m\r\nContent-Disposition: form-data; name="dispatch"\r\n\r\n{dispatch}\r\n--m--\r\n'.encode()
