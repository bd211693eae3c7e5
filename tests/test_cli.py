"""What the transcripts cannot show: editors, following, completion, signals, colours."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress

import pytest
from click.testing import CliRunner
from conftest import Project, fresh, wait_until
from transcripts import Stage

from orchestrator.cli.screen.console import day_cost

READING = [
    ("status",),
    ("list",),
    ("show", "a"),
    ("why", "a"),
    ("runs",),
    ("runs", "r"),
    ("events",),
    ("tools",),
    ("agents",),
    ("doctor",),
    ("logs", "a"),
]


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """For verbs that read: they have one project for all."""
    project = fresh(tmp_path_factory.mktemp("used"))
    project.drop("a.yaml", "prompt: hello\n")
    project.drop("r.yaml", "tasks: {x: hello}\n")
    project.run("watch", "--until-empty")
    return project


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_json_is_one_document_with_a_version(used, words):
    document = json.loads(used.run(*words, "--json", code=None).stdout)
    assert document["schema_version"] == 2 and document["kind"]


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_pipes_get_plain_lines(used, words):
    done = used.run(*words, code=None)
    assert (
        "\x1b" not in done.stdout and done.stdout == done.stdout.encode().decode("ascii", "ignore")
    ) or all(char.isprintable() or char in "\n\t" for char in done.stdout)


def editor(project, script: str) -> None:
    path = project.root.parent / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    project.env.update(EDITOR=str(path), VISUAL="", ORCHESTRATOR_FORCE_EDITOR="1")


def test_new_in_an_editor(project):
    editor(project, "sed -i 's/^  $/  From the editor./' \"$1\"")
    done = project.run("new", "-e", "-a", "demo", "--id", "e")
    text = (project.work / "inbox" / "e.yaml").read_text()
    assert done.stdout == "work/inbox/e.yaml\n"
    assert (
        "From the editor." in text
        and "agent: demo" in text
        and text.startswith("# yaml-language-server: $schema=../schemas/")
    )
    assert "save and close" not in text


def test_an_empty_or_invalid_draft_makes_no_task(project):
    editor(project, "true")
    assert "no task was made" in project.run("new", "-e", code=1).stderr
    editor(project, "printf 'promt: x\\nprompt: y\\n' > \"$1\"")
    done = project.run("new", "-e", code=None, stdin="n\n")
    assert "did you mean" in done.stderr and not list((project.work / "inbox").glob("*.yaml"))


def test_an_editor_needs_a_terminal(project):
    assert "needs a terminal" in project.run("new", "-e", code=2).stderr


def test_ids_say_when_and_what(project):
    first = project.run("new", "Review the retry logic, please!").stdout.strip()
    second = project.run("new", "Review the retry logic, please!").stdout.strip()
    assert first.endswith("-review-the-retry-logic-please.yaml") and second != first
    assert time.strftime("%Y-%m-%d") in first


def test_many_at_once_lose_nothing(project):
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "new", "same words"],
            cwd=project.root,
            env=project.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    paths = [job.communicate()[0].strip() for job in jobs]
    assert len(set(paths)) == 8 and all((project.root / path).exists() for path in paths)
    assert len(project.events("task_submitted")) == 8


def test_a_task_that_queues_a_task_is_its_parent(project):
    project.config(
        f"agents: {{p: {{tool: shell, command: ['{sys.executable}', -m, orchestrator, new, 'child', --id, child]}}}}\n"
        "environment: {pass: [PYTHONPATH]}\n"
    )
    project.drop("parent.yaml", "agent: p\nprompt: x\ncwd: .\n")
    project.run("watch", "--until-empty")
    assert project.where("child") == "done", project.log("parent", name="stderr.log")
    assert project.events("task_submitted", "child")[0]["parent"] == "parent"


def test_logs_follow_over_attempts_to_the_outcome(project, watch):
    watch()
    follower = None
    seen = project.root / "seen"
    try:
        project.drop(
            "a.yaml",
            "agent: sh\nretries: 1\nprompt: |\n  echo attempt $ORCHESTRATOR_ATTEMPT\n"
            f"  until [ -e {seen} ]; do sleep 0.02; done\n  test $ORCHESTRATOR_ATTEMPT = 2\n",
        )
        follower = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "logs", "-f", "a"],
            cwd=project.root,
            env=project.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        first = follower.stdout.readline()  # else it could come when the first one has ended
        seen.touch()
        out, err = follower.communicate(timeout=30)
    finally:
        if follower is not None and follower.poll() is None:
            follower.kill()
    assert first + out == "attempt 1\nattempt 2\n" and follower.returncode == 0
    assert "attempt 1" in err and "attempt 2" in err and "==> done" in err


def test_logs_are_cleaned_unless_raw(project):
    project.drop(
        "a.yaml",
        "agent: sh\nprompt: |\n  printf 'x\\033]0;evil\\007\\033[2J\\033[31mred\\033[0m\\n'\n",
    )
    project.run("watch", "--until-empty")
    assert project.run("logs", "a").stdout == "xred\n"
    assert "\x1b[2J" in project.run("logs", "a", "--raw").stdout
    assert project.run("logs", "a", "-n", "0").stdout == ""


def test_events_follow(project, watch):
    follower = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "orchestrator",
            "events",
            "-f",
            "--jsonl",
            "--type",
            "task_finished",
        ],
        cwd=project.root,
        env={**project.env, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(0.5)  # it begins at the end of the log; what matters comes after
        watch()
        project.drop("a.yaml", "prompt: x\n")
        assert json.loads(follower.stdout.readline())["task_id"] == "a"
    finally:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 130


def test_what_runs_is_not_parked_and_that_is_said_at_once(project, watch):
    watch()
    project.drop("a.yaml", "agent: sh\nprompt: exec sleep 60\n")
    wait_until(lambda: project.events("attempt_started", "a"), "it runs")
    for verb in ("hold", "retry"):
        done = project.run(verb, "a", code=1)
        assert "error: a is running\nhint:  orchestrator cancel a" in done.stderr
    project.run("cancel", "a")
    project.settled("a", "cancelled")
    assert "nothing here yet" not in project.run("status").stdout


def test_status_in_a_pipe_tells_what_changes(project):
    project.drop("a.yaml", "prompt: x\n")
    looker = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "status", "-f", "--interval", "0.1"],
        cwd=project.root,
        env={**project.env, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = iter(looker.stdout.readline, "")
        assert any(line.startswith("a\t") for line in lines)
        project.drop("b.yaml", "prompt: x\n")
        told = [next(lines)]
        while not told[-1].startswith("b\t"):
            told.append(next(lines))
        assert not [line for line in told if line.startswith(("a\t", "no watcher"))]
    finally:
        looker.send_signal(signal.SIGINT)
        assert looker.wait(10) == 130


def test_status_keeps_looking(project):
    looker = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "status", "-f", "--interval", "0.1", "--short"],
        cwd=project.root,
        env={**project.env, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert looker.stdout.readline().startswith("0▶ 0·")
        project.drop("a.yaml", "prompt: x\n")
        wait_until(lambda: looker.stdout.readline().startswith("0▶ 1·"), "the change")
    finally:
        looker.send_signal(signal.SIGINT)
        assert looker.wait(10) == 130


def on_a_terminal(
    project, *words: str, seconds: float = 20.0, enough: bytes = b"", typed=lambda seen: b""
) -> bytes:
    """What a verb writes to a terminal, to its end or until there is enough of it. ``typed``: what a person types who sees so much."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *words],
        cwd=project.root,
        stdin=child,
        stdout=child,
        stderr=child,
        env={**project.env, "TERM": "xterm", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"},
        start_new_session=True,
    )
    os.close(child)
    data, end = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < end and not (enough and enough in data):
            data += os.read(parent, 1 << 16)
            os.write(parent, typed(data))
    except OSError:  # its end
        pass
    interrupted = time.monotonic() + 20
    while process.poll() is None:  # one that comes just before Python waits for a line wakes nobody
        assert time.monotonic() < interrupted, f"{words} does not end"
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
    os.close(parent)
    return data


