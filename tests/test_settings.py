"""Settings that are edited while a watcher runs: they count at once, what is wrong is told, and nothing is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import wait_until

from orchestrator.files import configuration, trust
from orchestrator.model.budget import Budgets

BASE = "retry: {delay: 100ms}\nwatch: {rescan: 60s}\nagents:\n  'true': {tool: shell, command: [/bin/true]}\n  sh: {tool: shell, command: [sh]}\n"


def replace(project, text: str) -> None:
    """As most editors save: a new file in the old one's place."""
    path = project.work / "orchestrator.yaml"
    beside = path.with_name("orchestrator.yaml~")
    beside.write_text(text)
    beside.rename(path)


def status(project) -> dict:
    return json.loads(project.run("status", "--json").stdout)


def test_an_agent_that_is_added_takes_the_task_that_waited_for_it(project, watch):
    """Saved by a rename and in place; the file that was invalid is not touched."""
    project.config(BASE)
    watcher = watch()
    project.drop("a.yaml", "agent: one\nprompt: x\n")
    project.drop("b.yaml", "agent: two\nprompt: x\n")
    project.drop("c.yaml", "agent: three\nprompt: x\n")
    wait_until(lambda: len(project.events("task_invalid")) == 3, "none of them is known")
    replace(project, BASE + "  one: {tool: shell, command: [/bin/true]}\n")
    project.settled("a", "done")
    project.config(BASE + "  two: {tool: shell, command: [/bin/true]}\n")
    project.settled("b", "done")
    assert project.where("c") == "inbox"
    assert [event["summary"] for event in project.events("settings_changed")] == [
        "agents",
        "agents",
    ]
    watcher.stop()
    told = watcher.text()
    assert told.count(" settings ") == 2 and told.count("invalid   c ") == 1, told


def test_a_task_dropped_right_after_the_settings_goes_by_them(project, watch):
    base = BASE.replace("60s", "60s, reload: always")
    project.config(base)
    watch()
    for number in range(20):
        replace(project, base + f"  n{number}: {{tool: shell, command: [/bin/true]}}\n")
        project.drop(f"t{number}.yaml", f"agent: n{number}\nprompt: x\n")
    project.settled("t19", "done")
    assert project.events("task_invalid", "t19") == []


def test_what_is_wrong_is_told_and_the_former_settings_stay(project, watch):
    project.config(BASE.replace("60s", "200ms"))
    watcher = watch()
    replace(project, BASE + "limits: {runing: 2}\n")
    wait_until(
        lambda: (
            "work/orchestrator.yaml:6:10: unknown key 'runing' - did you mean 'running'?"
            in watcher.text()
        ),
        "it is told",
    )
    project.drop("a.yaml", "agent: 'true'\nprompt: x\n")
    project.settled("a", "done")
    assert status(project)["watcher"]["settings"].startswith("work/orchestrator.yaml:6:")
    assert (
        "the previous settings stay in effect" in project.run("status").stdout
        and "!" in project.run("status", "--short").stdout
    )
    (project.work / "orchestrator.yaml").unlink()
    wait_until(
        lambda: "work/orchestrator.yaml cannot be read" in watcher.text(),
        "the next listing finds that it is gone",
    )
    replace(project, BASE + "limits: {running: 2}\n")
    wait_until(lambda: status(project)["watcher"]["slots"] == 2, "the new limit counts")
    assert (
        status(project)["watcher"]["settings"] == ""
        and 'changed="limits, watch.rescan"' in watcher.text()
    )


def test_more_slots_start_more_and_fewer_end_nothing(project, watch):
    project.config(BASE + "limits: {running: 1}\n")
    watch()
    go = project.root / "go"
    for name in "abc":
        project.drop(
            f"{name}.yaml", f"agent: sh\nprompt: while ! test -e {go}; do sleep 0.02; done\n"
        )
    wait_until(lambda: len(project.events("attempt_started")) == 1, "one runs")
    replace(project, BASE + "limits: {running: 3}\n")
    project.run("reload")
    wait_until(lambda: len(project.events("attempt_started")) == 3, "all run")
    replace(project, BASE + "limits: {running: 1}\n")
    project.run("reload")
    wait_until(lambda: status(project)["watcher"]["slots"] == 1, "one slot again")
    assert len(status(project)["running"]) == 3
    go.touch()
    for name in "abc":
        project.settled(name, "done")


