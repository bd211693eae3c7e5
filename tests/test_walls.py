"""Nothing in the inbox stops the watcher: every file has its own fate, whatever it is and whatever it says."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from conftest import tagged, wait_until

import orchestrator
from orchestrator.cli import program
from orchestrator.files import schemas
from orchestrator.files.documents import parse
from orchestrator.files.requests import load
from orchestrator.model.units import duration, timestamp, when
from orchestrator.store import atomic


def goes_on(project, watch, watcher=None) -> None:
    """A task that is dropped now is done soon: nothing keeps the watcher busy, and it lives."""
    watcher = watcher or watch()
    began = time.monotonic()
    project.drop("after.yaml", "prompt: x\nagent: 'true'\n")
    project.until("after", "done")
    assert watcher.process.poll() is None, watcher.text()
    assert time.monotonic() - began < 15


MOMENTS = (
    "9999-12-31T23:59:59-14:00",
    "9999-12-31",
    "0001-01-01",
    "0001-01-01T00:00:00+14:00",
    "1000-01-01",
    "2200-01-01",
)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_that_no_clock_can_tell_is_an_error_of_the_file(moment):
    with pytest.raises(ValueError):
        when(moment)
    raw = f'prompt: x\nnot_before: "{moment}"\n'.encode()
    assert load("x.yaml", "x", raw, schemas.check).errors
    assert load("x.yaml", "x", raw).errors  # what reading verbs see, without the schema


@pytest.mark.parametrize("seconds", (1e308, -1e308, float("inf"), float("-inf"), float("nan")))
def test_a_moment_from_a_spoilt_file_can_be_shown(seconds):
    assert timestamp(seconds)[4] == "-"


@pytest.mark.parametrize("text", ("9" * 400 + "d", "99999999999d", "9" * 25 + "s"))
def test_a_duration_that_no_clock_can_tell_is_none(text):
    with pytest.raises(ValueError):
        duration(text)


def test_moments_that_no_clock_can_tell_do_not_stop_the_watcher(project, watch):
    for number, moment in enumerate(MOMENTS):
        project.drop(f"m{number}.yaml", f'prompt: x\nagent: sh\nnot_before: "{moment}"\n')
    project.drop("t.yaml", f"prompt: x\nagent: sh\ntimeout: {'9' * 300}d\n")
    goes_on(project, watch)
    for number in range(len(MOMENTS)):
        wait_until(lambda n=number: (project.work / f"inbox/m{n}.error.md").exists())
    assert "m0" in project.run("list").stdout
    assert "m0" in project.run("status").stdout


BYTES = {
    "binary": bytes(range(256)) * 400,
    "deep": b"[" * 100_000,
    "list": b"[1, 2]\n",
}


def odd(path, kind: str) -> None:
    """Something that is no file of ours, in a file's place."""
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        (path / "inside").write_text("x")
    elif kind == "link":
        path.symlink_to("/dev/zero")
    elif kind == "circle":
        path.symlink_to(path.name)
    elif kind == "hole":
        path.touch()
        os.truncate(path, 60 << 30)
    elif kind == "socket":
        sock = socket.socket(socket.AF_UNIX)
        here = os.open(path.parent, os.O_PATH)
        sock.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)
        sock.close()
    elif kind == "link-file":
        path.symlink_to("/etc/passwd")
    elif kind == "empty-folder":
        path.mkdir()
    elif kind == "closed":
        path.write_text("x")
        path.chmod(0)
    elif kind in BYTES:
        path.write_bytes(BYTES[kind])
    else:
        path.symlink_to(path.parent / "nowhere" / "x")


ODD = ("fifo", "folder", "link", "dangling")
ODDER = (
    "circle",
    "hole",
    "socket",
    "link-file",
    "empty-folder",
    "closed",
    "binary",
    "deep",
    "list",
)
PLACES = (
    "inbox/x.error.md",
    "results/after.yaml",
    "results/old.yaml",
    "events/2026-11-20.abcd-watch.jsonl",
    "tools/own.yaml",
    "held/@own.yaml",
    "runs/r.yaml",
    "held/h.yaml",
    "done/d.yaml",
    "archive/a.yaml",
    "review/v.yaml",
    "logs/after",
    "logs/.displaced",
    "running/q.yaml",
    "running/q.cancel",
    "inbox/gone.error.md",
    "inbox/gone.reply",
    "schedules/s.yaml",
    ".state/active/w.jsonl",
    ".state/closed/c.jsonl",
    ".state/closed/x.jsonl",  # of a file that lies in the inbox
    ".state/dropped/other.json",  # of after, it asks for a review (test_sandbox)
    ".state/expanding/e",
    ".state/following/f",
    ".state/tmp/1.old",
    ".state/cancel/k.jsonl",
    ".state/index.sqlite",
    ".state/index.sqlite-wal",
    ".state/review.json",
    ".state/counts.json",
    ".state/writer",
    ".state/quota/sh.json",
    ".state/bounds/x.json",
    ".state/contests/x.json",
    ".state/runs/x.json",
    ".state/facts/x.json",
    ".state/schedules/s.json",
    ".state/trees/git-settings.json",
    ".state/trees/moves-main",
    ".state/trees/merge-main.lock",
    ".state/queues/q.json",
    "asks/old.1.answer",
    "inbox/x.reply",
    "review/v.conflict",
)


