# ruff: noqa: F811 - fixtures come by their names
"""Replies: words for a task's agent, told exactly once, in the same session and tree, by one further attempt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from conftest import wait_until
from test_trees import Repo, git, repo, watcher  # noqa: F401

from orchestrator.coordination.replies import Replies
from orchestrator.coordination.settings import Fixed
from orchestrator.files import journals, replies, trust
from orchestrator.files.layout import Layout
from orchestrator.model import ids, names
from orchestrator.model.config import Config
from orchestrator.model.journal import fold
from orchestrator.model.status import Status
from orchestrator.store import replying
from orchestrator.store.eventlog import EventLog
from orchestrator.store.transitions import Store

# Keeps every session in a file, prints its id, and does what `sh:` lines of its prompt say.
CHAT = """\
description: Keeps sessions.
argv: [python3, "{home}/chat.py"]
prompt: stdin
new_session: [--new, "{{session}}"]
resume: [--resume, "{{session}}"]
edits: true
"""
PROGRAM = """\
import os, subprocess, sys
prompt = sys.stdin.read()
if os.path.exists("fail"):
    prompt += "\\nsh: exit 3\\n"
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "session-" + sys.argv[2])
if sys.argv[1] == "--resume" and not os.path.exists(path):
    sys.exit("no such session")
with open(path, "a") as file:
    file.write("=====\\n" + prompt)
for line in prompt.splitlines():
    if line.startswith("sh: "):
        code = subprocess.call(["sh", "-c", line[4:]])
        if code:
            sys.exit(code)
"""


@pytest.fixture
def chat(project):
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/chat.yaml").write_text(CHAT.format(home=project.root))
    (project.root / "chat.py").write_text(PROGRAM)
    project.config(
        "retry: {delay: 100ms}\nwatch: {rescan: 500ms}\ndefaults: {agent: chat}\n"
        "cancel: {interrupt_grace: 1s, terminate_grace: 500ms}\n"
    )
    return project


def session(project, task_id: str) -> list[str]:
    """What the task's session was told, prompt by prompt; there must be one session only."""
    known = {facts.read["session"] for facts in journals.of(project.layout, task_id).attempts}
    assert len(known) == 1, known
    (path,) = project.root.glob(f"session-{known.pop()}")
    return path.read_text().split("=====\n")[1:]


def do(project, task_id: str, prompt: str, code: int = 0) -> None:
    project.drop(f"{task_id}.yaml", json.dumps({"prompt": prompt}))
    project.run("watch", "--until-empty", code=code)


@pytest.mark.parametrize(("folder", "prompt"), [("done", "sh: true"), ("failed", "sh: exit 3")])
def test_a_reply_to_what_has_ended_goes_on_in_its_session(chat, folder, prompt):
    do(chat, "a", prompt, code=0 if folder == "done" else 1)
    assert chat.where("a") == folder
    said = chat.run("reply", "a", "sh: echo again").stdout
    assert "attempt 2" in said and "same session" in said and "orchestrator watch" in said
    assert chat.where("a") == "inbox"
    chat.run("watch", "--until-empty")
    assert chat.where("a") == "done"
    assert session(chat, "a") == [prompt, "sh: echo again\n"]
    assert chat.log("a", 2) == "again\n"
    assert [event["summary"] for event in chat.events("task_replied")] == ["starts attempt 2"]
    assert "again" not in json.dumps(chat.events())  # its text stays out of the events
    shown = chat.run("show", "a").stdout
    assert "sh: echo again" in shown and "replied" in shown


def test_stdin_editor_and_files_are_replies_too(chat):
    do(chat, "a", "sh: true")
    chat.run("reply", "a", stdin="from stdin\n")
    chat.run("watch", "--until-empty")
    chat.env["EDITOR"] = "sh -c 'sed -i 1iedited $0'"
    chat.env["ORCHESTRATOR_FORCE_EDITOR"] = "1"
    chat.run("reply", "a", "-e")
    chat.run("watch", "--until-empty")
    (chat.work / "done/a.reply").write_text("a file\n")
    (chat.work / "done/a.reply.md").write_text("# and Markdown\n")
    chat.run("watch", "--until-empty")
    told = session(chat, "a")
    assert told[1:] == ["from stdin\n", "edited\n", "a file\n\n# and Markdown\n"]
    assert not list(chat.work.glob("*/a.reply*"))


