# ruff: noqa: F811 - fixtures come by their names
"""A dry run judges as the verb does, whatever state a task is in, and writes nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from conftest import wait_until
from test_architecture import WRITING
from test_trees import Repo, persons, repo  # noqa: F401

VERBS = {
    "hold": ("hold",),
    "release": ("release",),
    "cancel": ("cancel",),
    "retry": ("retry",),
    "fresh": ("retry", "--fresh"),
    "conflict": ("retry", "--conflict"),
    "approve": ("approve",),
    "reject": ("reject",),
    "archive": ("archive",),
}
STATES = "waiting held invalid cancelled done failed review archive".split()


def files(root: Path) -> dict[str, str]:
    """All that lies in the work directory; the locks of merges are nobody's business."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / "work").rglob("*"))
        if path.is_file() and not path.name.startswith("merge-")
    }


def both(project, *words: str) -> tuple[dict, dict]:
    """What a verb says with ``-n``, which changes no byte, and what it does afterwards."""
    before = files(project.root)
    told = project.run(*words, "-n", "--json", code=None)
    assert files(project.root) == before
    done = project.run(*words, "--json", code=None)
    assert told.returncode == done.returncode
    return json.loads(told.stdout), json.loads(done.stdout)


def test_every_verb_in_every_state(project):
    project.config("agents: {sh: {tool: shell, command: [sh]}}\nlimits: {running: 8}\n")
    names = {state: [f"{verb}-{state}" for verb in VERBS] for state in STATES}
    for state, words in (("done", "exit 0"), ("archive", "exit 0"), ("failed", "exit 3")):
        for name in names[state]:
            project.drop(f"{name}.yaml", f"agent: sh\nprompt: {words}\n")
    for name in names["review"]:
        project.drop(f"{name}.yaml", "agent: sh\nreview: always\nprompt: exit 0\n")
    project.run("watch", "--until-empty", code=None)
    project.run("archive", *names["archive"])
    for state in ("waiting", "held", "cancelled"):
        for name in names[state]:
            project.drop(f"{name}.yaml", "agent: sh\nprompt: exit 0\n")
    for name in names["invalid"]:
        project.drop(f"{name}.yaml", "promt: x\n")
    project.run("hold", *names["held"])
    project.run("cancel", *names["cancelled"])
    for verb, words in VERBS.items():
        told, done = both(project, *words, *(f"{verb}-{state}" for state in STATES))
        assert told == done, verb
        assert done["changed"] or verb in ("fresh", "conflict")


def test_a_running_task(project, watch):
    project.config("agents: {sh: {tool: shell, command: [sh]}}\n")
    project.drop("t.yaml", "agent: sh\nprompt: sleep 60\n")
    watch()
    wait_until(lambda: project.where("t") == "running")
    for words in VERBS.values():
        told, done = (
            json.loads(project.run(*words, "t", *more, "--json", code=None).stdout)
            for more in (["-n"], [])
        )
        assert told == done, words


def test_a_file_of_this_name_is_in_the_way(project):
    """Of every folder that a verb moves a task to."""
    for verb, (source, target) in {
        "hold": ("inbox", "held"),
        "release": ("held", "inbox"),
        "cancel": ("inbox", "cancelled"),
        "reject": ("review", "failed"),
        "archive": ("done", "archive"),
    }.items():
        project.drop(f"{verb}.yaml", "prompt: x\n", source)
        project.drop(f"{verb}.yaml", "prompt: y\n", target)
        told, done = both(project, verb, verb)
        assert told == done and told["refused"], verb


def test_a_rejection_that_is_refused_is_not_told(project):
    """The reason was noted for the next attempt before it was clear that there is nothing to say."""
    project.drop("t.yaml", "agent: demo\nreview: always\nprompt: x\n")
    project.run("watch", "--until-empty", code=None)
    project.drop("t.yaml", "prompt: y\n", "failed")
    before = files(project.root)
    project.run("reject", "t", "not like this", code=1)
    assert files(project.root) == before


@pytest.mark.parametrize("way", ["conflict", "edit", "file", "clean"])
def test_what_is_in_the_way_of_a_merge(repo: Repo, way):
    repo.do("x", "echo four >> src/a.txt; echo new > b.txt")
    if way == "conflict":
        (repo.root / "src/a.txt").write_text("one\ntwo\nthree\nfive\n")
        repo.git("commit", "-qam", "mine")
    elif way == "edit":
        (repo.root / "src/a.txt").write_text("mine\n")
    elif way == "file":
        (repo.root / "b.txt").write_text("mine\n")
    before = persons(repo.root)
    shown = repo.run("approve", "x", "-n", code=None)
    assert persons(repo.root) == before
    if way == "clean":
        assert shown.stdout == "would approve x (review now), and merge task/x into main\n"
        assert repo.run("retry", "x", "--conflict", "-n", code=1).stdout == ""
    told, done = both(repo, "approve", "x")
    assert told == done and bool(done["refused"]) == (way != "clean")
    if way == "conflict":
        assert both(repo, "retry", "--conflict", "x")[1]["changed"]


