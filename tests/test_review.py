# ruff: noqa: F811 - fixtures come by their names
"""Review: what needs you is one list; a question waits for its answer; the walk decides one thing with one key."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time

import pytest
from conftest import wait_until
from test_replies import chat, do, session  # noqa: F401
from test_trees import Repo, repo  # noqa: F401

from orchestrator.files import journals
from orchestrator.model.isolation import Change, Role, reviewing, verdict
from orchestrator.model.question import NOBODY, answer, choices, headline, options

QUESTION = "Drop the column users.nick?\\n\\n1. yes\\n2. no\\n3. rename it\\n"
ASKS = f"sh: printf '{QUESTION}' > $ORCHESTRATOR_ARTIFACTS/question.md"


def needs(project) -> dict[str, str]:
    """What needs a person, by id: its kind.  Every view must show the same."""
    listed = json.loads(project.run("review", "--json", code=None).stdout)["needs"]
    found = {need["id"]: need["kind"] for need in listed}
    status = project.json("status")["needs"]
    assert [need["id"] for need in status] == [need["id"] for need in listed]
    rows = project.run("review", "--list", code=7 if found else 0).stdout
    assert all(f"{name}\t{kind}" in rows for name, kind in found.items())
    shown = project.run("status").stdout + project.run().stdout
    assert all(name in shown for name in found)
    short = project.run("status", "-s").stdout
    assert (f"{len(found)}?" in short) == bool(found)
    return found


def test_what_needs_you_is_one_list_and_may_be_empty(project):
    assert needs(project) == {}
    assert "nothing needs you" in project.run("review", "--list").stdout
    project.drop("bad.yaml", "promt: x\n")
    project.drop("fails.yaml", "prompt: exit 3\nagent: sh\n")
    project.drop("works.yaml", "prompt: exit 0\nagent: sh\nreview: always\n")
    project.run("watch", "--until-empty", code=1)
    assert needs(project) == {"works": "review", "fails": "failed", "bad": "invalid"}
    project.run("approve", "works")
    project.run("reject", "fails", "leave it as it is")
    project.run("cancel", "bad", code=None)
    (project.work / "inbox/bad.yaml").unlink(missing_ok=True)
    assert needs(project) == {}


def test_exit_code_7_needs_a_person_and_nothing_failed(project):
    project.drop("a.yaml", "prompt: exit 0\nagent: sh\nreview: always\n")
    assert project.run("watch", "--until-empty", code=None).returncode == 7
    assert project.run("wait", "a", code=None).returncode == 7
    project.drop("b.yaml", "prompt: exit 3\nagent: sh\n")
    project.run("watch", "--until-empty", code=1)
    assert project.run("wait", "a", "b", code=None).returncode == 1


def test_a_file_only_asks_for_more():
    for role, default, asked, counts in [
        (Role(), "", "", "changed"),
        (Role(merge="auto"), "", "", "never"),
        (Role(merge="auto"), "", "always", "always"),
        (Role(review="always"), "", "changed", "always"),
        (Role(merge="auto"), "changed", "", "changed"),
        (Role(merge="auto", review="never"), "always", "", "never"),
    ]:
        assert reviewing(role, default, asked).reviews == counts
    plain = reviewing(Role(), "", "changed")
    assert verdict(plain, None, ("a.py",)).step == "review" and verdict(plain, None).step == "done"
    assert verdict(Role(), None, ("a.py",)).step == "done"  # without a tree nobody asked
    assert verdict(Role(), Change(files=("a",), tip="t")).step == "review"


def test_never_is_no_word_of_a_task_file(project):
    path = project.drop("a.yaml", "prompt: x\nreview: never\n")
    done = project.run("validate", str(path), code=4)
    assert "review" in done.stdout + done.stderr


def test_a_question_waits_and_its_answer_goes_on_in_the_session(chat):
    do(chat, "a", ASKS, code=7)
    assert chat.where("a") == "review" and needs(chat) == {"a": "asks"}
    assert "1 yes 2 no 3 rename it" in chat.run("review", "--list", code=7).stdout
    why = chat.run("why", "a").stdout
    assert "it asks: Drop the column users.nick?" in why and "reply a" in why
    assert chat.run("reply", "a", "9", code=1).stderr.startswith("error: a has the options 1 to 3")
    chat.run("reply", "a", "2")
    chat.run("watch", "--until-empty")
    assert chat.where("a") == "done" and needs(chat) == {}
    assert session(chat, "a")[1:] == ["2. no\n"]


def test_a_file_with_a_number_is_an_answer_too(chat):
    do(chat, "a", ASKS, code=7)
    (chat.work / "review/a.reply").write_text("3\n")
    chat.run("watch", "--until-empty")
    assert session(chat, "a")[1:] == ["3. rename it\n"]


def test_the_second_of_two_answers_says_its_option_too(chat):
    do(chat, "a", ASKS, code=7)
    chat.run("reply", "a", "2")
    (chat.work / "inbox/a.reply").write_text("1\n")
    chat.run("watch", "--until-empty")
    assert "2. no" in session(chat, "a")[1] and "1. yes" in session(chat, "a")[1]


def test_nobody_answers_where_the_role_says_so(chat):
    chat.config("defaults: {agent: quiet}\nagents:\n  quiet: {tool: chat, ask: deny}\n")
    do(chat, "a", ASKS)
    assert chat.where("a") == "done" and session(chat, "a")[1:] == [NOBODY]


def test_a_time_for_the_answer(chat, watch):
    chat.config(
        "watch: {rescan: 100ms}\ndefaults: {agent: quiet}\nagents:\n  quiet: {tool: chat, ask: 300ms}\n"
    )
    watch()
    chat.drop("a.yaml", json.dumps({"prompt": ASKS}))
    wait_until(lambda: chat.where("a") == "done", "the end")
    chat.settled("a", "done")
    assert session(chat, "a")[1:] == [NOBODY]
    assert len(journals.of(chat.layout, "a").attempts) == 2


def test_one_that_asks_again_although_nobody_answers_is_for_a_person(chat):
    chat.config("defaults: {agent: quiet}\nagents:\n  quiet: {tool: chat, ask: deny}\n")
    (chat.root / "chat.py").write_text(
        (chat.root / "chat.py").read_text()
        + "\nopen(os.environ['ORCHESTRATOR_ARTIFACTS'] + '/question.md', 'w').write('Really?')\n"
    )
    do(chat, "a", "x", code=7)
    assert chat.where("a") == "review" and len(journals.of(chat.layout, "a").attempts) == 2


def test_refused_permissions_are_questions_under_ask_person(chat):
    chat.config("defaults: {agent: careful}\nagents:\n  careful: {tool: chat, ask: person}\n")
    spec = (chat.work / "tools/chat.yaml").read_text()
    parse = "parse:\n  from: stdout\n  done: \"[?type=='end']\"\n"
    parse += "  warnings: \"[?type=='end'] | [-1].denied[].join(' ', ['permission denied:', @])\"\n"
    (chat.work / "tools/chat.yaml").write_text(spec + parse)
    line = 'sh: echo \'{"type": "end", "denied": ["rm -rf build"]}\''
    do(chat, "a", line, code=7)
    assert needs(chat) == {"a": "asks"}
    assert "permission denied: rm -rf build" in chat.run("review", "--list", code=7).stdout


def test_why_says_how_it_came_into_review(project):
    project.drop("foreign.yaml", "prompt: x\n", "running")
    project.drop("moved.yaml", "prompt: exit 0\nagent: sh\n")
    project.run("watch", "--until-empty")
    (project.work / "done/moved.yaml").rename(project.work / "review/moved.yaml")
    assert "never claimed on this machine" in project.run("why", "foreign").stdout
    assert "moved to review/ by hand" in project.run("why", "moved").stdout
    project.drop("lost.yaml", "prompt: kill -9 $PPID\nagent: sh\n")
    project.run("watch", "--until-empty")
    assert "supervisor was killed" in project.run("why", "lost").stdout


def test_reject_says_why_and_the_next_attempt_is_told(chat):
    chat.drop("a.yaml", json.dumps({"prompt": "sh: true", "review": "always"}))
    chat.run("watch", "--until-empty")
    chat.run("reject", "a", "the old route must stay")
    assert chat.where("a") == "failed" and needs(chat) == {}
    assert chat.events("task_rejected", "a")[0]["summary"] == "the old route must stay"
    chat.run("retry", "a")
    chat.run("watch", "--until-empty")
    assert session(chat, "a")[1:] == ["It was rejected: the old route must stay\n"]


def test_what_git_brought_needs_you(repo: Repo):
    repo.drop("x.yaml", "prompt: x\n")
    repo.git("add", "-f", "work/inbox/x.yaml")
    assert needs(repo) == {"x": "held"}


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, project, *words: str) -> None:
        self.leader, follower = pty.openpty()
        self.text = ""
        env = {
            **project.env,
            "TERM": "xterm",
            "PAGER": "cat",
            "NO_COLOR": "1",
            "COLUMNS": "100",
            "LINES": "40",
        }
        self.process = subprocess.Popen(
            [project.python, "-m", "orchestrator", *words],
            cwd=project.root,
            env=env,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)

    def until(self, words: str, patience: float = 20) -> None:
        end = time.monotonic() + patience
        while words not in self.text:
            ready, _, _ = select.select([self.leader], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {words!r} in {self.text!r}"
            try:
                self.text += os.read(self.leader, 65536).decode()
            except OSError:
                raise AssertionError(f"ended without {words!r}: {self.text!r}") from None

    def type(self, keys: str) -> None:
        self.text = ""
        os.write(self.leader, keys.encode())

    def wait(self) -> int:
        while True:
            try:
                if not os.read(self.leader, 65536):
                    break
            except OSError:
                break
        os.close(self.leader)
        return self.process.wait(20)


def test_a_digit_answers_a_question_in_the_walk(project, watch):
    """It did nothing: the question had to be answered with r, the number and Enter."""
    project.config("agents: {helper: {tool: demo, ask: person}}\n")
    text = "agent: helper\nprompt: |\n  Do it\n  demo: {}\n"
    project.drop("ends.yaml", text.format("ask Drop users.nick? | yes | no | rename it"))
    project.drop("runs.yaml", text.format("permit make"))
    watch()
    wait_until(lambda: len(project.json("review")["needs"]) == 2, "both ask")
    walk = Terminal(project, "review")
    walk.until("q quit > ")
    assert "1-2 answer  r reply" in walk.text
    walk.type("3")  # there is no such option
    walk.until("q quit > ")
    walk.type("2")
    walk.until("denied")
    walk.until("q quit > ")
    assert "1-3 answer" in walk.text
    walk.type("3")
    walk.wait()
    wait_until(lambda: "deny make" in project.log("runs"), "the answer")
    wait_until(lambda: project.events("task_replied", "ends"), "the reply")
    told = (project.layout.logs("ends", 2) + "/prompt.md", "3. rename it")
    wait_until(lambda: os.path.exists(told[0]) and told[1] in open(told[0]).read(), "the option")


def test_the_walk(repo: Repo):
    for name in ("a", "b", "c"):
        repo.drop(f"{name}.yaml", json.dumps({"prompt": f"echo {name} > {name}.txt\nexit\n"}))
    repo.run("watch", "--until-empty")
    assert [repo.where(name) for name in "abc"] == ["review"] * 3
    walk = Terminal(repo, "review")
    walk.until("q quit > ")
    assert "1 of 3" in walk.text and "+1 -0 in 1 file" in walk.text
    walk.type("d")
    walk.until("q quit > ")
    assert "+a" in walk.text  # the diff
    walk.type("a")
    walk.until("1 of 2")  # what is decided is gone from the list
    walk.until("q quit > ")
    assert repo.where("a") == "done" and (repo.root / "a.txt").exists()
    walk.type("x")
    walk.until("why")
    walk.type("not like this\n")
    wait_until(lambda: repo.where("b") == "failed", "the rejection")
    walk.until("q quit > ")
    os.kill(walk.process.pid, 1)  # the terminal goes: nothing is lost
    walk.process.wait(10)
    assert repo.where("c") == "review"
    last = Terminal(repo, "review")
    last.until("q quit > ")
    last.type("q")
    assert last.wait() == 7


def test_a_watcher_tells_of_verdicts_once(project, watch):
    """By a verb and by mv; what has run again since is no verdict."""
    project.config("watch: {rescan: 200ms}\nagents: {r: {tool: demo, review: always}}\n")
    watcher = watch()
    for name in "abcd":
        project.drop(f"{name}.yaml", "agent: r\nprompt: x\n")
    for name in "abcd":
        project.settled(name, "review")
    project.run("approve", "a")
    project.run("reject", "b", "not like this")
    (project.work / "review/c.yaml").rename(project.work / "failed/c.yaml")
    project.run("reply", "d", "again")
    wait_until(lambda: len(project.result("d")["attempts"]) == 2, "the reply")
    wait_until(lambda: watcher.text().count("rejected") == 2, "both rejections")
    told = re.findall(r"Z (approved|rejected) +(\w) +note=(.*)", watcher.text())
    assert sorted(told) == [
        ("approved", "a", '"review -> done"'),
        ("rejected", "b", '"not like this"'),
        ("rejected", "c", '"review -> failed"'),
    ]


def test_the_walk_gives_a_conflict_back_to_its_agent(repo: Repo):
    """Its key is there where a merge has met one, and nowhere else."""
    for name in "ab":
        repo.drop(f"{name}.yaml", json.dumps({"prompt": f"echo {name} > one.txt\nexit\n"}))
    repo.run("watch", "--until-empty")
    repo.run("approve", "a")
    walk = Terminal(repo, "review")
    walk.until("q quit > ")
    assert "f reply --conflict" not in walk.text
    walk.type("a")
    walk.until("f reply --conflict")
    walk.type("f")
    assert walk.wait() == 0  # it was the last one
    assert repo.where("b") == "inbox"


def test_two_people_walk_at_the_same_time(chat):
    """The second one's yes is refused, and the walk goes on: it used to ask about the same task again."""
    for name in "ab":
        chat.drop(f"{name}.yaml", json.dumps({"prompt": "sh: true", "review": "always"}))
    chat.run("watch", "--until-empty")
    walks = [Terminal(chat, "review") for _ in range(2)]
    for walk in walks:
        walk.until("q quit > ")
    walks[0].type("a")
    walks[0].until("1 of 1")
    walks[1].type("a")
    walks[1].until("nothing waits for approval")
    walks[1].until("1 of 1")
    for walk in walks:
        walk.until("q quit > ")
        walk.type("q")
        assert walk.wait() == 7
    assert sorted(chat.where(name) for name in "ab") == ["done", "review"]