@pytest.mark.parametrize("kind", [*ODD, *ODDER])
def test_what_is_no_file_stops_neither_the_watcher_nor_a_reader(project, watch, kind):
    project.drop("x.yaml", "promt: x\n")
    project.drop("old.yaml", "prompt: x\n", folder="done")
    project.run("watch", "--until-empty", code=None)  # .state is its own from now on
    for place in PLACES:
        if kind == "link" and place.startswith(("tools/", "schedules/")):
            continue  # settings may be links; these lead to what everybody can write
        path = project.work / place
        path.parent.mkdir(exist_ok=True, parents=True)
        odd(path, kind)
    watcher = watch()
    goes_on(project, watch, watcher)
    for words in (
        ["status"],
        ["list", "--last", "0"],
        ["why", "x"],
        ["show", "old"],
        ["show", "d"],
        ["events"],
        ["runs"],
        ["tools"],
        ["agents"],
        ["doctor"],
        ["query", "SELECT count(*) FROM events"],
    ):
        done = project.run(*words, code=None, patience=30)
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, words
    assert "fault" not in project.run("status").stdout
    text = watcher.text()
    assert text.count("recovered") < 3 and "internal error" not in text, text


@pytest.mark.parametrize("journal", [b"", b"\0" * 100, bytes(range(256))])
def test_an_empty_journal_of_a_name_in_two_folders_stops_no_watcher(project, watch, journal):
    project.drop("w.yaml", "prompt: x\nnot_before: 2099-01-01\n")
    project.run("watch", "--once", code=None)  # .state is its own from now on
    project.drop("w.yaml", "prompt: other\n", folder="running")
    (project.work / ".state/active/w.jsonl").write_bytes(journal)
    goes_on(project, watch)
    assert (project.work / "inbox/w.yaml").read_text().startswith("prompt: x")


@pytest.mark.parametrize("folder", ["active", "closed"])
def test_a_journal_that_may_not_be_written_to_costs_its_task_only(project, watch, folder):
    """Whoever has one's rights can take them from a file; a watcher that begins goes on."""
    project.drop("x.yaml", "prompt: x\nnot_before: 2099-01-01\n")
    project.run("watch", "--once", code=None)
    path = project.work / f".state/{folder}/x.jsonl"
    path.write_text("")
    if subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode:
        pytest.skip("no such attributes here")
    try:
        goes_on(project, watch)
        assert project.run("list").stdout.count("x") and project.where("x") == "inbox"
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


HEAVY = {
    "unhashable-twins": b"prompt: x\nlabels: [{}, "
    + b", ".join(b"%d" % n for n in range(19_000))
    + b"]\n",
    "one-unlike-all": b"prompt: x\nlabels: [{}, "
    + b", ".join(b"a%d" % n for n in range(19_000))
    + b"]\n",
    "lists-of-lists": b"prompt: x\nlabels: ["
    + b", ".join(b"[%d]" % n for n in range(9_000))
    + b"]\n",
    "unknown-keys": b"prompt: x\n" + b"".join(b"promp%d: 1\n" % n for n in range(9_900)),
    "unknown-needs": b"prompt: x\nneeds: ["
    + b", ".join(b"n%d" % n for n in range(19_000))
    + b"]\n",
    "bad-needs": b"prompt: x\nneeds: [" + b", ".join(b"'a b%d'" % n for n in range(9_000)) + b"]\n",
    "run-of-unknown-needs": b"tasks:\n"
    + b"".join(b"  task%d: {prompt: x, needs: [tusk%d]}\n" % (n, n) for n in range(400)),
    "run-of-bad-tasks": b"tasks:\n" + b"".join(b"  t%d: {promt: x}\n" % n for n in range(4_000)),
    "run-of-bad-keys": b"tasks:\n" + b"".join(b"  'a b%d': x\n" % n for n in range(9_000)),
    "run-of-bad-defaults": b"defaults: {labels: [" + b"{}, " * 9_000 + b"]}\ntasks: {a: x}\n",
    "bad-members": b"tasks: [" + b", ".join(b"'a b%d'" % n for n in range(19_000)) + b"]\n",
    "quoted-breaks": b'prompt: "' + b"x\\n" * 60_000 + b'"\n',
    "bad-env": b"prompt: x\nenv: {" + b", ".join(b"'a-%d': 1" % n for n in range(9_000)) + b"}\n",
    "bad-agents": b"prompt: x\nagent: [" + b", ".join(b"a%d" % n for n in range(19_000)) + b"]\n",
    "bad-contexts": b"prompt: x\ncontext: ["
    + b", ".join(b"/a%d" % n for n in range(19_000))
    + b"]\n",
}


@pytest.mark.parametrize("name", HEAVY)
def test_a_file_is_judged_in_time_that_grows_with_its_size(name):
    """Half the file in no less than a fifth of the time: a quadratic way would take a quarter, and minutes for the whole."""
    raw = HEAVY[name]
    began = time.process_time()
    request = load("x.yaml", "x", raw, schemas.check)
    took = time.process_time() - began
    baseline = time.process_time()
    parse(raw)
    baseline = time.process_time() - baseline
    assert took < 1.0 + 12 * baseline, (took, baseline)
    assert len(request.problems) <= 2000


KEYS = (
    "prompt title description agent model status state tags labels priority timeout not_before cwd needs"
    " dependencies on base run use"
).split()
UNITS = [" ", "\t", "\\n", ":", "- ", "a ", "a,", ", ", "(", "{a}", "'", "1", "1.", "0", "9d", "../", "->", "\u3000", "a\\n"]  # fmt: skip