@pytest.mark.parametrize("folder", ["inbox", "held", "done", "failed", "cancelled", "review"])
def test_a_file_beside_a_task_is_told_in_any_folder(chat, watch, folder):
    if folder in ("inbox", "held"):
        chat.drop("a.yaml", json.dumps({"prompt": "sh: true"}), folder)
        (chat.work / folder / "a.reply").write_text("words\n")
        if folder == "held":
            chat.run("release", "a")
        chat.run("watch", "--until-empty")
        assert session(chat, "a") == ["sh: true\n\nwords\n"]
        return
    do(chat, "a", "sh: true")
    (chat.work / "done/a.yaml").rename(chat.work / folder / "a.yaml")
    watch()
    chat.drop("a.reply", "words\n", folder)
    wait_until(lambda: len(chat.events("task_finished", "a")) == 2, "the second end")
    chat.settled("a", "done")
    assert session(chat, "a")[1] == "words\n"


def test_one_that_runs_is_told_at_its_end(chat, watch):
    watch()
    chat.drop(
        "a.yaml", json.dumps({"prompt": f"sh: while [ ! -e {chat.root}/go ]; do sleep 0.02; done"})
    )
    wait_until(lambda: chat.events("attempt_started", "a"), "the start")
    assert (
        "when this attempt ends; then attempt 2 starts; same session"
        in chat.run("reply", "a", "one").stdout
    )
    assert "then attempt 2" in chat.run("reply", "a", "two").stdout
    chat.run("reply", "a", "three")
    (chat.root / "go").touch()
    chat.settled("a", "done")
    assert session(chat, "a")[1:] == ["one\n\ntwo\n\nthree\n"]
    assert len(chat.events("task_finished", "a")) == 1
    assert len(chat.events("task_claimed", "a")) == 1
    assert not list(chat.work.glob("*/a.reply*"))


def test_a_reply_renews_the_retries(chat):
    (chat.root / "fail").touch()
    chat.drop("a.yaml", json.dumps({"prompt": "x", "retries": 1}))
    chat.run("watch", "--until-empty", code=1)
    assert len(chat.result("a")["attempts"]) == 2
    chat.run("reply", "a", "once more")
    chat.run("watch", "--until-empty", code=1)
    assert len(chat.result("a")["attempts"]) == 4


def test_what_is_cancelled_stays_so_and_is_told_when_it_runs_again(chat, watch):
    watch()
    chat.drop("a.yaml", json.dumps({"prompt": "sh: sleep 60"}))
    wait_until(lambda: chat.events("attempt_started", "a"), "the start")
    chat.run("reply", "a", "sh: echo told")
    chat.run("cancel", "a")
    chat.settled("a", "cancelled")
    chat.run("retry", "a")
    chat.settled("a", "done")
    assert chat.log("a", 2) == "told\n"


def test_retry_goes_on_in_its_session_unless_it_is_to_begin_anew(chat):
    do(chat, "a", "sh: exit 3", code=1)
    chat.run("retry", "a")
    chat.run("watch", "--until-empty", code=1)
    first, second = session(chat, "a")
    assert first == "sh: exit 3" and second.startswith("Do this task again")
    assert "sh: exit 3" in second
    chat.run("retry", "a", "--fresh")
    chat.run("watch", "--until-empty", code=1)
    attempts = journals.of(chat.layout, "a").attempts
    assert attempts[2].read["session"] != attempts[1].read["session"]


def test_fresh_begins_from_the_base_and_loses_nothing(repo: Repo):
    repo.do("x", "echo 1 > one")
    tip = repo.git("rev-parse", "task/x")
    repo.run("retry", "x", "--fresh")
    repo.run("watch", "--until-empty")
    assert repo.result("x")["branch"] == "task/x-2"
    assert repo.result("x")["files_changed"] == ["one"] and repo.git("rev-parse", "task/x") == tip
    assert repo.git("rev-parse", "task/x-2~1") == repo.git("rev-parse", "main")


def test_a_reply_goes_on_in_the_same_tree(repo: Repo):
    repo.do("x", "echo 1 > one")
    repo.run("reply", "x", "echo 2 > two\nexit")
    repo.run("watch", "--until-empty")
    assert repo.result("x")["branch"] == "task/x"
    assert repo.result("x")["files_changed"] == [
        "one"
    ]  # this tool has no session: it did the first again
    assert "An earlier attempt has worked on this" in repo.log("x", 2, "prompt.md")
    assert "echo 2 > two" in repo.log("x", 2, "prompt.md")