def test_status_on_a_terminal_is_redrawn_without_flicker(project):
    project.drop("a.yaml", "prompt: x\n")
    seen = on_a_terminal(project, "status", "-w", "--interval", "0.1", enough=b"\x1b[J\x1b[H")
    assert b"\x1b[2J" not in seen and b"1 waiting" in seen and b"\x1b[K" in seen


def test_paths_are_links_on_a_terminal_only(project):
    project.drop("a-b.yaml", "prompt: x\n")
    seen = on_a_terminal(project, "show", "a-b")
    link = f"file://{socket.gethostname()}{project.root}/work/inbox/a-b.yaml".encode()
    assert b"\x1b]8;;" + link + b"\x1b\\work/inbox/a-b.yaml\x1b]8;;\x1b\\" in seen
    assert "\x1b" not in project.run("show", "a-b").stdout


def test_the_service_is_a_unit_that_systemd_takes(tmp_path):
    """It takes a path as it stands, but a word with its escapes."""
    odd = """it's 100% "a\\x41" $HOME;#"""
    project = Project(tmp_path / odd)
    project.root.mkdir()
    project.run("init")
    project.env["PATH"] += f":/opt/{odd}\t/bin"
    unit = tmp_path / "orchestrator-acme.service"
    unit.write_text(project.run("service").stdout)
    lines = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line)
    assert lines["KillMode"] == "process"
    assert lines["WorkingDirectory"] == str(project.root).replace("%", "%%")
    assert lines["Environment"].encode().decode("unicode_escape") == "PATH=" + project.env[
        "PATH"
    ].replace("%", "%%")
    assert not set(lines["Environment"]) & set("\"' \t")
    if shutil.which("systemd-analyze"):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--user", str(unit)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert str(unit) not in done.stderr, done.stderr


