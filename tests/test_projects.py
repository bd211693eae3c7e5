"""Several projects of one person: what belongs to the account is shared, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import Project

from orchestrator.files import holds, projects
from orchestrator.model import hold
from orchestrator.store import holding
from orchestrator.store import projects as store
from orchestrator.testing import End, Tube
from orchestrator.tools.specs import of_account

TOOL = """argv: ['true']
parse: {done: "[?type=='done']", error: "[?type=='error'].message | [0]"}
"""
LIMIT = End(code=1, output='{"type":"error","message":"usage limit reached"}\n')
DONE = End(output='{"type":"done"}\n')


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def made(folder: Path, tool: str) -> Tube:
    tube = Tube(folder, "watch: {rescan: 10m}\nretry: {delay: 5m}\n")
    Path(tube.layout.tools).mkdir()
    Path(tube.layout.tools, f"{tool}.yaml").write_text(TOOL)
    return tube


@pytest.mark.fast
@pytest.mark.parametrize("tool, shared", [("codex", True), ("mine", False)])
def test_a_limit_that_is_hit_in_one_project_holds_the_tool_in_all(tmp_path, tool, shared):
    assert of_account(tool) == shared
    one, other = made(tmp_path / "one", tool), made(tmp_path / "other", tool)
    for tube in (one, other):
        store.add(tube.layout)
    one.plan("a", LIMIT, DONE)
    one.drop("a", f"agent: {tool}\nprompt: x\n")
    one.at(60, lambda: one.watcher.signalled(15))
    one.run(until_empty=False)
    other.clock.move(60)
    other.plan("b", DONE)
    other.drop("b", f"agent: {tool}\nprompt: x\n")
    gates = holds.gates(other.layout, other.clock.wall())
    assert (("tool", tool) in gates) == shared
    other.run()
    assert other.where("b") == "done"
    (began, _, _), = other.started  # fmt: skip
    assert (began >= 295) == shared
    assert not holds.gates(other.layout, other.clock.wall())


@pytest.mark.fast
def test_agents_runs_and_everything_are_held_in_their_project_only(tmp_path):
    one, other = Tube(tmp_path / "one"), Tube(tmp_path / "other")
    for scope in (("agent", "codex"), ("run", "r"), hold.ALL):
        holding.place(one.layout, scope, 0.0, None, "")
    for tube in (one, other):
        store.add(tube.layout)
    shared = Path(holds.shared_folder(one.layout))
    shared.mkdir(parents=True, exist_ok=True)
    (shared / "@all.yaml").write_text("reason: nobody said so\n")
    assert len(holds.gates(one.layout, 1.0)) == 3 and not holds.gates(other.layout, 1.0)


@pytest.mark.fast
def test_whoever_releases_a_shared_tool_releases_it_for_all(tmp_path):
    one, other = Tube(tmp_path / "one"), Tube(tmp_path / "other")
    for tube in (one, other):
        store.add(tube.layout)
    holding.place(one.layout, ("tool", "codex"), 0.0, None, "mine", shared=True)
    assert holding.lift(other.layout, ("tool", "codex"))
    assert not holds.gates(other.layout, 1.0) and not holds.gates(one.layout, 1.0)
    assert not holding.lift(one.layout, ("tool", "codex"))


@pytest.mark.fast
def test_a_project_that_is_not_listed_shares_nothing(tmp_path):
    one, other, apart = (Tube(tmp_path / name) for name in ("one", "other", "apart"))
    for tube in (one, other):
        store.add(tube.layout)
    path = holding.place(apart.layout, ("tool", "codex"), 0.0, None, "its own", shared=True)
    assert path == apart.layout.file("held", "@codex.yaml")
    assert not holds.gates(one.layout, 1.0) and not holds.gates(other.layout, 1.0)
    holding.lift(apart.layout, ("tool", "codex"))
    holding.place(one.layout, ("tool", "codex"), 0.0, None, "theirs", shared=True)
    assert holds.gates(other.layout, 1.0) and not holds.gates(apart.layout, 1.0)


@pytest.mark.fast
def test_names_of_projects(tmp_path):
    one = Tube(tmp_path / "a" / "api")
    other = Tube(tmp_path / "b" / "api")
    assert store.add(one.layout) == "api" == store.add(one.layout)
    with pytest.raises(Exception, match="already"):
        store.add(other.layout)
    assert store.add(other.layout, "second") == "second"
    assert [item.problem for item in projects.listed()] == ["", ""]
    shutil.rmtree(tmp_path / "a")
    Path(other.layout.config).unlink()
    first, second = projects.listed()
    assert "is not there" in first.problem and "work/orchestrator.yaml" in second.problem
    store.remove("api")
    assert [item.name for item in projects.listed()] == ["second"]


def test_one_that_vanishes_or_is_broken_harms_no_other(project, tmp_path):
    project.env["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    project.config("agents: {ok: {tool: shell, command: ['true']}}\n")
    project.run("projects", "add", ".", "--name", "good")
    for name in ("gone", "broken"):
        root = tmp_path / name
        root.mkdir()
        other = Project(root)
        other.env = project.env
        other.run("init")
        other.run("projects", "add")
    (tmp_path / "broken/work/orchestrator.yaml").write_text("limits: [\n")
    shutil.rmtree(tmp_path / "gone")
    nobody = {**project.env, "XDG_CONFIG_HOME": str(tmp_path / "nobody")}
    project.env, mine = nobody, project.env
    assert "no projects" in project.run("list", "--all", code=3).stderr
    project.env = mine
    project.drop("a.yaml", "agent: ok\nprompt: x\n")
    told = {item["name"]: item for item in project.json("status", "--all")["projects"]}
    assert told["good"]["counts"]["waiting"] == 1 and "is not there" in told["gone"]["problem"]
    done = project.run("watch", "--all", "--until-empty", code=1)
    assert project.where("a") == "done", done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "gone" in said and any(
        line.startswith("good ") and " done " in line for line in said.splitlines()
    )
    assert "broken" in said and "orchestrator.yaml" in said
    listed = {item["name"]: item for item in project.json("list", "--all")["projects"]}
    assert [row["id"] for row in listed["good"]["tasks"]] == ["a"]
    assert "is not there" in listed["gone"]["problem"]
    shown = project.run("list", "--all")
    assert shown.stdout.startswith("good") and "gone: " in shown.stderr
    (row,) = project.run("list", "--all", "--jsonl", "--last", "0").stdout.splitlines()
    assert json.loads(row)["project"] == "good"
    figures = {item["name"]: item for item in project.json("report", "--all")["projects"]}
    assert figures["good"]["total"]["tasks"] == 1 and "problem" in figures["gone"]
    shown = project.run("report", "--all")
    assert "1 done" in shown.stdout and "good" in shown.stdout and "gone: " in shown.stderr
    assert (
        "--all can only be combined with"
        in project.run("report", "--all", "--metrics", "-", code=2).stderr
    )
    project.drop("bad.yaml", "promt: x\n")
    needs = {item["name"]: item for item in project.json("review", "--all")["projects"]}
    assert [need["id"] for need in needs["good"]["needs"]] == ["bad"]
    assert "is not there" in needs["gone"]["problem"]
    shown = project.run("review", "--all", code=7)
    assert "needs you" in shown.stdout and "good\tbad\tinvalid" in shown.stdout
    assert "gone: " in shown.stderr
    assert project.json("projects", "remove", "gone")["changed"][0]["to"] is None
    assert "did you mean 'good'" in project.run("projects", "remove", "god", code=3).stderr
