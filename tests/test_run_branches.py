# ruff: noqa: F811 - fixtures come by their names
"""A run is a feature branch: its tasks grow from it and are merged into it, and a person looks at it once."""

from __future__ import annotations

import json
import os

import pytest
from conftest import wait_until
from test_trees import Repo, git, persons, repo, watcher  # noqa: F401

from orchestrator.files import journals, runrecords


def drop_run(repo: Repo, run_id: str, tasks: dict[str, dict], **keys) -> None:
    for body in tasks.values():
        body["prompt"] = f"{body['prompt']}\nexit\n"
    repo.drop(f"{run_id}.yaml", json.dumps({"title": "A feature", "tasks": tasks, **keys}))


def test_a_run_is_one_branch_reviewed_and_merged_once(repo: Repo):
    before = persons(repo.root)
    drop_run(
        repo,
        "feature",
        {
            "one": {"prompt": "echo 1 > one"},
            "two": {"prompt": "cat one; echo 2 > two", "needs": ["one"]},
            "three": {"prompt": "echo 3 > three; exit 1"},
        },
    )
    repo.run("watch", "--until-empty", code=1)
    after = persons(repo.root)
    before.pop("refs"), after.pop("refs")
    assert after == before
    assert [repo.where(f"feature.{key}") for key in ("one", "two", "three")] == [
        "done",
        "done",
        "failed",
    ]
    assert repo.log("feature.two") == "1\n"  # it began with what the other had done
    assert repo.where("feature") == "review" and not (repo.work / "runs/feature.yaml").exists()
    result = repo.result("feature")
    assert result["reason"].startswith("2 of 3 done: +2 -0 in 2 files on run/feature")
    assert (result["files_changed"], result["insertions"]) == (["one", "two"], 2)
    assert result["notes"] == ["feature.three: failed"]
    assert repo.run("diff", "feature", "--name-only").stdout == "one\ntwo\n"
    needs = json.loads(repo.run("review", "--json", code=7).stdout)["needs"]
    assert [(item["id"], item["why"]) for item in needs if item["kind"] == "review"] == [
        ("feature", "+2 -0 in 2 files · 2 of 3 done")
    ]
    (view,) = repo.json("runs")["runs"]
    assert (view["folder"], view["branch"]) == ("review", "run/feature")
    assert "feature.three" in repo.run("retry", "feature", "-n").stdout  # only what failed
    assert "+2 -0 in 2 files on run/feature" in repo.run("show", "feature").stdout
    done = repo.run("approve", "feature")
    assert "merged run/feature into main" in done.stderr and repo.where("feature") == "done"
    assert (repo.root / "one").read_text() == "1\n" and (repo.root / "two").read_text() == "2\n"
    assert repo.git("log", "-1", "--format=%s") == "A feature (run/feature)"
    assert repo.run("diff", "feature", "--name-only").stdout == "one\ntwo\n"
    assert "+3 -0 in 3 commits" in repo.run("report").stdout
    (row,) = [row for row in repo.json("list")["tasks"] if row["id"] == "feature.one"]
    assert (row["branch"], row["insertions"], row["deletions"]) == ("task/feature.one", 1, 0)
    repo.run("trees", "clean", "-y")
    repo.run("archive", "feature", "feature.one", "feature.two")
    assert repo.git("branch", "--list", "run/*", "task/*") == "task/feature.three"


def test_what_a_task_adds_later_is_reviewed_again(repo: Repo):
    drop_run(repo, "f", {"a": {"prompt": "echo $ORCHESTRATOR_ATTEMPT > a"}})
    repo.run("watch", "--until-empty")
    repo.run("approve", "f")
    repo.run("watch", "--until-empty")
    assert repo.where("f") == "done"
    repo.run("retry", "f.a")
    repo.run("watch", "--until-empty")
    assert repo.where("f") == "review"
    repo.run("reject", "f")
    repo.run("watch", "--until-empty")
    assert repo.where("f") == "failed" and (repo.root / "a").read_text() == "1\n"
    assert repo.git("show", "run/f:a") == "2"