@pytest.mark.parametrize("end", ["\n", "\t", " ", "\\", "\u202e", "\r"])
def test_a_path_that_no_unit_can_name(tmp_path, end):
    project = Project(tmp_path / f"a{end}")
    project.root.mkdir()
    project.run("init")
    assert "a unit file cannot name it" in project.run("service", code=None).stderr


def test_wait(project, watch):
    watch()
    project.drop("a.yaml", "agent: sh\nprompt: |\n  sleep 0.3\n")
    project.drop("b.yaml", "agent: sh\nprompt: |\n  sleep 0.3; exit 1\n")
    project.run("wait", "a")
    project.run("wait", "a", "b", code=1)
    project.drop("c.yaml", "prompt: x\nhold: true\n")
    assert "still waiting for c" in project.run("wait", "c", "--timeout", "100ms", code=124).stderr
    project.drop("bad.yaml", "prompt: x\nresume: y\n")
    said = project.run("wait", "bad", "c", "--timeout", "2s", code=124).stderr
    assert (
        "bad waits: 2:1 unknown key 'resume'" in said
        and "orchestrator validate work/inbox/bad.yaml" in said
        and "c waits: held" in said
    )
    project.run("wait", "a", "c", "--any")
    project.run("wait", "a", "--timeout", "soon", code=2)


def test_run_in_the_foreground(project, watch):
    watch()
    project.drop("b.yaml", "prompt: x\nneeds: [zzz]\n")
    assert "needs zzz" in project.run("run", "b", code=1).stderr
    project.run("run", "b", "--force")
    assert project.where("b") == "done"


def test_ctrl_c_cancels_what_run_runs(project):
    project.drop(
        "a.yaml",
        "agent: sh\nprompt: |\n  trap 'exit 3' INT; echo up; while :; do sleep 0.05; done\n",
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "run", "a"],
        cwd=project.root,
        env=project.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: "up" in project.log("a"), "a runs")
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 1 and "up" in out and "==> cancelled" in err
    assert project.where("a") == "cancelled" and project.result("a")["exit_code"] == 3


def test_the_watcher_takes_up_what_a_killed_run_left(project, watch):
    project.drop("a.yaml", "agent: sh\nprompt: |\n  echo up; sleep 1; exit 4\n")
    running = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "run", "a"],
        cwd=project.root,
        env=project.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: "up" in project.log("a"), "a runs")
    running.kill()
    running.wait()
    watch()
    project.settled("a", "failed")
    assert project.result("a")["exit_code"] == 4