def test_a_pause(project, watch):
    project.config(BASE)
    watch()
    go = project.root / "go"
    project.drop("a.yaml", f"agent: sh\nprompt: while ! test -e {go}; do sleep 0.02; done\n")
    wait_until(lambda: project.events("attempt_started", "a"), "it runs")
    replace(project, BASE + "limits: {running: 0}\n")
    assert "; what runs here now uses them" in project.run("reload").stdout
    wait_until(lambda: "paused (limits.running: 0)" in project.run("status").stdout, "it says so")
    project.drop("b.yaml", "agent: 'true'\nprompt: x\n")
    wait_until(
        lambda: "it is paused: nothing new starts" in project.run("why", "b").stdout, "b knows why"
    )
    go.touch()
    project.settled("a", "done")
    assert project.where("b") == "inbox"
    replace(project, BASE + "limits: {per_agent: {'true': 0}}\n")
    wait_until(lambda: "agent true is paused" in project.run("why", "b").stdout, "only this agent")
    project.drop("c.yaml", "agent: sh\nprompt: exit 0\n")
    project.settled("c", "done")
    assert project.where("b") == "inbox"
    replace(project, BASE)
    project.settled("b", "done")


def test_what_the_command_line_said_stays(project, watch):
    project.config(BASE)
    watch("--slots", "3")
    replace(project, BASE.replace("100ms", "200ms") + "limits: {running: 1}\n")
    wait_until(lambda: project.events("settings_changed"), "it was read")
    assert status(project)["watcher"]["slots"] == 3


def test_tools_and_profiles_count_too(project, watch):
    """Folders that were not there when the watcher started; a tool that is wrong changes nothing."""
    project.config(BASE.replace("60s", "200ms"))
    watcher = watch()
    project.drop("a.yaml", "agent: mine\nprompt: x\n")
    project.drop("b.yaml", "agent: role\nprompt: x\n")
    wait_until(lambda: len(project.events("task_invalid")) == 2, "neither is known")
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/mine.yaml").write_text("argv: ['true']\nprompt: nowhere\n")
    wait_until(lambda: "work/tools/mine.yaml:2:9" in watcher.text(), "the tool is wrong")
    (project.work / "tools/mine.yaml").write_text("argv: ['true']\n")
    project.settled("a", "done")
    (project.work / "agents").mkdir()
    (project.work / "agents/role.md").write_text("---\ntool: mine\n---\nYou help.\n")
    project.settled("b", "done")


def test_half_a_file_is_not_taken(project, watch):
    """Somebody types it with cat: it is empty for a while, which would be all defaults."""
    project.config(BASE.replace("60s", "100ms"))
    watch()
    beat = project.work / ".state/watcher.json"
    with open(project.work / "orchestrator.yaml", "w") as file:
        for _ in range(5):  # several listings
            before = beat.stat().st_mtime_ns
            wait_until(lambda then=before: beat.stat().st_mtime_ns != then, "a listing")
        project.drop("a.yaml", "agent: 'true'\nprompt: x\n")
        project.settled("a", "done")
        assert not project.events("settings_changed")
        file.write(BASE + "limits: {running: 2}\n")
    wait_until(lambda: status(project)["watcher"]["settings_held"], "a task ran meanwhile")
    project.run("reload")
    assert status(project)["watcher"]["slots"] == 2


def test_a_tool_that_is_wrong_from_the_start_is_left_out(project, watch):
    """The rest counts, also what is saved later."""
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/bad.yaml").write_text("argv: true\n")
    project.config(BASE)
    watcher = watch("-q")
    wait_until(
        lambda: (
            "work/tools/bad.yaml:1:7" in watcher.text()
            and "this tool is left out" in watcher.text()
        ),
        "it is told",
    )
    replace(project, BASE + "  one: {tool: shell, command: [/bin/true]}\n")
    project.drop("a.yaml", "agent: one\nprompt: x\n")
    project.settled("a", "done")
    (project.work / "tools/bad.yaml").write_text("argv: ['true']\n")
    project.drop("b.yaml", "agent: bad\nprompt: x\n")
    project.settled("b", "done")
    assert status(project)["watcher"]["settings"] == ""