def test_what_git_brought_waits_for_a_person(repo: Repo):
    repo.do("x", "true")
    (repo.work / "done/x.reply").write_text("rm -rf /\n")
    repo.git("add", "-f", "work/done/x.reply")
    repo.run("watch", "--until-empty")
    assert repo.where("x") == "done" and (repo.work / "done/x.reply").exists()
    assert repo.run("approve", "x").stderr.startswith("x: x.reply is accepted")
    assert repo.where("x") == "inbox"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("another reply", "a git command is running"),  # it is looked at again
        ("a lock", "a git command is running"),
        ("a broken index", "git does not say whether it came through git"),
    ],
)
def test_a_reply_that_nobody_can_tell_the_origin_of_waits(repo: Repo, change, why):
    repo.do("x", "true")
    path = repo.work / "done/x.reply"
    path.write_text("go on\n")
    judge = replies.Origin(trust.of(repo.layout))
    read = replies.look(repo.layout, Status.DONE, "x.reply")
    assert judge.gate(read, "hold", time.time()) is None
    if change == "another reply":
        path.write_text("rm -rf /\n")
    elif change == "a lock":
        (repo.root / ".git/index.lock").touch()
    else:
        (repo.root / ".git/index").write_bytes(b"nonsense")
    gate = replies.Origin(trust.of(repo.layout)).gate(read, "hold", time.time())
    assert gate is not None and why in gate.why


@pytest.mark.parametrize("how", ["file", "verb", "parent"])
def test_a_reply_says_nothing_of_a_task_that_git_has_changed(repo: Repo, how):
    repo.do("x", "true")
    (repo.work / "done/x.yaml").write_text(json.dumps({"prompt": "touch evil\nexit\n"}))
    repo.git("add", "-f", "work/done/x.yaml")
    if how == "file":
        (repo.work / "done/x.reply").write_text("go on\n")
        told = repo.run("watch", "--until-empty", code=None)
        said = told.stdout + told.stderr
    elif how == "verb":
        said = repo.run("reply", "x", "go on", code=None).stderr
    else:  # the agent that made the task, by MCP
        store = Store(repo.layout, EventLog(repo.layout, "cli"))
        replying.place(store, "x", Status.DONE, "go on")
        said = Replies(repo.layout, Fixed(Config()), store).send("x")
    assert "done/x.yaml came through git, and is not what ran here" in said
    assert repo.where("x") == "done" and not (repo.root / "evil").exists()


def test_bad_replies_are_told_and_kept(chat):
    do(chat, "a", "sh: true")
    path = chat.work / "done/a.reply"
    for raw in (b"x" * 70_000, b"\xff\xfe\x00", b"a\0b\n"):
        path.write_bytes(raw)
        assert "a.reply" in chat.run("watch", "--once").stdout
        assert chat.where("a") == "done" and path.read_bytes() == raw
    path.unlink()
    path.symlink_to("/etc/hostname")
    chat.run("watch", "--once")
    assert chat.where("a") == "done"
    chat.run("reply", "a", "x" * 70_000, code=1)
    chat.run("reply", "a", "", code=2)


def test_an_agent_cannot_reply_to_itself(chat):
    line = f"sh: {chat.python} -m orchestrator reply a again; echo $?"
    do(chat, "a", line)
    assert chat.log("a") == "1\n" and "an agent cannot reply" in chat.log("a", 1, "stderr.log")
    assert len(journals.of(chat.layout, "a").attempts) == 1


@pytest.mark.parametrize("call", ["fsync", "rename,renameat,renameat2"])
def test_killed_at_any_step_it_is_told_once(chat, call):
    """A verb that is killed at each of its system calls in turn: the reply is told once, or was never given."""
    do(chat, "a", "sh: true")
    told = 0
    for number in range(1, 12):
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
        trace += ["-e", f"inject={call}:signal=KILL:when={number}"]
        words = [*trace, chat.python, "-m", "orchestrator", "reply", "a", f"reply {number}"]
        done = subprocess.run(words, cwd=chat.root, env=chat.env, capture_output=True, check=False)
        chat.run("watch", "--until-empty")
        prompts = "".join(session(chat, "a"))
        count = prompts.count(f"reply {number}\n")
        assert count <= 1 and (count == 1 or done.returncode != 0)
        told += count
        assert chat.where("a") == "done" and not list(chat.work.glob("*/a.reply*"))
        if done.returncode == 0:
            break
    assert told >= 1 and done.returncode == 0