def complete(project, *words: str) -> list[str]:
    line = " ".join(["orchestrator", *words])
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator"],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
        env={
            **project.env,
            "_ORCHESTRATOR_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words)),
        },
    )
    return [item.split(",", 1)[1] for item in done.stdout.split() if "," in item]


def test_completion_knows_verbs_and_live_ids(project):
    project.drop("bump-deps.yaml", "prompt: x\n")
    project.drop("review-retry.yaml", "prompt: [not even valid\n")
    assert complete(project, "sho") == ["show"]
    assert complete(project, "show", "") == ["bump-deps", "review-retry"]
    assert complete(project, "cancel", "retry") == ["review-retry"]
    assert complete(project, "release", "") == []
    assert "high" in complete(project, "new", "-p", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(project, shell):
    assert "_ORCHESTRATOR_COMPLETE" in project.run("completion", shell).stdout


@pytest.mark.process
def test_init_finds_agents_that_answer(tmp_path):
    stage = Stage(tmp_path / "home", terminal=False)
    for name, body in (
        ("claude", "echo '2.1.330 (Claude Code)'"),
        ("codex", "echo codex-cli 0.171.0"),
        ("gemini", "exit 1"),
    ):
        path = tmp_path / "home" / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    printed = "\n".join(stage.run("orchestrator init"))
    assert "claude 2.1.330, codex 0.171.0" in printed and "gemini" not in printed
    assert "#   claude 2.1.330" in (stage.root / "work" / "orchestrator.yaml").read_text()


def test_init_can_be_quiet(tmp_path):
    (tmp_path / "p").mkdir()
    made = Project(tmp_path / "p")
    assert made.run("init", "-q").stdout == ""
    assert (made.work / "orchestrator.yaml").is_file()


def test_init_stays_in_the_current_folder(project):
    inner = project.root / "inner"
    inner.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "init"],
        cwd=inner,
        env=project.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(inner / "work") in done.stdout and (inner / "work" / "inbox").is_dir()
    (inner / "work" / "orchestrator.yaml").write_text("limits: {running: 7}\n")
    subprocess.run(
        [sys.executable, "-m", "orchestrator", "init"],
        cwd=inner,
        env=project.env,
        check=True,
        capture_output=True,
    )
    assert (inner / "work" / "orchestrator.yaml").read_text() == "limits: {running: 7}\n"