def test_a_conflict_is_a_turn_for_its_own_session_and_then_waits(repo: Repo):
    stubborn = "touch $ORCHESTRATOR_ROOT/work/go; echo stubborn >> src/a.txt; git commit -qam x --allow-empty; "
    wait = "until [ -e $ORCHESTRATOR_ROOT/work/results/r.a.yaml ]; do sleep 0.02; done; "
    resolve = (
        f'if [ "$ORCHESTRATOR_ATTEMPT" = 1 ]; then {wait} echo mild >> src/a.txt; else git merge -q run/r || true; '
        "sed -i '/^[<=>]/d' src/a.txt; git add -A; git commit -qm both; fi"
    )
    drop_run(
        repo,
        "r",
        {
            "a": {"prompt": "echo first >> src/a.txt"},
            "mild": {"prompt": resolve},
            "stubborn": {"prompt": f"{wait} {stubborn}"},
        },
    )
    repo.run("watch", "--until-empty")
    assert repo.where("r.mild") == "done" and repo.where("r.stubborn") == "review"
    assert "cannot be merged into run/r" in (repo.work / "logs/r.mild/2/prompt.md").read_text()
    assert len(journals.of(repo.layout, "r.stubborn").attempts) == 2
    assert "conflict in src/a.txt" in repo.result("r.stubborn")["reason"]
    assert (repo.work / "runs/r.yaml").exists()  # one of its tasks waits for a person
    assert {"first", "mild"} <= set(repo.git("show", "run/r:src/a.txt").splitlines())
    repo.run("reject", "r.stubborn")
    repo.run("watch", "--until-empty")
    assert repo.result("r")["reason"].startswith("2 of 3 done")


COLLIDING = int(os.environ.get("COLLIDING_TASKS", "5"))  # twenty take a minute


def test_tasks_that_collide_are_put_on_top_of_each_other(repo: Repo):
    """Each adds a line to the same place; the turn of its session is a real rebase, and who collides once more is told again."""
    repo.config((repo.work / "orchestrator.yaml").read_text() + "limits: {running: 4}\n")
    script = (
        'if [ "$ORCHESTRATOR_ATTEMPT" = 1 ]; then echo "$ORCHESTRATOR_TASK_ID" >> src/a.txt; else '
        "git rebase -q run/r || { sed -i '/^[<=>]/d' src/a.txt; git add src/a.txt; "
        "GIT_EDITOR=true git rebase --continue; }; fi"
    )
    tasks = {f"t{number:02}": {"prompt": script} for number in range(COLLIDING)}
    drop_run(repo, "r", tasks)
    repo.run("watch", "--until-empty", patience=120)
    for _ in range(COLLIDING):
        waiting = [key for key in tasks if repo.where(f"r.{key}") == "review"]
        if not waiting:
            break
        for key in waiting:
            repo.run("reply", f"r.{key}", "--conflict", code=None)
        repo.run("watch", "--until-empty", patience=120)
    text = repo.git("show", "run/r:src/a.txt").splitlines()
    assert sorted(text[3:]) == [f"r.{key}" for key in tasks]
    assert repo.result("r")["reason"].startswith(f"{COLLIDING} of {COLLIDING} done")


def test_only_review_always_stops_a_task_of_a_run(repo: Repo):
    repo.settings("review: always")
    drop_run(repo, "r", {"a": {"prompt": "echo 1 > a"}, "b": {"prompt": "cat a", "needs": ["a"]}})
    repo.run("watch", "--until-empty")
    assert repo.where("r.a") == "review"
    assert "which is in review" in repo.run("why", "r.b").stdout
    repo.run("approve", "r.a")
    repo.run("watch", "--until-empty")
    assert (
        repo.log("r.b") == "1\n"
        and repo.git("rev-parse", "main:src")
        and not (repo.root / "a").exists()
    )