@pytest.mark.deep
@pytest.mark.parametrize("key", KEYS)
def test_no_text_is_slow_to_understand(key):
    """One part again and again: what is tried anew from each place of a text takes its square."""

    def took(text: str) -> float:
        own = "description" if key in ("status", "state", "tags", "dependencies") else "prompt"
        raw = f'{own}: x\n{key}: "a{text}b"\n'.encode()
        times = []
        for _ in range(3):
            began = time.process_time()
            load("x.yaml", "x", raw, schemas.check)
            times.append(time.process_time() - began)
        return min(times)

    plain = took("x" * 8000)
    for unit in UNITS:
        assert took(unit * (8000 // len(unit))) < 0.05 + 20 * plain, (key, unit)


def test_keys_of_a_run_that_differ_by_case_only_are_an_error(project, watch):
    project.drop("r.yaml", "tasks: {A: hello, a: there}\n")
    watcher = watch()
    wait_until(lambda: (project.work / "inbox/r.error.md").exists(), "a note")
    assert "same id" in (project.work / "inbox/r.error.md").read_text()
    goes_on(project, watch, watcher)


@pytest.mark.parametrize(
    "text", ("42\n", "text\n", "[]\n", "null\n", "true\n", "- prompt: x\n", "1.5\n")
)
def test_why_of_a_file_that_is_no_task_says_so(project, text):
    project.drop("n.yaml", text)
    for words in (["why", "n"], ["show", "n"], ["list"], ["status"]):
        done = project.run(*words, code=None)
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, words


# -- an agent inside its attempt -------------------------------------------------------------------------------------


def agent(project, name: str, text: str, **keys) -> None:
    """A tool that runs this Python text."""
    program = project.root.parent / f"{name}.py"
    program.write_text("import json, os, signal, subprocess, sys, time\n" + text)
    (project.work / "tools").mkdir(exist_ok=True)
    more = "".join(f"{key}: {value}\n" for key, value in keys.items())
    (project.work / "tools" / f"{name}.yaml").write_text(
        f"argv: ['{project.python}', '{program}', '{{session_options}}']\nprompt: stdin\n{more}"
    )


@pytest.mark.parametrize("kind", ODD)
def test_logs_and_results_that_an_agent_made_something_else_of(project, watch, kind):
    """It finds its own log folder beside its artifacts; what it puts there stops nobody."""
    agent(
        project,
        "spoil",
        f"kind = {kind!r}\n"
        "work = os.environ['ORCHESTRATOR_WORK']; here = os.path.dirname(os.environ['ORCHESTRATOR_ARTIFACTS'])\n"
        "def odd(path):\n"
        "    if os.path.lexists(path): os.unlink(path)\n"
        "    if kind == 'fifo': os.mkfifo(path)\n"
        "    elif kind == 'folder': os.mkdir(path)\n"
        "    else: os.symlink('/dev/zero' if kind == 'link' else '/nowhere/x', path)\n"
        "for name in ('stdout.log', 'stderr.log', 'git-before.json', 'command.json', 'artifacts/a', 'tool/u.json', '../2'):\n"
        "    odd(f'{here}/{name}')\n"
        "odd(f'{work}/results/t.yaml'); odd(f'{work}/done/t.yaml'); odd(f'{work}/results/next.yaml')\n"
        "odd(f'{work}/logs/next'); odd(f'{work}/events/2026-11-01.aaaa-watch.jsonl')\n"
        "print(json.dumps({'type': 'done'}))\n",
        parse="{done: \"[?type=='done']\", usage_from: '{run_dir}/u.json', usage: {input: input}}",
    )
    project.drop("t.yaml", "agent: spoil\nprompt: x\n")
    watcher = watch()
    wait_until(lambda: project.events("task_finished", "t"), "the end of t")
    project.drop("next.yaml", "agent: 'true'\nprompt: x\n")
    wait_until(lambda: project.events("task_finished", "next"), "the end of next")
    goes_on(project, watch, watcher)
    for words in (["status"], ["logs", "t"], ["show", "t"], ["show", "next"], ["list"]):
        done = project.run(*words, code=None, patience=30)
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, words
    assert watcher.text().count("recovered") < 3, watcher.text()


@pytest.mark.parametrize(
    "kind", ["mkfifo", "mkdir", "ln -s /nowhere", "truncate -s 60G", "echo junk >"]
)
def test_a_journal_that_an_agent_made_something_else_of(project, watch, kind):
    """What is remembered of the task is written again; what lay there is kept aside."""
    watcher = watch()
    path = '"$ORCHESTRATOR_WORK/.state/active/$ORCHESTRATOR_TASK_ID.jsonl"'
    script = f"rm {path}\n{kind} {path}\necho fine\n"
    project.drop("a.yaml", json.dumps({"agent": "sh", "prompt": script}))
    project.settled("a", "done")
    assert project.result("a")["outcome"] == "succeeded" and "error=" not in watcher.text()
    assert len(list(project.work.glob("logs/.displaced/*-a.jsonl"))) == 1


def test_who_spoils_its_journal_gets_no_more_attempts_for_that(project, watch):
    """What went before its attempt was not remembered, so it was tried for ever."""
    watch()
    path = '"$ORCHESTRATOR_WORK/.state/active/$ORCHESTRATOR_TASK_ID.jsonl"'
    script = f"rm {path}\nmkdir {path}\nexit 1\n"
    project.drop("a.yaml", json.dumps({"agent": "sh", "prompt": script, "retries": 1}))
    project.settled("a", "failed")
    assert len(project.result("a")["attempts"]) == 2


def test_an_artifact_of_60_gb_is_listed_and_not_hashed(project, watch):
    agent(
        project,
        "huge",
        "os.truncate(os.open(os.environ['ORCHESTRATOR_ARTIFACTS'] + '/huge', os.O_CREAT | os.O_WRONLY), 60 << 30)\n"
        "open(os.environ['ORCHESTRATOR_ARTIFACTS'] + '/small', 'w').write('x')\n",
    )
    project.drop("t.yaml", "agent: huge\nprompt: x\n")
    watcher = watch()
    project.settled("t", "done")
    huge, small = project.result("t")["artifacts"]
    assert huge == {"path": "work/logs/t/1/artifacts/huge", "bytes": 60 << 30}
    assert small["sha256"] and small["bytes"] == 1
    goes_on(project, watch, watcher)


@pytest.mark.parametrize(
    "session",
    (
        *("--dangerously-skip-permissions", "-c", "a b", "", "a\nb", "x" * 300, ["--x"]),
        *({"a": 1}, True, "a/../../b", "a/..", "x\0y"),
    ),
    ids=str,
)
def test_a_session_that_is_none_is_never_a_word_of_the_next_command(project, session):
    agent(
        project,
        "talk",
        f"print(json.dumps({{'type': 'init', 'session': {session!r}}}))\n"
        "open(os.environ['ORCHESTRATOR_ROOT'] + '/argv.txt', 'a').write(json.dumps(sys.argv[1:]) + '\\n'); sys.exit(1)\n",
        parse="{session: \"[?type=='init'] | [0].session\"}",
        resume="[--resume, '{session}']",
    )
    project.drop("t.yaml", "agent: talk\nprompt: x\nretries: 1\n")
    project.run("watch", "--until-empty", code=None)
    lines = (project.root / "argv.txt").read_text().splitlines()
    assert lines == ["[]", "[]"]


def test_no_value_of_a_placeholder_begins_with_a_dash():
    from orchestrator.tools.invocation import CannotStart, fill

    with pytest.raises(CannotStart):
        fill(("tool", "{model}"), {"model": "--evil"})
    with pytest.raises(CannotStart):
        fill(("tool", "{model}x"), {"model": "-e"})
    assert fill(("tool", "--model={model}"), {"model": "-e"}) == ["tool", "--model=-e"]


def test_what_outlives_its_supervisor_without_a_tag_is_ended(project, watch):
    """A tool that kills its supervisor, and goes on in a session and an environment of its own."""
    agent(
        project,
        "escape",
        "mark = os.environ['ORCHESTRATOR_ROOT'] + '/alive.txt'\n"
        "os.environ.clear()\n"
        'code = \'import os,time,sys\\nos.setsid()\\nwhile True: open(sys.argv[1],"a").write("x"); time.sleep(0.05)\'\n'
        "subprocess.Popen([sys.executable, '-c', code, mark], env={})\n"
        "while not os.path.exists(mark): time.sleep(0.02)\n"
        "os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)\n",
    )
    project.drop("t.yaml", "agent: escape\nprompt: x\n")
    watcher = watch()
    wait_until(lambda: project.events("attempt_finished", "t"), "the end of the attempt")
    mark = project.root / "alive.txt"
    size = mark.stat().st_size
    time.sleep(0.3)  # it wrote every 50 ms
    assert mark.stat().st_size == size
    goes_on(project, watch, watcher)


@pytest.mark.parametrize("folder", ("results", "logs", "done", "inbox", "events", "held", ".state"))
def test_a_folder_that_became_a_link_is_not_followed(project, watch, folder):
    watcher = watch()
    outside = project.root.parent / "outside"
    (project.work / folder).rename(outside)
    (project.work / folder).symlink_to(outside)
    before = sorted(os.listdir(outside))
    wait_until(lambda: "is a link" in watcher.text(), "a word about it")
    if folder != "inbox":
        project.drop("t.yaml", "agent: 'true'\nprompt: x\n")
        time.sleep(1.2)  # two listings
        assert sorted(os.listdir(outside)) == before or folder in ("events", ".state")
        assert project.where("t") == "inbox"
    (project.work / folder).unlink()
    outside.rename(project.work / folder)
    goes_on(project, watch, watcher)


SECRET = 'pass/word "quoted" \u00e9\u00e9'


def test_a_secret_that_json_escapes_is_in_no_text(project, watch):
    project.env["SOME_TOKEN"] = SECRET
    agent(
        project,
        "leak",
        "secret = os.environ['SOME_TOKEN']\n"
        "print(json.dumps({'type': 'done', 'text': 'it is ' + secret}))\n"
        "print(json.dumps({'type': 'error', 'text': 'no: ' + secret}, ensure_ascii=False))\n"
        "print('{\"type\": \"warn\", \"text\": \"' + ''.join('\\\\u%04x' % ord(c) for c in secret) + '\"}')\n"
        "sys.exit(1)\n",
        parse="{done: \"[?type=='done']\", text: \"[?type=='done'].text | [0]\", error: \"[?type=='error'].text | [0]\", "
        "warnings: \"[?type=='warn'].text\"}",
        pass_env="[SOME_TOKEN]",
    )
    project.drop("t.yaml", "agent: leak\nprompt: x\n")
    project.run("watch", "--until-empty", code=None)
    for path in (*project.work.glob("results/*"), *project.work.glob("events/*.jsonl")):
        text = path.read_text()
        assert "quoted" not in text and "pass/word" not in text, path
    journal = (project.work / ".state/closed/t.jsonl").read_text()
    assert "quoted" not in journal
    assert "pass/word" not in project.log("t")


def test_a_secret_is_not_shown_before_it_is_masked(project, watch):
    project.env["SOME_TOKEN"] = "s3cr3t-value-long"
    agent(
        project,
        "leak",
        "print('first', flush=True)\n"
        "for n in range(300): print(os.environ['SOME_TOKEN'], flush=True); time.sleep(0.01)\n",
        pass_env="[SOME_TOKEN]",
    )
    project.drop("t.yaml", "agent: leak\nprompt: x\n")
    watch()
    seen = ""
    while project.where("t") != "done":
        for words in (["status"], ["logs", "t"]):
            seen += project.run(*words, code=None).stdout
    assert "first" in seen and "s3cr3t" not in seen
    assert "s3cr3t" not in project.log("t") and "*" * 17 in project.log("t")


@pytest.mark.parametrize("supervisor", ("lives", "killed"))
def test_a_log_with_a_hole_keeps_nobody_from_looking_at_limits(project, watch, supervisor):
    """An agent that makes its log 8 TB: nobody looks for secrets in what is cut off anyway."""
    project.env["SOME_TOKEN"] = "s3cr3t-value-long"
    kill = "os.kill(os.getppid(), signal.SIGKILL)\n" if supervisor == "killed" else ""
    agent(
        project,
        "hole",
        f"print(os.environ['SOME_TOKEN'], flush=True); os.truncate('/proc/self/fd/1', 1 << 43)\n{kill}time.sleep(600)\n",
        pass_env="[SOME_TOKEN]",
    )
    project.drop("t.yaml", "agent: hole\nprompt: x\ntimeout: 60s\n")
    watcher = watch()
    wait_until(lambda: project.events("task_finished", "t"), "the end of t")
    wait_until(lambda: not tagged(project), "nothing of it is left")
    log = project.work / "logs/t/1/stdout.log"
    assert log.stat().st_size <= 256 << 20
    with log.open("rb") as file:
        assert file.read(17) == b"*" * 17
    goes_on(project, watch, watcher)


# -- eyes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    (
        *("\x1b[2J", "\x1b]0;x\x07", "\x9b2J", "a\u202eb", "a\u2028b", "a\x85b"),
        *("a\u061cb", "a\u00adb", "a\u2069b", "a\u206ab", "a\ufff9b", "a\u3164b", "a\U000e0041b"),
    ),
)
def test_what_is_printed_steers_no_terminal(text):
    from orchestrator.cli.screen.console import shown

    plain = shown(f"before {text} after")
    assert all(char.isprintable() and char != "\u3164" for char in plain)