def test_found_from_below_and_by_environment(project, tmp_path):
    below = project.root / "a" / "b"
    below.mkdir(parents=True)
    run = [sys.executable, "-m", "orchestrator"]
    assert (
        subprocess.run(
            [*run, "status"], cwd=below, env=project.env, capture_output=True, check=False
        ).returncode
        == 0
    )
    env = {**project.env, "ORCHESTRATOR_ROOT": str(project.root)}
    assert (
        subprocess.run(
            [*run, "status"], cwd=tmp_path, env=env, capture_output=True, check=False
        ).returncode
        == 0
    )
    assert (
        subprocess.run(
            [*run, "-C", str(project.root), "status"],
            cwd="/",
            env=project.env,
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )


@pytest.mark.parametrize(
    "variables, coloured",
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours(project, variables, coloured):
    project.drop("a.yaml", "prompt: x\n")
    project.env.update(variables)
    assert (
        "\x1b[" in project.run("validate", str(project.drop("b.yaml", "promt: x\n")), code=4).stdout
    ) is coloured
    assert "\x1b[" in project.run("--color", "always", "validate", code=4).stdout


def test_without_unicode(project):
    project.drop("a.yaml", "prompt: x\n")
    project.env.update(PYTHONIOENCODING="ascii")
    assert project.run("status", "--short").stdout == "0> 1. !\n"
    project.run("watch", "--until-empty")
    assert "?" not in project.run("show", "a").stdout
    assert "0 waiting - 0 running - 1 done" in project.run("status").stdout


def test_a_bug_of_ours_is_one_line_and_a_file(project, monkeypatch):
    code = (
        "import orchestrator.cli.main as m, orchestrator.queries.overview as t\n"
        "def broken(*_): raise RuntimeError('boom')\n"
        "t.of = broken\nm.main(['status'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.root,
        env=project.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stderr.startswith(
        "internal error: RuntimeError: boom\ndetails: "
    )
    path = done.stderr.split("details: ")[1].strip()
    with open(path) as file:
        assert "Traceback" in file.read()
    os.unlink(path)


def test_a_reader_that_has_seen_enough(project):
    project.drop("a.yaml", "prompt: x\n")
    done = subprocess.run(
        f"{sys.executable} -m orchestrator help task | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        cwd=project.root,
        env=project.env,
        capture_output=True,
        text=True,
        check=False,
        executable="/bin/bash",
    )
    assert done.returncode in (0, 1) and done.stderr == ""


def test_every_help_has_examples():
    from orchestrator.cli.app import VERBS
    from orchestrator.cli.main import cli

    def said(*words: str) -> str:
        return (
            CliRunner().invoke(cli, words, prog_name="orchestrator", catch_exceptions=False).output
        )

    for verb in VERBS:
        text = said(verb, "--help")
        assert "Examples" in text and f"orchestrator {verb}" in text, (
            f"{verb}: give its command an epilog, examples(...) of cli/options.py"
        )
        assert said(verb, "-h") == text


def test_logs_of_what_never_started_say_so(project):
    project.drop("a.yaml", "agent: claude\nprompt: x\n")
    project.run("watch", "--until-empty", code=1)
    said = project.run("logs", "a", code=1).stderr
    assert "attempt 1 of a printed nothing: could not be started" in said


def test_the_hint_where_no_work_directory_is_can_be_followed(project):
    (project.root.parent / "new one").mkdir()
    there = ["-C", "../new one"]
    assert "new one' init   makes one there" in project.run(*there, "status", code=6).stderr
    project.run(*there, "init")
    project.run(*there, "status")
    for verb in ("status", "init"):
        said = project.run("-C", "../nowhere", verb, code=6).stderr
        assert "nowhere is not a folder" in said and "makes one" not in said


@pytest.mark.parametrize("wrong", ["limits: {runing: 2}\n", " checks: [\n"], ids=["a key", "YAML"])
def test_wrong_settings_do_not_make_tasks_wrong(project, wrong):
    """``validate`` named an unknown agent, and what to write instead, for each task of a role."""
    project.config("agents:\n  builder: {tool: demo}\n" + wrong)
    project.drop("a.yaml", "agent: builder\nprompt: x\n")
    project.drop("b.yaml", "promt: x\n")
    said = project.run("validate", code=4).stdout
    assert "orchestrator.yaml:" in said and "did you mean 'prompt'" in said
    assert "unknown agent" not in said
    assert {row["id"]: row["status"] for row in project.json("list")["tasks"]} == {
        "a": "waiting",
        "b": "invalid",
    }


def test_values_are_suggested(project):
    assert "Did you mean 'done'?" in project.run("list", "--status", "dnoe", code=2).stderr
    assert "orchestrator list --status done" in project.run("list", "done", code=3).stderr
    assert "orchestrator report --help" in project.run("report", "--html", code=2).stderr
    for word, option in (("all", "--all"), ("claude", "--tool claude")):
        for verb in ("hold", "release"):
            said = project.run(verb, word, code=3).stderr
            assert f"did you mean: orchestrator {verb} {option}\n" in said
    assert "Did you mean 'high'?" in project.run("new", "x", "-p", "hihg", code=2).stderr
    assert (
        "Did you mean 'concise'?" in project.run("validate", "--format", "consise", code=2).stderr
    )


def test_where_you_are_says_slots_and_the_days_budget(project, watch):
    assert [day_cost(5.81, 20), day_cost(5.81, None), day_cost(0.4, 0.5)] == ["$5.81 of $20", "$5.81 today", "$0.40 of $0.50"]  # fmt: skip
    project.drop("a.yaml", "prompt: |\n  demo: work 30s\n")
    watch("--slots", "3")
    project.until("a", "running")
    first = project.run().stdout.splitlines()[0]
    assert first.startswith(f"{project.root.name} · watcher running") and first.endswith(" · 1 of 3 slots · 0 waiting")  # fmt: skip
