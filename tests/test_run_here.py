"""``run`` and ``why`` with the name of a run: they do what a person means."""

from __future__ import annotations

import subprocess

from conftest import wait_until

RUN = "on_failure: continue\ntasks:\n  a: {agent: 'true', prompt: x}\n  b: {agent: 'true', prompt: y, needs: [a]}\n"

WAITS = "tasks:\n  a: {{agent: sh, prompt: 'until test -e {go}; do sleep 0.02; done'}}\n"


def run(project, word: str) -> subprocess.Popen:
    """``orchestrator run WORD`` beside the test."""
    return subprocess.Popen(
        [project.python, "-m", "orchestrator", "run", word],
        cwd=project.root,
        env=project.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def said(process: subprocess.Popen) -> str:
    """The next line of its standard error."""
    return process.stderr.readline().decode()


def test_a_run_is_run_here_and_nothing_else(project):
    project.drop("other.yaml", "agent: 'true'\nprompt: x\npriority: high\n")
    project.drop("release.yaml", RUN)
    assert "it is a run that has not been accepted yet" in project.run("why", "release").stdout
    shown = project.run("run", "release").stdout
    assert [project.where(task) for task in ("release.a", "release.b", "other")] == [
        *("done", "done", "inbox")
    ]
    assert " other " not in shown and "done=2 total=2" in shown
    assert project.run("why", "release").stdout == "✓ release  2 of 2 tasks are done\n"
    again = project.run("run", "release", code=1).stderr
    assert "run release is done" in again and "orchestrator retry TASK" in again
    project.run("watch", "--until-empty")
    assert project.where("other") == "done"


def test_a_run_of_tasks_that_were_there_and_one_that_fails(project):
    project.drop("one.yaml", "agent: sh\nprompt: exit 1\n")
    project.drop("two.yaml", "agent: 'true'\nprompt: x\nneeds: [one]\n")
    project.drop("pair.yaml", "tasks: [one, two]\n")
    project.run("run", "work/inbox/pair.yaml", code=1)
    answer = project.json("why", "pai")  # a part of its name is enough
    assert answer["task"] == "pair" and answer["status"] == "failed"
    assert [gate["why"] for gate in answer["gates"]] == ["two: needs one, which is failed"]
    assert answer["notes"] == ["one failed; run it again: orchestrator retry one"]
    assert "orchestrator retry --run pair " in project.run("run", "pair", code=1).stderr


def test_beside_a_watcher_it_waits_for_the_run(project, watch):
    watch()
    go = project.root / "go"
    project.drop("slow.yaml", WAITS.format(go=go))
    running = run(project, "slow")
    wait_until(lambda: "waiting for its end" in said(running), "it waits")
    go.touch()
    assert running.wait(30) == 0
    assert project.where("slow.a") == "done"


def test_what_else_waits_says_why(project):
    """While only a run is run, other tasks know it; a person may still run one of them by hand."""
    go = project.root / "go"
    project.drop("slow.yaml", WAITS.format(go=go))
    project.drop("other.yaml", "agent: 'true'\nprompt: x\n")
    running = run(project, "slow")
    try:
        wait_until(lambda: project.where("slow.a") == "running", "its task runs")
        gate = project.json("why", "other")["gates"][0]
        assert gate["name"] == "only" and gate["why"] == (
            "the watcher was started for run slow alone"
        )
        assert project.json("list")["tasks"][1]["detail"] == gate["why"]
        project.run("run", "other")
    finally:
        go.touch()
        assert running.wait(30) == 0
    assert project.where("other") == "done"