def test_only_what_this_program_painted_is_in_colour(monkeypatch):
    """A pulled title hid what stood behind it, and a link of its own led anywhere: they looked as ours."""
    from orchestrator.cli.screen.console import Console, shown

    monkeypatch.setenv("TERM", "xterm")
    console = Console("always")
    console.steers = True
    assert shown(console.paint("red", "red")) == "\x1b[31mred\x1b[0m"
    link = shown(console.link("/a b", "a"))
    assert link.startswith("\x1b]8;;file://") and link.endswith("/a%20b\x1b\\a\x1b]8;;\x1b\\")
    foreign = (
        "\x1b[31mred\x1b[0m",
        "\x1b[8mred\x1b[0m",
        "\x1b[31;1mred\x1b[m",
        "\x1b]8;;file://h/a\x1b\\red\x1b]8;;\x1b\\",
    )
    for text in (
        *foreign,
        "\x1b]8;id=1;file://h/a\x1b\\red\x1b]8;;\x1b\\",
        link.replace("file", "https") + "red",
    ):
        assert "\x1b" not in shown(text), text
        assert "\x1b[31m" + shown(text) + "\x1b[0m" == shown(console.paint(text, "red"))


def test_no_verb_prints_past_what_cleans():
    """An error named a folder as it was called, escape sequences and all."""
    own = ("demo.py", "former.py", "options.py", "completion.py")  # these print words of their own
    raw = []
    for path in Path(orchestrator.__file__).parent.joinpath("cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.echo", "print"):
                said = ast.unparse(node.args[0])
                fine = isinstance(node.args[0], ast.Constant) or "shown(" in said
                if not fine and path.name not in own:
                    raw.append((path.name, said))
    assert sorted(raw) == [
        ("asking.py", "key if key.isprintable() else ''"),
        ("console.py", "line"),
        ("console.py", "line.encode('ascii', 'replace').decode()"),
    ]


