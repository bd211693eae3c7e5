"""Hooks are told of events, and nothing that they do reaches the work."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import wait_until

SAVE = "import json, sys; open(sys.argv[1], 'a').write(json.dumps([sys.argv[2:], json.load(sys.stdin)]) + '\\n')"


def hooks(project, *listed: dict) -> None:
    project.config(
        json.dumps({"agents": {"sh": {"tool": "shell", "command": ["sh"]}}, "hooks": list(listed)})
    )


def told(path: Path) -> list:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_an_event_arrives_on_standard_input_and_in_words(project):
    seen = project.root / "seen"
    hooks(
        project,
        {
            "on": ["task_finished"],
            "status": ["failed"],
            "run": [sys.executable, "-c", SAVE, str(seen), "{task_id}", "{status}: {summary}"],
        },
    )
    project.drop("good.yaml", "agent: sh\nprompt: 'true'\n")
    project.drop("bad.yaml", "agent: sh\nprompt: echo --oh no >&2; exit 3\n")
    project.run("watch", "--until-empty", code=1)
    ((words, event),) = told(seen)
    assert words == ["bad", "failed: exit 3: --oh no"]
    assert (
        event["event"] == "task_finished"
        and event["exit_code"] == 3
        and event["project"] == str(project.root)
    )
    assert event["event_id"] in [item["event_id"] for item in project.events()]


def test_without_conditions_it_hears_everything(project):
    seen = project.root / "seen"
    hooks(project, {"run": [sys.executable, "-c", SAVE, str(seen)]})
    project.drop("a.yaml", "agent: sh\nprompt: 'true'\n")
    project.run("watch", "--until-empty")
    assert sorted(event["event_id"] for _, event in told(seen)) == sorted(
        event["event_id"] for event in project.events()
    )


@pytest.mark.parametrize(
    "command,why",
    [
        (["sh", "-c", "echo broken >&2; exit 7"], "exit 7: broken"),
        (["/no/such/program"], "could not be started: No such file or directory"),
        (["sh", "-c", "sleep 60 & sleep 60"], "took longer than 0.5 s and was ended"),
        (["sh", "-c", "kill -9 $$"], "exit -9"),
        (["sh", "-c", "seq 9000 >&2; echo as $HOOK_TOKEN >&2; exit 7"], "exit 7: as **********"),
        (["sh", "-c", "seq 99999 >&2; exit 7"], ': exit 7"\n'),
    ],
)
def test_a_hook_that_fails_hurts_no_task(project, command, why):
    hooks(project, {"on": ["task_finished"], "run": command, "timeout": "500ms"})
    project.env["HOOK_TOKEN"] = "hush, hush"
    for number in range(3):
        project.drop(f"t{number}.yaml", "agent: sh\nprompt: 'true'\n")
    done = project.run("watch", "--until-empty")
    assert all(project.where(f"t{number}") == "done" for number in range(3))
    assert why in done.stdout and " hook " in done.stdout


def test_a_hook_that_hangs_holds_nothing_up(project, watch):
    hooks(project, {"run": ["sleep", "3600"], "timeout": "1h"})
    watcher = watch()
    for number in range(20):
        project.drop(f"t{number}.yaml", "agent: sh\nprompt: 'true'\n")
    for number in range(20):
        project.settled(f"t{number}", "done")
    watcher.send(2)
    wait_until(lambda: "stopped" in watcher.text(), "it stops")


def test_a_summary_is_never_an_option(project):
    seen = project.root / "seen"
    hooks(
        project,
        {"on": ["task_finished"], "run": [sys.executable, "-c", SAVE, str(seen), "{summary}"]},
    )
    from orchestrator.coordination.hooks import Hooks
    from orchestrator.coordination.settings import Fixed
    from orchestrator.model.config import Config, Hook

    class Deaf:
        def hear(self, news: object) -> None:
            pass

    hook = Hook((sys.executable, "-c", SAVE, str(seen), "{summary}", "$(reboot) `x`"))
    inside = Hooks(Fixed(Config(hooks=(hook,))), str(project.root), Deaf())
    inside.offer([{"event": "task_finished", "summary": "--force\nnow\x1b[31m"}])
    inside.close()
    assert told(seen)[0][0] == [" --force now", "$(reboot) `x`"]


def test_an_unknown_event_has_its_place(project):
    project.config("hooks:\n  - on: [task_finishd]\n    run: [true]\n")
    done = project.run("validate", code=4)
    assert (
        "orchestrator.yaml:2:10: error: 'task_finishd' is not one of the allowed values"
        in done.stdout
        and "did you mean 'task_finished'?" in done.stdout
    )
