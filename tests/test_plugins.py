"""Distributors and adapters of others plug in by entry points, without touching the coordination code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

MODULE = '''
import asyncio
from orchestrator.distributors.direct import DirectDistributor
from orchestrator.model.attempt import AttemptEnd
from orchestrator.tools.adapters import SpecAdapter
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
import os

class Handle:
    where = ''
    def __init__(self, end): self.end = end
    def cancel(self): pass
    def is_running(self): return False
    async def wait(self): return self.end

class Elsewhere(DirectDistributor):
    """Executes nothing: every attempt has ended with 0 already."""
    def dispatch(self, order, on_started):
        os.close(order.journal)
        on_started(1)
        with open(f"{order.run_dir}/stdout.log", "w") as file:
            file.write(f"elsewhere: {order.task_id}\\n")
        return Handle(AttemptEnd("", code=0))

class Upper(SpecAdapter):
    """Reads every end as a success with a message of its own."""
    def reading(self, route, run_dir, end):
        return Reading(Outcome.SUCCEEDED, exit_code=end.code, message="read by Upper", usage={"input": 7}, cost_usd=0.5)
'''


def install(project) -> None:
    site = project.root.parent / "site"
    site.mkdir()
    (site / "mine.py").write_text(MODULE)
    register(
        project,
        site,
        "[orchestrator.distributors]\nelsewhere = mine:Elsewhere\n\n"
        "[orchestrator.adapters]\nupper = mine:Upper\n",
    )


def register(project, site: Path, entry_points: str) -> None:
    """What pip writes for a package, without pip."""
    info = site / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    project.env["PYTHONPATH"] = str(site)


def their_tests(project, site, *words) -> subprocess.CompletedProcess[str]:
    """pytest in a folder with a package of others."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=site,
        env=project.env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_page_on_distributors_is_true(project):
    """Its files are a package whose tests pass, and its configuration runs tasks."""
    page = (ROOT / "docs/how-to/write-a-distributor.md").read_text()
    site = project.root.parent / "site"
    blocks = re.findall(r"```\w+\n# ([\w./]+)\n(.*?)```", page, re.S)
    for name, text in blocks:
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    point = re.search(r'entry-points."orchestrator.distributors"\]\n(.*?)```', page, re.S)
    register(project, site, f"[orchestrator.distributors]\n{point[1].replace(chr(34), '')}")
    tests = [name for name, _ in blocks if name.startswith("test_")]
    done = their_tests(project, site, *tests)
    assert done.returncode == 0, done.stdout
    assert len(tests) == 3 and "7 passed" in done.stdout

    agents = "agents: {n: {tool: shell, command: [nice]}}\n"
    project.config((site / "work/orchestrator.yaml").read_text() + agents)
    project.drop("a.yaml", "agent: n\nprompt: x\n")
    project.drop("b.yaml", "agent: n\non: calmest\nprompt: x\n")
    project.run("watch", "--until-empty")
    nice = [min(os.nice(0) + more, 19) for more in (10, 19)]  # the tests themselves may be nicer
    assert [int(project.log(task)) for task in ("a", "b")] == nice


BROKEN = """
import os
from orchestrator.distributors.direct import DirectDistributor
from orchestrator.testing import DistributorContract
from mine import Elsewhere

class KeepsTheLock(DirectDistributor):
    def dispatch(self, order, on_started):
        self.kept = os.dup(order.journal)
        return super().dispatch(order, on_started)

class TestElsewhere(DistributorContract):
    def make(self):
        return Elsewhere()

class TestKeepsTheLock(DistributorContract):
    def make(self):
        self.made = KeepsTheLock()
        return self.made
"""


def test_a_distributor_that_breaks_the_contract_is_told_how(project):
    install(project)
    site = project.root.parent / "site"
    (site / "test_broken.py").write_text(BROKEN)
    done = their_tests(project, site, "-k", "told", site)
    assert done.returncode == 1
    assert "started is recorded before on_started is called" in done.stdout
    assert "their tools ended with 5 and 0, their handles say [0, 0]" in done.stdout
    assert "close Order.journal once its end is recorded" in done.stdout


def test_a_distributor_of_others(project):
    install(project)
    project.config("distributor: elsewhere\n")
    project.drop("a.yaml", "prompt: x\n")
    project.run("watch", "--until-empty")
    assert project.where("a") == "done" and project.log("a") == "elsewhere: a\n"
    assert project.result("a")["message"] == "elsewhere: a"


def test_a_distributor_of_others_starts_nothing_that_needs_a_sandbox(project):
    """It gets an order and no walls: whoever asked for them would have none."""
    install(project)
    project.config("distributor: elsewhere\n")
    project.drop("a.yaml", "prompt: x\nsandbox: project\n")
    project.run("watch", "--until-empty", code=1)
    assert project.where("a") == "failed" and project.log("a") == ""
    assert "attempts on this machine (distributor: direct)" in project.result("a")["reason"]


def test_an_adapter_of_others(project):
    install(project)
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools" / "odd.yaml").write_text("argv: [sh, -c, 'exit 3']\nadapter: upper\n")
    project.drop("a.yaml", "agent: odd\nprompt: x\n")
    project.run("watch", "--until-empty")
    result = project.result("a")
    assert result["outcome"] == "succeeded" and result["message"] == "read by Upper"
    assert result["usage"] == {"input": 7} and result["cost_usd"] == 0.5
    assert "$0.50" in project.run("show", "a").stdout


def test_what_is_not_installed_is_named(project):
    project.config("distributor: nowhere\n")
    assert (
        "there is no distributor 'nowhere'" in project.run("watch", "--until-empty", code=6).stderr
    )
    project.config("")
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools" / "odd.yaml").write_text("argv: [sh]\nadapter: missing\n")
    project.drop("a.yaml", "agent: odd\nprompt: x\n")
    project.run("watch", "--until-empty", code=1)
    assert "no adapter 'missing'" in project.result("a")["reason"]


def test_an_empty_configuration_is_all_defaults(project):
    project.config("")
    project.run("validate")
    project.config("# only a comment\n")
    project.drop("a.yaml", "prompt: x\n")
    project.run("watch", "--until-empty")
    assert project.where("a") == "done"


def test_work_that_others_can_write_is_refused(project):
    (project.work / "inbox").chmod(0o777)
    done = project.run("watch", "--until-empty", code=6)
    assert "work/inbox can be written by everyone" in done.stderr and "chmod o-w" in done.stderr
    assert "permissions" in project.run("doctor", code=1).stdout
    (project.work / "inbox").chmod(0o755)
    project.run("watch", "--until-empty")
