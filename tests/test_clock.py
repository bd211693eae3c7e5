"""Clocks that jump, machines that sleep, notifications that are lost: nothing is too early, too late or forgotten."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import WatcherProcess, end_everything, wait_until

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


@pytest.fixture
def jumping(project):
    """A watcher (and its supervisors) whose wall clock is what a file says: an offset such as ``+1d``."""
    if not LIBRARIES:
        pytest.skip("there is no libfaketime here")
    clock = project.root.parent / "clock"
    clock.write_text("+0\n")
    project.env.update(
        LD_PRELOAD=str(LIBRARIES[0]),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        DONT_FAKE_MONOTONIC="1",
        NO_FAKE_STAT="1",
    )
    watcher = WatcherProcess(project).ready()
    for name in (
        "LD_PRELOAD",
        "FAKETIME_TIMESTAMP_FILE",
        "FAKETIME_NO_CACHE",
        "DONT_FAKE_MONOTONIC",
        "NO_FAKE_STAT",
    ):
        project.env.pop(name)
    yield clock
    watcher.stop()
    end_everything(project)


@pytest.mark.parametrize("jump", ["+2d", "-2d"])
def test_durations_and_limits_do_not_follow_the_wall_clock(project, jumping, jump):
    go = project.root / "go"
    project.drop(
        "a.yaml", f"agent: sh\ntimeout: 1h\nprompt: while ! test -e {go}; do sleep 0.02; done\n"
    )
    project.drop("limited.yaml", "agent: sh\ntimeout: 2s\nprompt: exec sleep 60\n")
    project.drop("again.yaml", "agent: sh\nretries: 1\nprompt: test $ORCHESTRATOR_ATTEMPT = 2\n")
    wait_until(
        lambda: (
            project.events("attempt_started", "a") and project.events("attempt_started", "limited")
        ),
        "they run",
    )
    wait_until(lambda: project.events("task_retrying", "again"), "it has failed once")
    jumping.write_text(jump + "\n")
    (project.work / "inbox/slow.yaml").write_text(
        "agent: 'true'\nprompt: x\n"
    )  # in place: it has to rest 200 ms first
    for task_id, folder in (("again", "done"), ("limited", "failed"), ("slow", "done")):
        project.settled(task_id, folder)
    assert project.where("a") == "running"
    assert (
        project.result("limited")["outcome"] == "timed_out"
        and 1.9 < project.result("limited")["duration_s"] < 20
    )
    go.touch()
    project.settled("a", "done")
    assert project.result("a")["duration_s"] < 60
    days = {event["ts"][:10] for event in project.events()}
    assert len(days) == 2, "the clock has not jumped"


def test_a_retry_that_a_former_watcher_announced_is_not_put_off_by_a_jump(project, watch):
    """Between two watchers only the wall clock counts; set back by days, it must not make the wait longer than it was."""
    project.config(
        "retry: {delay: 1h}\nwatch: {rescan: 200ms}\nagents: {sh: {tool: shell, command: [sh]}}\n"
    )
    watcher = watch()
    path = Path(project.layout.journal("a"))
    project.drop("a.yaml", "agent: sh\nretries: 1\nprompt: test $ORCHESTRATOR_ATTEMPT = 2\n")
    # The event comes first: a watcher that is stopped between the two leaves the decision to the next one.
    wait_until(
        lambda: path.exists() and '"record":"retry"' in path.read_text().replace(" ", ""),
        "another attempt is announced",
    )
    watcher.stop()
    journal = path.read_text().splitlines()
    last = json.loads(journal[-1])
    assert last["record"] == "retry"
    last["at"] += (
        5 * 86400
    )  # as if it had been written before the clock was set back, with a second to wait
    last["not_before"] = last["at"] + 1
    path.write_text("\n".join([*journal[:-1], json.dumps(last)]) + "\n")
    watch()
    project.settled("a", "done")


def test_a_suspended_machine(project, watch):
    """Everything stands still for a while, files arrive meanwhile; awake again, all is seen at once and nothing has happened twice."""
    project.config(
        "watch: {rescan: 600s}\nagents: {sh: {tool: shell, command: [sh]}, 'true': {tool: shell, command: [/bin/true]}}\n"
    )
    watcher = watch()
    project.drop("a.yaml", "agent: sh\nprompt: sleep 0.3; exit 3\n")
    wait_until(lambda: project.events("attempt_started", "a"), "it runs")
    everything = [watcher.process.pid, *children(watcher.process.pid)]
    for pid in everything:
        os.kill(pid, signal.SIGSTOP)
    project.drop("b.yaml", "agent: 'true'\nprompt: x\n")
    (project.work / "inbox/gone.yaml").write_text("agent: 'true'\nprompt: x\n")
    (project.work / "inbox/gone.yaml").unlink()
    for pid in reversed(everything):
        os.kill(pid, signal.SIGCONT)
    project.settled("b", "done")
    project.settled("a", "failed")
    assert len(project.events("attempt_started")) == 2


def children(pid: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and f"PPid:\t{pid}\n" in Path(f"/proc/{name}/status").read_text():
                found += [int(name), *children(int(name))]
        except OSError:
            continue
    return found


def test_notifications_that_are_lost_late_or_doubled(project, watch):
    """A queue of eight, a thousand files: what the kernel threw away is found by the listing that follows at once."""
    limit = Path("/proc/sys/fs/inotify/max_queued_events")
    if not os.access(limit, os.W_OK):
        pytest.skip("inotify's limits cannot be changed here (needs root)")
    project.config(
        "limits: {running: 8}\nwatch: {rescan: 600s}\nagents: {'true': {tool: shell, command: [/bin/true]}}\n"
    )
    before = limit.read_text()
    limit.write_text("8")
    try:
        watcher = watch()
    finally:
        limit.write_text(before)
    for number in range(1000):
        project.drop(f"t{number}.yaml", "agent: 'true'\nprompt: x\n")
        if number % 20 == 0:  # told twice
            try:
                open(project.work / f"inbox/t{number}.yaml", "r+b").close()
            except FileNotFoundError:  # it runs already
                pass
    for number in range(1000):
        project.until(f"t{number}", "done")
    assert watcher.process.poll() is None
    assert len(project.events("attempt_started")) == 1000


def test_without_inotify_it_looks_every_second_and_says_so(project, watch):
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if not os.access(limit, os.W_OK):
        pytest.skip("inotify's limits cannot be changed here (needs root)")
    before = limit.read_text()
    limit.write_text("0")
    try:
        watch()
        wait_until(lambda: "no notifications" in project.run("status").stdout, "status says so")
    finally:
        limit.write_text(before)
    project.drop("a.yaml", "agent: 'true'\nprompt: x\n")
    project.settled("a", "done")


def git(project, *words: str) -> str:
    return subprocess.run(
        [
            "git",
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "-C",
            str(project.root),
            *words,
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.skipif(not shutil.which("git"), reason="there is no git here")
def test_git_merge_worktree_reset_and_clean_under_a_running_watcher(project, watch):
    """Two branches of task state merge; a second worktree has its own watcher; nothing that ran runs again."""
    (project.root / ".gitignore").write_text("starts\ngo\n")
    project.config(
        f"watch: {{rescan: 300ms}}\nfrom_git: run\nagents: {{t: {{tool: shell, command: [sh, -c, 'echo $ORCHESTRATOR_TASK_ID >> {project.root}/starts']}}, "
        "sh: {tool: shell, command: [sh]}}\n"
    )
    git(project, "init", "-q", "-b", "main")
    project.drop("base.yaml", "agent: t\nprompt: x\n", "held")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "begin")
    git(project, "worktree", "add", "-q", "-b", "side", str(project.root.parent / "side"))
    watch()
    go = project.root / "go"
    project.drop("long.yaml", f"agent: sh\nprompt: while ! test -e {go}; do sleep 0.02; done\n")
    project.drop("one.yaml", "agent: t\nprompt: x\n")
    project.settled("one", "done")
    # The other worktree does a task of its own and commits what became of it.
    side = type(project)(project.root.parent / "side")
    side.drop("two.yaml", "agent: t\nprompt: x\n")
    side.run("watch", "--until-empty")
    git(side, "add", "-A")
    git(side, "commit", "-qm", "two is done")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "one is done, long runs")
    git(project, "merge", "-q", "-m", "both", "side")
    assert [project.where(name) for name in ("one", "two", "long", "base")] == [
        "done",
        "done",
        "running",
        "held",
    ]
    git(project, "reset", "-q", "--hard", "HEAD~1")
    git(project, "merge", "-q", "-m", "again", "side")
    git(project, "clean", "-fdq", "--", "work/inbox", "work/held")
    project.drop("after.yaml", "agent: t\nprompt: x\n")
    project.settled("after", "done")
    assert project.where("long") == "running"
    go.touch()
    project.settled("long", "done")
    assert sorted((project.root / "starts").read_text().split()) == ["after", "one", "two"]