def test_a_reply_that_cannot_be_read_asks_for_no_yes(chat):
    """`approve` was named beside it, which would have been a yes to the task."""
    do(chat, "a", ASKS)
    (chat.work / "review/a.reply").write_bytes(b"\xff\xfe")
    rows = json.loads(chat.run("review", "--json", code=7).stdout)["needs"]
    assert [(row["kind"], row["command"]) for row in rows] == [
        ("asks", "reply a"),
        ("invalid", "show a"),
    ]
    assert "review/a.reply: it is not UTF-8" in rows[1]["why"]


def test_options_and_answers():
    text = "# Which?\n\n1. one\n2) two\n"
    assert options(text) == ["one", "two"] and headline(text) == "Which?"
    assert choices(text) == "1 one 2 two"
    assert answer(text, "2") == "2. two" and answer(text, "3") == "3" and answer(text, "no") == "no"
    assert options("2. two\n3. three") == [] and options("none") == []


@pytest.mark.parametrize("words", [("approve", "a"), ("reject", "a"), ("reply", "a", "x")])
def test_agents_decide_nothing(project, words):
    project.drop("a.yaml", "prompt: exit 0\nagent: sh\nreview: always\n")
    project.run("watch", "--until-empty")
    project.env["ORCHESTRATOR_TAG"] = "x"
    assert "only a person can" in project.run(*words, code=1).stderr
    assert project.where("a") == "review"