def test_what_a_file_is_called_steers_neither_errors_nor_pipes(project):
    for name in ("ab\u2028c", "ab\u202ed", "ab\x1b[2Je"):
        project.drop(f"{name}.yaml", "prompt: x\n", folder="done")
    for words in (["show", "ab"], ["list", "--all"], ["list", "--all", "--json"], ["runs"]):
        done = project.run(*words, code=None)
        assert not set(done.stdout + done.stderr) & set("\u2028\u202e\x1b"), words


def other_peoples_events(project, *lines: str) -> None:
    """Event files as somebody else may have pushed them; each line without its braces and its moment."""
    text = "".join(f'{{"ts":"2026-01-0{n}T00:00:00Z",{line}}}\n' for n, line in enumerate(lines, 1))
    (project.work / "events/2026-01-01.theirs.jsonl").write_text(text)


def test_no_value_begins_a_line_of_its_own(project):
    """A pulled event, or the name of a file, wrote whole lines of what was printed, and commands of CI."""
    forged = "x\nforged\tdone"
    said = json.dumps(forged)
    keys = ("event", "event_id", "task_id", "run_id", "agent", "model", "summary", "outcome")
    their = dict.fromkeys(keys, said) | {"event": '"attempt_finished"', "cost_usd": "1"}
    other_peoples_events(
        project,
        *(",".join(f'"{key}":{value}' for key, value in {**their, **odd}.items())
        for odd in ({}, {"event": said}, {"event": '"task_finished"'})),
    )  # fmt: skip
    for folder in ("inbox", "done", "held", "schedules", "templates"):
        (project.work / folder).mkdir(exist_ok=True)
        project.drop("x\nforged: 1::.yaml", "prompt: x\n", folder=folder)
    project.drop("odd.yaml", f"prompt: x\nagent: {json.dumps('x' + chr(10) + 'forged')}\n")
    project.run("watch", "--once", code=None)
    for line in (
        *("events", "events --since 2025-01-01T00:00", "list --all", "show forged", "schedules"),
        *("validate", "validate --format github", "validate --format concise", "hold forged -n"),
        *("report --since 900d", "report --since 900d --by run", "agents", "status --ahead"),
        *("why odd", "doctor", "status", "new -T x\nforged", "query SELECT/**/*/**/FROM/**/events"),
    ):
        done = project.run(*line.split(" "), code=None)
        lines = (done.stdout + done.stderr).splitlines()
        assert not [text for text in lines if text.startswith("forged")], (line, lines)
    note = (project.work / "inbox/odd.error.md").read_text()
    assert not [text for text in note.splitlines() if text.startswith("forged")], note


