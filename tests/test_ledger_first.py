"""What runs is in the ledger: a running task whose file was moved or removed is still shown, explained and stopped."""

from __future__ import annotations

import time

import pytest
from conftest import wait_until

from orchestrator.model.status import Status
from orchestrator.queries import overview, world


@pytest.mark.parametrize("moved", ["held", "done", "inbox", None])
def test_a_moved_file_does_not_hide_a_running_task(project, watch, moved):
    with open(project.work / "orchestrator.yaml", "a") as file:
        file.write("  slow: {tool: shell, command: [sleep, '60']}\n")
    watch()
    project.drop("m.yaml", "agent: slow\nprompt: x\n")
    wait_until(lambda: project.events("attempt_started", "m"), "it runs")  # before, it is withdrawn
    path = project.work / "running" / "m.yaml"
    path.rename(project.work / moved / "m.yaml") if moved else path.unlink()
    assert project.json("status")["counts"]["running"] == 1
    assert project.json("why", "m")["status"] == "running"
    assert project.json("show", "m")["task"]["status"] == "running"
    project.run("cancel", "m", "--no-wait")
    project.settled("m", "cancelled")


def test_a_task_that_is_put_back_while_it_is_counted_is_counted(project, watch):
    """Folders are counted one after the other: its file may be in none of them at its turn."""
    project.drop("m.yaml", "agent: sh\nprompt: sleep 60\n")
    watch()
    project.until("m", "running")
    counts = dict.fromkeys(Status, 0)
    overview._count_what_runs(world.Known(project.layout, time.time()), counts)
    assert counts[Status.RUNNING] == 1 and sum(counts.values()) == 1


def test_a_dry_run_tells_what_the_verb_would_refuse(project):
    project.drop("a.yaml", "agent: 'true'\nprompt: x\nhold: true\n")
    assert "not waiting" not in project.run("hold", "a", "-n").stdout
    done = project.run("release", "a", "-n", code=1)
    assert done.stderr == project.run("release", "a", code=1).stderr
    assert "a is not in held/, but in the inbox" in done.stderr


def test_words_of_other_programs(project):
    project.drop("a.yaml", "agent: 'true'\nprompt: x\n")
    assert "would hold a" in project.run("pause", "a", "-n").stdout
    assert "would cancel a" in project.run("stop", "a", "-n").stdout
    assert project.run("ls").stdout == project.run("list").stdout
    assert "'cancel' withdraws" in project.run("rm", "a", code=2).stderr
    assert "no run 'nosuch'" in project.run("list", "--run", "nosuch", code=3).stderr
