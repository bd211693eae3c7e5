"""git takes the event log away, or puts another in its place: what happened is in the log all the same."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from conftest import wait_until

from orchestrator.files import eventreader
from orchestrator.store.eventlog import EventLog, GroupCommit

GIT = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
}


def git(project, *words: str, code: int | None = 0) -> str:
    done = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", *words],
        cwd=project.root,
        env={**os.environ, **GIT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done.stdout


def say(log, number: int) -> None:
    log.commit([log.event("watcher_started", "w", number)]).result()


def said(project) -> set[str]:
    return {event["event_id"].split("/")[1] for event in eventreader.events(project.layout)[0]}


@pytest.mark.parametrize("kind", ["watch", "cli"])
def test_events_follow_the_name_and_what_was_taken_is_put_back(project, kind):
    log = EventLog(project.layout, kind)
    say(log, 1)
    (path,) = (project.work / "events").glob("*.jsonl")
    kept = path.read_bytes()
    path.unlink()
    say(log, 2)
    assert said(project) == {"1", "2"}
    path.write_bytes(kept)  # git brings it back: nothing of ours is in its way
    say(log, 3)
    assert said(project) == {"1", "2", "3"}
    os.replace(shutil.copy(path, path.with_suffix(".copy")), path)
    say(EventLog(project.layout, kind), 4)
    assert said(project) == {"1", "2", "3", "4"}
    log.close()


def test_a_file_that_git_puts_in_its_place_is_written_to(project):
    """The name is there all the time; the open file is another one."""
    log = EventLog(project.layout, "watch")
    say(log, 1)
    (path,) = (project.work / "events").glob("*.jsonl")
    os.replace(shutil.copy(path, path.with_suffix(".copy")), path)
    say(log, 2)
    log.close()
    assert said(project) == {"1", "2"}


def test_a_log_that_nobody_writes_to_is_put_back_too(project):
    log = GroupCommit(EventLog(project.layout, "watch"))
    say(log, 1)
    (path,) = (project.work / "events").glob("*.jsonl")
    path.unlink()
    log.look()
    log.close()
    assert said(project) == {"1"}


@pytest.mark.skipif(not shutil.which("git"), reason="there is no git here")
@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "untracked"])
def test_stash_and_pop_under_a_running_task(project, watch, tracked):
    git(project, "init", "-q")
    git(project, "add", "work/orchestrator.yaml", "work/.gitignore")
    git(project, "commit", "-qm", "begin")
    watch()
    go = project.root.parent / "go"
    task = f"agent: sh\nprompt: while ! test -e {go}; do sleep 0.05; done\n"
    project.drop("a.yaml", task)
    wait_until(lambda: project.events("attempt_started", "a"), "it runs")
    if tracked:
        git(project, "add", "-A")
        git(project, "commit", "-qm", "work")
        project.drop("b.yaml", task)
        wait_until(lambda: project.events("attempt_started", "b"), "another runs")
    git(project, "stash", "-u")
    go.touch()
    wait_until(lambda: project.events("task_finished", "a"), "its end is in the log")
    git(project, "stash", "pop", code=None)
    assert project.events("attempt_started", "a") and project.events("attempt_finished", "a")


@pytest.mark.parametrize("journals", ["closed", "active"])
def test_money_is_counted_once_though_the_log_is_gone(project, journals):
    """A day budget of $1.00 let $1.60 through after `git stash` and a restart."""
    from orchestrator.files import spending
    from orchestrator.store.ledger import Ledger

    log = EventLog(project.layout, "watch")
    day = log.event("watcher_started", "w", 0)["ts"][:10]
    ledger = Ledger(project.layout)
    for task_id, cost in (("r.a", 0.5), ("r.b", 0.3)):
        entry = ledger.create(task_id, {"record": "claim", "id": task_id, "run": "r"})
        facts = {"agent": "x", "cost_usd": cost, "usage": {"input": 10, "output": 5}}
        entry.append({"record": "started", "attempt": 1})
        entry.append({"record": "exit", "attempt": 1})
        entry.append({"record": "final", "at": log.clock.wall(), "read": facts})
        if journals == "closed":
            ledger.retire(entry)
        entry.close()
        log.append(
            [log.event("attempt_finished", task_id, 1, task_id=task_id, run_id="r", attempt=1, **facts)]
        )  # fmt: skip
    for _ in range(2):  # with the log, and without it
        spent = spending.of_day(project.layout, day)[0]
        assert round(spent.total, 6) == 0.8 and round(spent.agents["x"], 6) == 0.8
        assert round(spending.of_run(project.layout, "r"), 6) == 0.8
        assert spending.totals(project.layout, day, "9999") == (0.8, 30)
        shutil.rmtree(project.work / "events", ignore_errors=True)
    log.close()


def test_a_copy_of_what_ended_here_is_put_away(project):
    """`git stash -u`, the task ends, `stash pop`: running/a lies beside done/a."""
    text = "agent: 'true'\nprompt: x\n"
    project.drop("a.yaml", text)
    project.run("watch", "--until-empty")
    assert project.where("a") == "done"
    project.drop("a.yaml", text, folder="running")
    project.run("watch", "--until-empty")
    assert project.where("a") == "done"
    (kept,) = (project.work / "logs/a").glob("displaced-*")
    assert kept.read_text() == text