def test_a_preview_of_a_note_shows_no_image_link_or_html_of_the_file(project):
    project.drop("a.yaml", "'![a](http://x/y) <img src=x> `b` \\[c](d)': 1\n")
    project.drop("`![b](c).yaml", "odd: 1\n")
    project.run("watch", "--once", code=None)
    notes = [path.read_text() for path in (project.work / "inbox").glob("*.error.md")]
    assert len(notes) == 2
    for note in notes:
        outside, _, fenced = note.partition("\n```\n")
        assert not re.search(r"(?<!\\)(?:\\\\)*[\[<`]", outside), outside
        assert fenced.count("\n```\n") == 1


def test_what_is_for_programs_is_json_whatever_others_wrote(project):
    odd = '"agent":"\\ud800","cost_usd":NaN,"a":[1e999,-Infinity,' + "9" * 400 + "]"
    other_peoples_events(project, f'"event":"task_finished","task_id":"a",{odd}')
    project.drop("ok.yaml", "prompt: x\n", folder="done")
    project.drop(os.fsdecode(b"a\xff.yaml"), "prompt: x\n", folder="done")
    (project.work / "results/ok.yaml").write_text("outcome: succeeded\ncost_usd: .nan\nx: .inf\n")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    for line in (
        *("events --json", "list --json", "show ok --json", "show a\udcff --json"),
        *("report --json --since 900d", "status --json", "review --list --json"),
        "query --json SELECT/**/9e999,x'00ff',*/**/FROM/**/events",
    ):
        done = project.run(*line.split(" "), code=None)
        assert done.stdout, (line, done.stderr)
        assert json.loads(done.stdout, parse_constant=refuse), line
    for line in project.run("events", "--jsonl").stdout.splitlines():
        json.loads(line, parse_constant=refuse)


def test_the_page_hides_nothing_and_is_made_whatever_a_file_is_called(project):
    from orchestrator.cli.screen.report_page import embedded, page
    from orchestrator.files.text import visible

    project.drop(os.fsdecode(b"a\xff\xe2\x80\xae.yaml"), "prompt: x\n", folder="done")
    assert "<!doctype html>" in project.run("report", "--html", "-").stdout
    text = embedded({"a\u202e": ["b\udcff", "c\x9b", "</script>"]})
    assert json.loads(text) == {"a": ["b?", "c", "</script>"]} and "<" not in text
    assert "\u202e" not in page("a\u202eb", []) and visible("+a\u202e") == "+a<U+202E>"


@pytest.mark.parametrize("char", ("\u2028", "\u2029", "\x85"))
def test_a_line_end_that_editors_do_not_show_is_refused(char):
    found = parse(f"prompt: fix # see{char}agent: sh\n".encode())
    assert found.problems and "begins a new line here" in found.problems[0].message


@pytest.mark.parametrize(
    "sql",
    (
        "ATTACH '{path}' AS x",
        "VACUUM INTO '{path}'",
        "CREATE TABLE x (a)",
        "DELETE FROM events",
        "PRAGMA writable_schema = 1",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('simple')",  # it would print where this process has its program
        "SELECT '\udcff'",
    ),
)
def test_a_question_writes_no_file(project, tmp_path, sql):
    path = tmp_path / "made.db"
    done = project.run("query", sql.format(path=path), code=None)
    assert done.returncode != 0 and "SQLite says" in done.stderr
    assert not path.exists()


