"""Distributors and adapters of others plug in by entry points, without touching the coordination code."""

from __future__ import annotations

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
    info = site / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "mine.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[orchestrator.distributors]\nelsewhere = mine:Elsewhere\n\n"
        "[orchestrator.adapters]\nupper = mine:Upper\n"
    )
    project.env["PYTHONPATH"] = str(site)


def test_a_distributor_of_others(project):
    install(project)
    project.config("distributor: elsewhere\n")
    project.drop("a.yaml", "prompt: x\n")
    project.run("watch", "--until-empty")
    assert project.where("a") == "done" and project.log("a") == "elsewhere: a\n"
    assert project.result("a")["message"] == "elsewhere: a"


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