def test_a_move_to_done_is_a_request_to_merge(repo: Repo, watcher):
    repo.do("x", "echo 1 > n")
    repo.do("z", "echo 2 > z")
    (repo.root / "z").write_text("mine\n")
    for task_id in ("x", "z"):  # while nobody watches
        (repo.work / f"review/{task_id}.yaml").rename(repo.work / f"done/{task_id}.yaml")
    repo.drop("y.yaml", json.dumps({"prompt": "cat n", "needs": ["x"]}))
    assert "needs x, which is in review" in repo.run("why", "y").stdout
    repo.run("approve", "x")
    assert (repo.root / "n").read_text() == "1\n" and repo.where("x") == "done"
    repo.run("approve", "z", code=1)
    assert repo.where("z") == "review"
    (repo.root / "z").unlink()
    repo.config((repo.work / "orchestrator.yaml").read_text() + "watch: {rescan: 200ms}\n")
    watcher()
    wait_until(lambda: repo.where("y") == "done")
    (repo.work / "review/z.yaml").rename(repo.work / "done/z.yaml")
    wait_until(lambda: repo.events("task_approved", "z"), "z is approved")
    assert (repo.root / "z").exists() and repo.where("z") == "done" and repo.log("y") == "1\n"
    assert len(repo.events("task_approved", "z")) == 1


def test_what_was_moved_to_done_while_nobody_watched_is_merged_by_the_next_watcher(repo: Repo):
    """A task and a run; what collides comes back, and what git brought is no request."""
    drop_run(repo, "feature", {"one": {"prompt": "echo 1 > one"}})
    for task_id in ("x", "z", "brought"):
        repo.do(task_id, f"echo {task_id} > {task_id}")
    repo.run("watch", "--until-empty", code=None)
    (repo.root / "z").write_text("mine\n")
    for name in ("x", "z", "feature"):
        (repo.work / f"review/{name}.yaml").rename(repo.work / f"done/{name}.yaml")
    copy = repo.work / "done/brought.yaml"
    copy.write_bytes((repo.work / "review/brought.yaml").read_bytes())
    (repo.work / "review/brought.yaml").unlink()
    told = repo.run("watch", "--until-empty", code=None).stdout
    assert "moved to done/: merged task/x" in told
    assert (repo.root / "x").read_text() == "x\n" and repo.where("x") == "done"
    assert (repo.root / "one").read_text() == "1\n" and repo.where("feature") == "done"
    assert repo.where("z") == "review" and (repo.root / "z").read_text() == "mine\n"
    assert copy.exists() and not (repo.root / "brought").exists()
    assert len(repo.events("task_approved", "x")) == 1
    again = repo.run("watch", "--until-empty", code=None).stdout
    assert "was moved to done/" not in again


def test_a_branch_of_that_name_is_left_alone(repo: Repo):
    repo.git("branch", "run/r")
    drop_run(repo, "r", {"a": {"prompt": "echo 1 > a"}})
    repo.run("watch", "--until-empty")
    assert runrecords.known(repo.layout, "r").branch == "run/r-2"
    assert repo.git("rev-parse", "run/r") == repo.git("rev-parse", "main")


def test_a_run_without_a_change_stays_where_it_is(repo: Repo):
    drop_run(repo, "r", {"a": {"prompt": "true"}})
    repo.run("watch", "--until-empty")
    assert repo.where("r.a") == "done" and (repo.work / "runs/r.yaml").exists()


def test_a_task_begins_from_another_ones_branch(repo: Repo):
    repo.drop("y.yaml", json.dumps({"prompt": "cat n; echo 2 > m\nexit\n", "base": {"task": "x"}}))
    assert "starts from the branch of x, which does not exist" in repo.run("why", "y").stdout
    repo.do("x", "echo 1 > n")
    assert repo.where("y") == "review" and repo.log("y") == "1\n"
    result = repo.result("y")
    assert (result["files_changed"], result["commits"], result["target"]) == (["m"], 1, "main")
    refused = repo.run("approve", "y", code=1).stderr
    assert "it began with the work of x, which is not merged into main" in refused
    repo.run("approve", "x")
    repo.run("approve", "y")
    assert (repo.root / "m").read_text() == "2\n"