def _memory():
    import sqlite3

    return sqlite3.connect(":memory:", check_same_thread=False)


def test_a_question_ends_in_time(project, monkeypatch):
    from orchestrator.errors import OrchestratorError
    from orchestrator.queries import usage

    monkeypatch.setattr(usage, "SECONDS", 0.2)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(OrchestratorError, match="took longer"):
        usage.ask(_memory(), endless)


def test_a_question_ends_though_nothing_interrupts_it(project):
    """One call of a function looks for half of a text in the other half: hours, in which SQLite asks nobody.
    The program ends by itself, and a person ends it by Ctrl-C."""
    script = (
        "import sys; from orchestrator.queries import usage; from orchestrator.cli.main import main;"
        "usage.SECONDS = 0.2; sys.argv = ['orchestrator', 'events', '--sql', "
        "'SELECT instr(hex(zeroblob(8000000)), hex(zeroblob(3000000)) || 1)']; main()"
    )
    done = subprocess.run(
        [project.python, "-c", script],
        cwd=project.root, env=project.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "took longer" in done.stderr


def test_no_value_of_an_answer_fills_the_memory(monkeypatch):
    from orchestrator.errors import OrchestratorError
    from orchestrator.queries import usage

    with pytest.raises(OrchestratorError, match="too big"):
        usage.ask(_memory(), "SELECT hex(zeroblob(100000000))")
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 99) SELECT "
    with pytest.raises(OrchestratorError, match="longer than 256 MiB"):
        usage.ask(_memory(), many + "zeroblob(30000000) FROM n")
    monkeypatch.setattr(usage, "MOST_ANSWER", 1 << 20)
    with pytest.raises(OrchestratorError, match="longer than 1 MiB"):  # of numbers alone
        usage.ask(_memory(), many + ", ".join(["i"] * 1000) + " FROM n")


@pytest.mark.parametrize("rows", (3, 4))
def test_an_answer_is_whole_or_none(monkeypatch, rows):
    """Rows that are left out without a word would be missing from somebody's sum."""
    from orchestrator.errors import OrchestratorError
    from orchestrator.queries import usage

    monkeypatch.setattr(usage, "MOST_ROWS", 3)
    sql = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows}) SELECT i FROM n"
    if rows == 3:
        assert usage.ask(_memory(), sql)[1] == [(1,), (2,), (3,)]
    else:
        with pytest.raises(OrchestratorError, match="more than 3 rows"):
            usage.ask(_memory(), sql)


def test_runs_of_layered_needs_are_told_in_time(project):
    """Seven layers of four, each needing all of the layer before: 4 to the 7th ways through them."""
    tasks = "".join(
        f"  t{layer}{n}: {{prompt: x, agent: sh, needs: [{', '.join(f't{layer - 1}{m}' for m in range(4))}]}}\n"
        if layer
        else f"  t0{n}: {{prompt: x, agent: sh, not_before: '2190-01-01'}}\n"
        for layer in range(12)
        for n in range(4)
    )
    project.drop("r.yaml", "tasks:\n" + tasks)
    project.run("watch", "--once", code=None)
    began = time.monotonic()
    project.run("runs", "r", code=None, patience=50)
    assert time.monotonic() - began < 20


def test_artifacts_of_any_name_in_a_folder_of_any_depth(project, watch):
    agent(
        project,
        "deep",
        "os.chdir(os.environ['ORCHESTRATOR_ARTIFACTS'])\n"
        "open('top', 'w').close(); open(b'\\xff\\n\\x1b[31m', 'w').close()\n"
        "for _ in range(1500): os.mkdir('d'); os.chdir('d')\n",
    )
    project.drop("t.yaml", "agent: deep\nprompt: x\n")
    watcher = watch()
    project.settled("t", "done")
    assert "internal" not in watcher.text()
    assert [item["path"] for item in project.result("t")["artifacts"]] == [
        "work/logs/t/1/artifacts/top",
        "work/logs/t/1/artifacts/?\n\x1b[31m",
    ]
    atomic.remove_tree(project.layout.logs("t"))
    assert not os.path.exists(project.layout.logs("t"))


def test_tasks_of_several_files_that_wait_for_each_other_are_told(project, watch):
    for name, need in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")):
        project.drop(f"{name}.yaml", f"prompt: x\nneeds: [{need}]\n")
    watcher = watch()
    wait_until(lambda: "wait for each other" in watcher.text(), "the circle")
    assert watcher.text().count("wait for each other") == 1
    assert "it waits for itself: " in project.run("why", "b").stdout
    assert "it waits for itself" not in project.run("why", "d").stdout


def test_an_agent_that_stops_its_supervisor_does_not_get_past_its_limits(project, watch):
    agent(project, "once", "os.kill(os.getppid(), signal.SIGSTOP)\n")
    agent(
        project,
        "always",
        "parent = os.getppid()\nwhile os.getppid() == parent: os.kill(parent, signal.SIGSTOP)\n",
    )
    watcher = watch()
    project.drop("a.yaml", "agent: once\nprompt: x\n")
    project.drop("b.yaml", "agent: always\nprompt: x\ntimeout: 1s\n")
    project.settled("a", "done")
    wait_until(lambda: project.where("b") in ("failed", "review"), "b ends")
    wait_until(lambda: not tagged(project), "nothing of it is left")
    assert watcher.process.poll() is None