def test_without_notifications_they_are_found_by_the_listing(project, watch):
    project.config(BASE.replace("60s", "200ms, notify: poll"))
    watch()
    project.drop("a.yaml", "agent: one\nprompt: x\n")
    wait_until(lambda: project.events("task_invalid"), "it is not known")
    project.config(
        BASE.replace("60s", "200ms, notify: poll") + "  one: {tool: shell, command: [/bin/true]}\n"
    )
    project.settled("a", "done")


def test_the_next_attempt_goes_by_what_is_configured_then(project, watch):
    project.config(
        BASE.replace("100ms", "1s") + "  mended: {tool: shell, command: [/bin/false], retries: 3}\n"
    )
    watch()
    project.drop("a.yaml", "agent: mended\nprompt: x\n")
    wait_until(lambda: project.events("task_retrying", "a"), "it has failed once")
    alive = Path(f"{trust.folder_of(project.layout)}/alive.json")
    wait_until(lambda: not alive.exists(), "what comes now is a person's")
    replace(
        project,
        BASE.replace("100ms", "1s") + "  mended: {tool: shell, command: [/bin/true], retries: 3}\n",
    )
    project.settled("a", "done")
    assert len(project.events("attempt_started", "a")) == 2


def test_hooks_and_budgets_count_at_once(project, watch):
    told = project.root / "told"
    project.config(BASE)
    watch()
    project.drop("a.yaml", "agent: 'true'\nprompt: x\n")
    project.settled("a", "done")
    replace(
        project,
        BASE
        + f"hooks: [{{run: [sh, -c, 'echo {{task_id}} >> {told}'], on: [task_finished]}}]\nbudgets: {{day: {{hard_usd: 0}}}}\n",
    )
    wait_until(lambda: project.events("settings_changed"), "they are read")
    project.drop("b.yaml", "agent: 'true'\nprompt: x\n")
    wait_until(lambda: "day" in project.run("why", "b").stdout, "the day's budget is spent")
    replace(
        project,
        BASE + f"hooks: [{{run: [sh, -c, 'echo {{task_id}} >> {told}'], on: [task_finished]}}]\n",
    )
    project.settled("b", "done")
    wait_until(lambda: told.exists() and told.read_text() == "b\n", "the hook was told")


def test_a_task_cannot_change_what_it_is_allowed(project, watch):
    """An agent that may edit files must not become one that runs programs: neither at once nor when it has ended."""
    config = project.work / "orchestrator.yaml"
    project.config(BASE)
    watcher = watch()
    project.drop(
        "a.yaml",
        f"agent: sh\nprompt: |\n  printf '  evil: {{tool: shell, command: [touch, evil]}}\\n' >> {config}\n"
        f"  printf 'agent: evil\\nprompt: x\\n' > {project.work}/inbox/.b; mv {project.work}/inbox/.b {project.work}/inbox/b.yaml\n"
        "  exit 0\n",
    )
    project.settled("a", "done")
    wait_until(lambda: project.events("task_invalid", "b"), "b names an agent that is not in force")
    wait_until(
        lambda: (
            "agents changed while tasks ran; to accept it: orchestrator approve --settings"
            in project.run("status").stdout
        ),
        "it is held",
    )
    doctor = {
        check["id"]: check
        for check in json.loads(project.run("doctor", "--json", code=None).stdout)["checks"]
    }
    assert doctor["watcher"]["status"] == "note" and doctor["watcher"]["fix"].endswith(
        "orchestrator approve --settings"
    )
    project.drop("c.yaml", "agent: 'true'\nprompt: x\n")
    project.settled("c", "done")
    config.write_text(
        config.read_text() + "limits: {running: 2}\n"
    )  # a person's change does not bring it in, either
    wait_until(
        lambda: "limits, agents changed while tasks ran" in project.run("status").stdout,
        "both are held",
    )
    assert (
        project.where("b") == "inbox"
        and not project.events("settings_changed")
        and not (project.root / "evil").exists()
    )
    project.config(BASE)  # undone: nothing is held any more
    wait_until(lambda: status(project)["watcher"]["settings"] == "", "as they were")
    project.config(BASE + "limits: {running: 2}\n")
    wait_until(
        lambda: status(project)["watcher"]["slots"] == 2, "and a person's change counts at once"
    )
    watcher.stop()
    assert watcher.text().count("changed while tasks ran") == 2, watcher.text()


