"""Several of everything: two watchers at once, many verbs at once.  Every claim once, every request honoured once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest
from conftest import WatcherProcess, end_everything, wait_until

from orchestrator.files import eventreader


def test_two_watchers_that_do_not_see_each_other(project):
    """The lock's file is removed (git clean -fdx does that), so the second one is not refused."""
    starts = project.root / "starts"
    project.config(
        "watch: {rescan: 300ms}\nretry: {delay: 50ms}\n"
        f"agents: {{t: {{tool: shell, command: [sh, -c, 'echo $ORCHESTRATOR_TASK_ID $ORCHESTRATOR_ATTEMPT >> {starts}; sleep 0.02'],"
        " timeout: 20s}}\n"
    )
    first = WatcherProcess(project).ready()
    second = None
    try:
        os.unlink(f"{project.layout.state}/watcher.lock")
        second = WatcherProcess(project).ready()
        wanted = [f"t{number:03d}" for number in range(120)]
        for task_id in wanted:
            project.drop(f"{task_id}.yaml", "agent: t\nprompt: x\n")
        project.drop(
            "r.yaml", "tasks: {a: {agent: t, prompt: x}, b: {agent: t, prompt: x, needs: [a]}}\n"
        )
        for task_id in [*wanted, "r.a", "r.b"]:
            project.settled(task_id, "done")
        assert first.process.poll() is None and second.process.poll() is None, (
            first.text() + second.text()
        )
    finally:
        first.stop()
        if second is not None:
            second.stop()
        end_everything(project)
    assert Counter(starts.read_text().split("\n")[:-1]) == Counter(
        {f"{task_id} 1": 1 for task_id in [*wanted, "r.a", "r.b"]}
    )
    found, bad = eventreader.events(project.layout)
    assert not bad
    finished = Counter(event["task_id"] for event in found if event["event"] == "task_finished")
    assert finished == Counter([*wanted, "r.a", "r.b"])
    assert "internal" not in first.text() + second.text()


def together(project, *commands: tuple[str, ...]) -> list[tuple[int, str]]:
    """Run all at once; their exit codes and what they said."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words],
            cwd=project.root,
            env=project.env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for words in commands
    ]
    return [(process.wait(60), process.communicate()[0]) for process in started]


# Its second attempt takes long enough for six retries to meet it.
AGAIN_SLOWLY = "agent: sh\nprompt: test -e ran && sleep 3; touch ran\n"


@pytest.mark.parametrize("up", [True, False], ids=["watcher", "no watcher"])
def test_one_request_many_times_at_once(project, watch, up):
    if up:
        watch()
        project.drop("done.yaml", AGAIN_SLOWLY)
        project.settled("done", "done")
    else:
        project.drop("done.yaml", AGAIN_SLOWLY)
        project.run("watch", "--until-empty")
    held = "prompt: x\nhold: true\n"
    for name in ("waiting", "parked"):
        project.drop(f"{name}.yaml", held)
    for words, kind, task_id in (
        (("new", "x", "--id", "fresh", "--held"), "task_submitted", "fresh"),
        (("hold", "parked"), "task_held", "parked"),
        (("cancel", "waiting"), "task_cancelled", "waiting"),
        (("archive", "--yes", "done"), "task_archived", "done"),
    ):
        ends = together(project, *[words] * 6)
        assert [code for code, _ in ends].count(0) == 1, (words, ends)
        assert not any("internal" in text for _, text in ends), ends
        assert len(project.events(kind, task_id)) == 1, words
    assert [project.where(name) for name in ("fresh", "parked", "waiting", "done")] == [
        "held",
        "held",
        "cancelled",
        "archive",
    ]
    ends = together(project, *[("retry", "done")] * 6)
    assert [code for code, _ in ends].count(0) == 1, ends
    if up:
        wait_until(lambda: len(project.events("attempt_finished", "done")) == 2, "it ran once more")
        project.settled("done", "done")
    assert len(project.events("task_requeued", "done")) == 1
    assert len(project.events("attempt_started", "done")) == 1 + up


def test_many_verbs_of_many_kinds_at_once(project, watch):
    """Whoever wins: each task lies in one folder, the events tell where, and nothing ran that was not asked for."""
    watch()
    project.config((project.work / "orchestrator.yaml").read_text())
    names = [f"m{number}" for number in range(6)]
    for name in names:
        project.drop(f"{name}.yaml", "agent: sh\nprompt: sleep 0.2\n")
    ends = together(
        project,
        *[(verb, name) for name in names for verb in ("cancel", "hold", "retry", "release")],
    )
    assert not any("internal" in text or "Traceback" in text for _, text in ends), ends
    for name in names:
        if project.where(name) == "held":
            project.run("cancel", name)
    wait_until(
        lambda: (
            all(project.where(name) in ("done", "cancelled", "failed") for name in names)
            and not os.listdir(project.layout.active)
        ),
        "all have ended",
    )
    for name in names:
        attempts = [
            Counter(event["attempt"] for event in project.events(kind, name))
            for kind in ("attempt_started", "attempt_finished")
        ]
        assert all(count == 1 for counts in attempts for count in counts.values()), (name, attempts)
        started, finished = map(set, attempts)
        assert len(finished) <= 1 + len(project.events("task_requeued", name)), name
        assert started <= finished, name
        # A cancel that is asked for while the supervisor comes to be ends the attempt before its tool begins.
        for event in project.events("attempt_finished", name):
            assert event["attempt"] in started or event["outcome"] == "cancelled", event