def test_a_watcher_killed_while_a_reply_waits(chat, watch):
    go = chat.root / "go"
    one = watch()
    chat.drop("a.yaml", json.dumps({"prompt": f"sh: while [ ! -e {go} ]; do sleep 0.02; done"}))
    wait_until(lambda: chat.events("attempt_started", "a"), "the start")
    os.kill(one.process.pid, signal.SIGKILL)
    one.wait()
    chat.run("reply", "a", "words")
    go.touch()
    chat.run("watch", "--until-empty")
    assert chat.where("a") == "done" and session(chat, "a")[1:] == ["words\n"]


def test_a_told_record_is_told_until_an_attempt_starts():
    claim = {"record": "claim", "id": "a"}
    started = {"record": "started", "attempt": 1, "at": 1}
    told = {"record": "told", "reply": "k", "text": "words\n"}
    journal = fold([claim, started, {"record": "exit", "attempt": 1}, told])
    assert journal.told == "words\n" and journal.replies[0]["to"] == 2
    again = fold(
        [claim, started, {"record": "exit", "attempt": 1}, told, {**started, "attempt": 2}]
    )
    assert not again.told and len(again.replies) == 1


@pytest.mark.parametrize("ending", names.BESIDE)
def test_ids_that_name_what_lies_beside_a_task_are_refused(ending):
    assert "beside a task" in ids.problem(f"x{ending}")


def test_which_names_are_replies(tmp_path):
    for name in ("a.reply", "a.reply.md", "a.reply.2", "a.b.reply"):
        assert names.replied_to(name) == ("a.b" if name.startswith("a.b") else "a")
    for name in ("a.yaml", ".a.reply", "a.replyx", "reply", "a.reply.txt"):
        assert not names.replied_to(name)
    assert names.is_draft("a.reply.md")
    assert replies.names_of(Layout(str(tmp_path)), "a") == []
    assert Status.INBOX.word == "waiting"


@pytest.mark.parametrize("raw", [b"", b" \n\n"])
def test_an_empty_reply_is_told(chat, watch, raw):
    do(chat, "a", "sh: true")
    watcher = watch()
    path = chat.work / "done/a.reply"
    path.write_bytes(raw)
    wait_until(lambda: "done/a.reply: it is empty" in watcher.text(), "it is told")
    assert [need["why"] for need in chat.json("review")["needs"]] == ["done/a.reply: it is empty"]
    path.write_text("words\n")
    wait_until(lambda: len(chat.events("task_finished", "a")) == 2, "the second end")
    chat.settled("a", "done")
    assert session(chat, "a")[1:] == ["words\n"]


def test_a_reply_that_nobody_can_be_told_is_told(chat):
    """A mistyped id: it lay there without a word."""
    do(chat, "fix-login", "sh: true")
    (chat.work / "done/fixlogin.reply").write_text("words\n")
    said = chat.run("watch", "--until-empty").stdout
    assert "done/fixlogin.reply: there is no task 'fixlogin'" in said
    assert "there is no task 'fixlogin'" in chat.run("review", "--list").stdout
    assert (chat.work / "done/fixlogin.reply").exists()


@pytest.mark.parametrize("how", ["verb", "file", "markdown"])
def test_a_number_that_is_no_option_is_no_reply(project, how):
    """The verb refused it, and the agent got it from a file."""
    project.config("agents: {helper: {tool: demo}}\n")
    ask = "agent: helper\nprompt: |\n  Do it\n  demo: ask Drop it? | yes | no\n"
    project.drop("a.yaml", ask)
    project.run("watch", "--until-empty", code=7)
    if how == "verb":
        assert "a has the options 1 to 2" in project.run("reply", "a", "3", code=1).stderr
    else:
        path = project.work / f"review/a.reply{'.md' if how == 'markdown' else ''}"
        path.write_text("3\n")
        said = project.run("watch", "--until-empty").stdout
        assert f"review/{path.name}: the question of a has the options 1 to 2" in said
        assert path.read_text() == "3\n"
        path.write_text("2\n")
    assert project.where("a") == "review" and len(project.events("attempt_started", "a")) == 1
    if how == "verb":
        project.run("reply", "a", "2")
    project.run("watch", "--until-empty", code=None)
    assert "2. no" in project.log("a", 2, "prompt.md")