def test_without_notifications_a_task_cannot_either(project, watch):
    config = project.work / "orchestrator.yaml"
    base = BASE.replace("60s", "200ms, notify: poll")
    project.config(base)
    watch()
    for number in range(10):
        project.drop(
            f"a{number}.yaml", f"agent: sh\nprompt: |\n  echo 'on_lost: retry' >> {config}\n"
        )
        project.settled(f"a{number}", "done")
        config.write_text(base)
    project.drop("b.yaml", f"agent: sh\nprompt: |\n  echo 'on_lost: retry' >> {config}\n")
    project.settled("b", "done")
    wait_until(
        lambda: "on_lost changed while tasks ran" in project.run("status").stdout, "it is held"
    )
    assert not project.events("settings_changed")


def test_a_task_that_a_person_runs_beside_the_watcher_cannot_either(project, watch):
    config = project.work / "orchestrator.yaml"
    project.config(BASE + "limits: {running: 0}\n")
    project.drop(
        "a.yaml",
        f"agent: sh\nprompt: |\n  echo 'on_lost: retry' >> {config}\n  while ! test -e {project.root}/go; do sleep 0.02; done\n",
    )
    watch()
    run = subprocess.Popen(
        [project.python, "-m", "orchestrator", "run", "a"],
        cwd=project.root,
        env=project.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(
        lambda: "on_lost changed while tasks ran" in project.run("status").stdout, "it is held"
    )
    (project.root / "go").touch()
    assert run.wait(30) == 0
    assert not project.events("settings_changed")


def test_reload(project, watch):
    project.config(BASE)
    assert "now uses them" not in project.run("approve", "--settings").stdout
    watcher = watch()
    assert "; what runs here now uses them" in project.run("reload").stdout
    project.config("limits: {runing: 2}\n")
    assert "1:10: error: unknown key 'runing'" in project.run("reload", code=4).stderr
    assert watcher.process.poll() is None


def test_others_must_not_be_able_to_write_them(project, watch):
    """What would keep a watcher from starting keeps it from taking the settings over."""
    project.config(BASE)
    watcher = watch()
    beside = project.work / "new"
    beside.write_text(BASE + "  one: {tool: shell, command: [/bin/true]}\n")
    beside.chmod(0o666)
    os.rename(beside, project.work / "orchestrator.yaml")
    wait_until(lambda: "can be written by everyone" in watcher.text(), "it is refused")
    project.drop("a.yaml", "agent: one\nprompt: x\n")
    wait_until(lambda: project.events("task_invalid", "a"), "the former ones count")
    replace(project, BASE + "  one: {tool: shell, command: [/bin/true]}\n")
    project.settled("a", "done")


def test_git_that_does_not_answer_keeps_nothing_but_starts_waiting(project, watch, tmp_path):
    """Whether git brought changed settings is asked beside the loop: meanwhile nothing starts, and everything else goes on."""
    slow, programs = tmp_path / "slow", tmp_path / "programs"
    programs.mkdir()
    git = programs / "git"
    real = shutil.which("git")
    git.write_text(f'#!/bin/sh\nwhile [ -e {slow} ]; do sleep 0.02; done\nexec {real} "$@"\n')
    git.chmod(0o755)
    text = "from_git: run\nwatch: {rescan: 200ms}\nagents:\n  t: {tool: shell, command: ['true']}\n"
    project.config(text)
    named = ["-c", "user.name=x", "-c", "user.email=x"]
    for words in (
        ["init", "-q"],
        ["add", "work/orchestrator.yaml"],
        [*named, "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=project.root, check=True, env=project.env)
    project.run("approve", "--settings")
    path = project.env["PATH"]
    project.env["PATH"] = f"{programs}:{path}"
    watch()
    project.env["PATH"] = path  # the verbs' git answers
    slow.touch()
    project.config(text + "  u: {tool: shell, command: ['true']}\n")
    wait_until(lambda: "git has not said" in json.dumps(project.json("status")), "status tells it")
    project.drop("a.yaml", "agent: t\nprompt: x\n")
    wait_until(
        lambda: [gate["name"] for gate in project.json("why", "a")["gates"]] == ["settings"],
        "why names it",
    )
    project.json("hold", "--tool", "demo", "in the meantime")
    card = project.work / ".state/watcher.json"
    wait_until(lambda: "in the meantime" in card.read_text(), "the loop goes on")
    assert not project.events("attempt_started")
    project.config(text)  # undone: no question is left
    project.settled("a", "done")
    project.config(text + "  v: {tool: shell, command: ['true']}\n")
    project.drop("b.yaml", "agent: v\nprompt: x\n")
    slow.unlink()
    project.settled("b", "done")
    assert "git has not said" not in card.read_text()


def test_waiting_tasks_are_not_told_of_again(project, watch):
    project.config(BASE)
    watcher = watch()
    for number in range(300):
        project.drop(f"t{number}.yaml", "agent: 'true'\nneeds: [later]\nprompt: x\n")

    def told() -> int:
        """Of a flood the first are told one by one, the others as a number."""
        more = re.findall(r"(\d+) more tasks wait", watcher.text())
        return watcher.text().count(" waiting ") + sum(map(int, more))

    wait_until(lambda: told() >= 300, "all wait")
    replace(project, BASE + "limits: {running: 2}\n")
    wait_until(lambda: project.events("settings_changed"), "they are read")
    project.drop("later.yaml", "agent: 'true'\nprompt: x\n")
    for number in range(300):
        project.until(f"t{number}", "done")
    watcher.stop()
    waits = [
        line
        for line in watcher.text().splitlines()
        if " waiting " in line and "after later" in line
    ]
    assert len(waits) <= 301, len(waits)


def test_a_warning_that_would_come_too_late_is_told(project):
    project.config(
        "budgets:\n  day: {soft_usd: 5, hard_usd: 1}\n  task: {soft_usd: 1, hard_usd: 5}\n"
        "  agents:\n    sh: {hard_usd: 0, soft_usd: 0.5}\n"
    )
    shown = project.run("validate", "--format", "concise", code=4).stdout
    told = [line.partition(":")[2].partition(" (make")[0] for line in shown.splitlines()]
    assert told == [
        "2:19: soft_usd (5) is more than hard_usd (1): it warns of nothing",
        "5:33: soft_usd (0.5) is more than hard_usd (0): it warns of nothing",
    ]


def test_names_in_settings_that_mean_nothing(project):
    """An agent whose tool is misspelt would wait for ever."""
    project.config(
        "agents:\n  x: {tool: clade}\n  y: {tool: [claude, gemin]}\ndefaults: {agent: nix}\n"
        "limits: {reserve: {claud: 20%, codex: 10%, x: 5%}}\n"
    )
    (project.work / "agents").mkdir(exist_ok=True)
    (project.work / "agents/pro.md").write_text("---\ntool: codx\n---\nBe good.\n")
    shown = project.run("validate", "--format", "concise", code=4).stdout.splitlines()
    assert [line.partition(" (")[0] for line in shown] == [
        "work/orchestrator.yaml:2:13: there is no tool 'clade'",
        "work/orchestrator.yaml:3:13: there is no tool 'gemin'",
        "work/orchestrator.yaml:4:19: there is no agent 'nix'",
        "work/orchestrator.yaml:5:27: there is no tool or agent 'claud'",
        "work/agents/pro.md:2:7: there is no tool 'codx'",
    ]
    assert "did you mean 'claude'?" in shown[0]
    settings = project.run("validate", "work/orchestrator.yaml", "--format", "concise", code=4)
    assert settings.stdout.count("there is no") == 4


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("", False),
        ("limits: {running: 1}\n", False),
        ("# budgets: {day: {hard_usd: 1}}\n  # budgets:\n", False),
        ("budgets: {day: {hard_usd: 1}}\n", True),
        ("{limits: {running: 1}, budgets: {day: {hard_usd: 1}}}", True),
        ("'budgets' : {day: {hard_usd: 1}}", True),
        ('"\\x62udgets": {day: {hard_usd: 1}}', True),
        ("\ufeffbudgets: {day: {hard_usd: 1}}".encode("utf-16-le"), True),
    ],
)
def test_what_the_text_of_the_settings_cannot_say(project, text, may):
    """A verb that asks for one key need not read all settings as YAML to know that there is none."""
    raw = text if isinstance(text, bytes) else text.encode()
    (project.work / "orchestrator.yaml").write_bytes(raw)
    assert configuration.may_set(project.layout, "budgets") is may
    if isinstance(text, str):  # else it is no UTF-8, and nobody knows what it says
        assert (configuration.load_config(project.layout).budgets != Budgets()) <= may