WAITS = "touch $ORCHESTRATOR_ROOT/work/began; until [ -e $ORCHESTRATOR_ROOT/work/go ]; do sleep 0.05; done; echo 1 > one"


@pytest.mark.parametrize("folder", ["done", "held", "inbox", "archive"])
def test_the_file_of_a_run_that_goes_on_is_put_back(repo: Repo, watcher, folder):
    repo.settings(more="watch: {rescan: 200ms}\n")
    drop_run(repo, "r", {"a": {"prompt": WAITS}, "b": {"prompt": "cat one", "needs": ["a"]}})
    pane = watcher()
    wait_until(lambda: (repo.work / "began").exists(), "a runs")
    (repo.work / "runs/r.yaml").rename(repo.work / folder / "r.yaml")
    wait_until(lambda: (repo.work / "runs/r.yaml").exists(), "its file is back")
    wait_until(lambda: "has been put back" in pane.text(), "it is told")
    (repo.work / "go").touch()
    wait_until(lambda: repo.where("r") == "review", "the run is one change")
    assert repo.log("r.b") == "1\n"


def test_a_run_that_is_moved_to_cancelled_is_cancelled(repo: Repo, watcher):
    repo.settings(more="watch: {rescan: 200ms}\n")
    drop_run(repo, "r", {"a": {"prompt": WAITS}, "b": {"prompt": "true", "needs": ["a"]}})
    watcher()
    wait_until(lambda: (repo.work / "began").exists(), "a runs")
    (repo.work / "runs/r.yaml").rename(repo.work / "cancelled/r.yaml")
    wait_until(
        lambda: {repo.where("r.a"), repo.where("r.b")} == {"cancelled"}, "both are cancelled"
    )
    assert (repo.work / "runs/r.yaml").exists()


def test_tasks_of_a_run_without_a_file_go_into_its_branch(repo: Repo, watcher):
    repo.settings(more="watch: {rescan: 200ms}\n")
    drop_run(repo, "r", {"a": {"prompt": WAITS}, "b": {"prompt": "cat one", "needs": ["a"]}})
    pane = watcher()
    wait_until(lambda: (repo.work / "began").exists(), "a runs")
    (repo.work / "runs/r.yaml").unlink()
    wait_until(lambda: "its file is gone" in pane.text(), "it is told")
    (repo.work / "go").touch()
    wait_until(lambda: repo.where("r.b") == "done", "b is done")
    assert repo.log("r.b") == "1\n" and not (repo.root / "one").exists()
    assert (
        "the run r has the branch run/r, and its file is gone"
        in repo.run("doctor", code=None).stdout
    )


def test_a_run_that_is_moved_to_done_is_merged(repo: Repo, watcher):
    repo.settings(more="watch: {rescan: 200ms}\n")
    drop_run(repo, "r", {"a": {"prompt": "echo 1 > one"}})
    drop_run(repo, "s", {"a": {"prompt": "echo 2 > two"}})
    repo.run("watch", "--until-empty")
    (repo.root / "two").write_text("mine\n")
    (repo.work / "review/r.yaml").rename(repo.work / "done/r.yaml")  # while nobody watches
    assert not (repo.root / "one").exists()
    repo.run("approve", "r")
    assert repo.where("r") == "done" and (repo.root / "one").read_text() == "1\n"
    pane = watcher().ready()
    (repo.work / "review/s.yaml").rename(repo.work / "done/s.yaml")
    wait_until(lambda: "cannot be merged" in pane.text(), "the file in the way is told")
    assert repo.where("s") == "review" and (repo.root / "two").read_text() == "mine\n"
    (repo.root / "two").unlink()
    wait_until(lambda: repo.where("s") == "review", "s is in review")
    (repo.work / "review/s.yaml").rename(repo.work / "done/s.yaml")
    wait_until(lambda: (repo.root / "two").exists() and repo.where("s") == "done", "s is merged")