@pytest.mark.parametrize("request_", [0x10, 0x4206], ids=["attach", "seize"])
def test_an_agent_that_traces_its_supervisor_does_not_get_past_its_limits(project, watch, request_):
    """A tracer stops it as SIGSTOP does (where the kernel lets a child trace its parent)."""
    agent(
        project,
        "tracer",
        "import ctypes\nptrace, parent = ctypes.CDLL(None).ptrace, os.getppid()\n"
        f"ptrace({request_}, parent, 0, 0)\nptrace(0x4207, parent, 0, 0)\ntime.sleep(600)\n",
    )
    watch()
    project.drop("b.yaml", "agent: tracer\nprompt: x\ntimeout: 1s\n")
    wait_until(lambda: project.where("b") in ("failed", "review"), "b ends")
    wait_until(lambda: not tagged(project), "nothing of it is left")


def test_an_agent_that_lets_its_supervisor_write_nothing_stops_nobody_else(project, watch):
    """A limit on the size of files is no full disk."""
    agent(
        project,
        "miser",
        "import resource\nresource.prlimit(os.getppid(), resource.RLIMIT_FSIZE, (0, 0))\n",
    )
    watcher = watch()
    project.drop("b.yaml", "agent: miser\nprompt: x\n")
    wait_until(lambda: project.where("b") in ("failed", "review"), "b ends")
    goes_on(project, watch, watcher)


@pytest.mark.parametrize("how", ["itself", "module"])
def test_no_file_of_the_project_is_a_module_of_ours(project, tmp_path, how):
    trace = tmp_path / "trace"
    evil = f"open({str(trace)!r}, 'w')\n"
    for name in ("click", "yaml", "jsonschema", "queue", "json", "sitecustomize"):
        (project.root / f"{name}.py").write_text(evil)
    words = [project.python, "-m", "orchestrator", "list"]
    if how == "itself":
        (project.root / "orchestrator").mkdir()
        (project.root / "orchestrator" / "__init__.py").write_text(evil)
        words = program.itself(str(project.root), "list")
    done = subprocess.run(words, cwd=project.root, env=project.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not trace.exists()


def test_a_verb_says_what_lies_where_a_journal_belongs(project):
    """An agent has spoilt our state: that is no bug of ours, and the message names the place."""
    project.drop("a.yaml", "prompt: x\n", "done")
    os.mkfifo(project.layout.journal("a"))
    done = project.run("archive", "a", code=1)
    assert "internal error" not in done.stderr and "work/.state/active" in done.stderr
    assert "something else is in the place of" in done.stderr


def test_a_verb_makes_the_folder_of_journals_anew_where_a_file_lies(project):
    """The file is kept aside: only a link would lead to somebody else's."""
    project.drop("a.yaml", "prompt: x\n", "done")
    shutil.rmtree(project.layout.active)
    with open(project.layout.active, "w") as file:
        file.write("mine")
    project.run("archive", "a")
    (kept,) = (project.work / "logs/.displaced").iterdir()
    assert kept.read_text() == "mine" and os.path.isdir(project.layout.active)


@pytest.mark.parametrize("number", ["0x" + "f" * 297, "9" * 300 + "e9", "1e999", "-1e999"])
def test_a_number_that_nobody_can_calculate_with_is_an_error_of_the_file(number):
    for text in (f"max_cost_usd: {number}\n", f"a: [{{b: {number}}}]\n"):
        (problem,) = parse(text.encode()).problems
        assert problem.message == "a number that is too large"


def test_what_looks_like_a_number_and_is_none_stops_nobody(project, tmp_path):
    """``²`` is a digit for Python, and no number."""
    project.config("tools: {shell: {allow: [echo]}}\n")
    project.drop("a.yaml", "agent: shell\nprompt: echo there\n")
    project.run("watch", "--until-empty")
    (project.work / "logs" / "a" / "²").mkdir()
    for verb in ("logs", "show", "why"):
        assert project.run(verb, "a").returncode == 0
    old = tmp_path / "old"
    old.mkdir()
    for name in ("task-1²3.md", "task-10.md"):
        (old / name).write_text("# Fix it\n\nDo what it says.\n")
    assert "Traceback" not in project.run("import", str(old), "--dry-run", code=None).stderr


def test_joiners_stay_and_titles_of_windows_go():
    from orchestrator.files.text import clean

    assert clean("a\u200db \u0645\u06cc\u200c\u062e") == "a\u200db \u0645\u06cc\u200c\u062e"
    assert clean("\x1b]0;evil\x07x\x1b]8;;http://evil\x1b\\\\y\x1bPq\x1b\\\\z").count("evil") == 0


def test_a_secret_is_masked_though_its_supervisor_was_killed(project):
    project.env["SOME_TOKEN"] = "s3cr3t-value-long"
    agent(
        project,
        "killer",
        "print(os.environ['SOME_TOKEN'], flush=True); os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)\n",
        pass_env="[SOME_TOKEN]",
    )
    project.drop("t.yaml", "agent: killer\nprompt: x\n")
    project.run("watch", "--until-empty", code=None)
    assert project.where("t") == "review"
    assert "*" * 17 in project.log("t") and "s3cr3t" not in project.log("t")