def test_a_merged_task_is_not_approved_twice_on_paper(repo: Repo):
    repo.do("x", "echo four >> src/a.txt")
    repo.run("approve", "x")
    told, done = both(repo, "approve", "x")
    assert told == done and "nothing waits for approval" in told["refused"][0]["why"]


def test_a_tree_that_holds_something_is_not_replaced_on_paper_either(repo: Repo):
    repo.do("x", "mkdir ignored; echo dear > ignored/notes; echo four >> src/a.txt")
    told, done = both(repo, "retry", "--fresh", "x")
    assert told == done and "ignored/notes" in told["refused"][0]["why"]
    (repo.tree("x") / "ignored/notes").unlink()
    told, done = both(repo, "retry", "--fresh", "x")
    assert told == done and told["changed"]


def test_a_plan_and_a_reply_through_git(project):
    project.drop("g.yaml", "agent: demo\nplan: true\nprompt: |\n  Do it\n  demo: write g.md x\n")
    project.run("watch", "--until-empty", code=None)
    told, done = both(project, "approve", "g")
    assert told == done and told["changed"] == [{"id": "g", "from": "review", "to": "waiting"}]


def test_a_contest_that_is_rejected(repo: Repo):
    repo.config("isolation: worktree\nagents: {a: {tool: fake}, b: {tool: fake}}\n")
    repo.do("fix", "echo four >> src/a.txt", code=7, compete=["a", "b"])
    told, done = both(repo, "reject", "fix", "not good enough")
    assert told == done and told["changed"] == [{"id": "fix", "from": "review", "to": "failed"}]


def test_names_that_are_taken(project, tmp_path):
    project.run("new", "x", "--id", "a")
    told, done = (project.run("new", "x", "--id", "a", *more, code=1) for more in (["-n"], []))
    assert told.stderr == done.stderr and "already a task 'a'" in told.stderr
    assert "already a task 'a'" in project.run("new", "x", "--id", "A", code=1).stderr
    project.run("new", "x y z")
    name = project.run("new", "x y z", "-n").stderr.split("work/inbox/")[1].split(".yaml")[0]
    made = project.run("new", "x y z").stdout
    assert f"/{name}.yaml" in made and name.endswith("-2")
    (project.work / "schedules").mkdir(exist_ok=True)
    (project.work / "schedules/s.yaml").write_text("every: 1h\ntask: {prompt: x}\n")
    first = project.run("schedules", "s", "--now").stdout
    again = [project.run("schedules", "s", "--now", *more, code=None) for more in (["-n"], [])]
    if again[1].returncode:  # still the same minute
        assert again[0].returncode and first.strip().split("/")[-1][:-5] in again[0].stderr


OF_ANOTHER_KIND = set("watch attach demo service mcp worker report".split())  # nothing of ours


def test_every_verb_that_changes_something_can_say_what_it_would_do(project):
    """`reply`, `edit`, `init` and `run` could not."""
    assert OF_ANOTHER_KIND <= WRITING
    for verb in sorted(WRITING - OF_ANOTHER_KIND):
        assert "-n, --dry-run" in project.run(verb, "--help").stdout, verb


def test_a_reply_a_run_and_an_edit_on_paper(project):
    project.config("agents: {sh: {tool: shell, command: [sh]}}\n")
    project.drop("d.yaml", "agent: sh\nprompt: exit 0\n")
    project.run("watch", "--until-empty")
    project.drop("w.yaml", "agent: sh\nprompt: exit 0\n")
    project.drop("late.yaml", "agent: sh\nprompt: exit 0\nneeds: [w]\n")
    told, done = both(project, "run", "w", "late", "d")
    assert [item["id"] for item in told["refused"]] == ["late", "d"]
    assert (told["changed"][0]["id"], told["changed"][0]["to"]) == ("w", "running")
    assert done["changed"][0]["to"] == "done"  # what its attempt came to is known afterwards
    told, done = both(project, "reply", "d", "late", "go on")
    assert told == done and [item["to"] for item in told["changed"]] == ["waiting", "waiting"]
    before = files(project.root)
    assert "would open work/inbox/d.yaml" in project.run("edit", "d", "-n").stdout
    assert files(project.root) == before


def test_a_project_that_would_be_made(project, tmp_path):
    root = tmp_path / "new"
    root.mkdir()
    words = ("-C", str(root), "init", "--agents", "all", "--json")
    told = project.json(*words[:-1], "-n")
    assert not list(root.iterdir())
    assert told == project.json(*words[:-1])
    before = files(root)
    assert project.json("-C", str(root), "init", "-n")["changed"] == []
    removed = project.json("-C", str(root), "init", "--agents", "none", "-n")["changed"]
    assert (root / "AGENTS.md").exists() and files(root) == before
    assert removed == project.json("-C", str(root), "init", "--agents", "none")["changed"]
    assert not (root / "AGENTS.md").exists()


def test_a_task_that_needs_no_yes_is_not_approved(project):
    """It said "approved", and nothing had been asked."""
    project.run("new", "x", "--id", "a")
    project.drop("b.yaml", "prompt: x\n")
    told, done = both(project, "approve", "a", "b")
    assert told == done and not done["changed"]
    for item in done["refused"]:
        assert item["why"] == f"{item['id']} is waiting, and not for approval: no yes is needed"
    assert not project.events("task_approved")
