"""Questions while an agent runs: asked once, bound to their answers, whatever is killed meanwhile; time stands still for them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from conftest import wait_until

from orchestrator.coordination.asking import LOOK, Asking
from orchestrator.errors import Refused
from orchestrator.execution.attemptlimits import asking as asking_now
from orchestrator.files import asks
from orchestrator.files.layout import data_file
from orchestrator.store import answering
from orchestrator.store.answering import verdict
from orchestrator.store.eventlog import EventLog
from orchestrator.store.transitions import Store

CONFIG = "agents: {{helper: {{tool: demo, ask: {ask}}}}}\nlimits: {{running: 1}}\n"
TASK = "agent: helper\n{more}prompt: |\n  Do it\n{lines}"


def asking(project, *commands: str, ask: str = "person", more: str = "", name: str = "a") -> None:
    project.config(CONFIG.format(ask=ask))
    lines = "".join(f"  demo: permit {command}\n" for command in commands)
    project.drop(f"{name}.yaml", TASK.format(more=more, lines=lines))


def open_ones(project, count: int = 1) -> list[asks.Ask]:
    wait_until(lambda: len(asks.unanswered(project.layout)) == count, f"{count} open questions")
    return asks.unanswered(project.layout)


def test_a_question_is_a_file_and_so_is_its_answer(project, watch):
    asking(project, "npm test", "rm -rf build", "make")
    watch()
    assert open_ones(project)[0].name == "a.1"
    text = (project.work / "asks/a.1.md").read_text()
    assert "May it use Bash: npm test?" in text and "1. allow\n2. deny" in text
    assert project.json("status")["running"][0]["status"] == "asks"
    need = project.json("review")["needs"][0]
    assert (need["kind"], need["command"], need["verbs"]) == ("asks", "reply a", ["reply", "cancel", "show"])  # fmt: skip
    why = project.run("why", "a").stdout
    assert "it asks: May it use Bash: npm test?" in why and "orchestrator reply a NUMBER" in why
    assert "2 deny" in why and project.json("why", "a")["status"] == "asks"
    project.run("wait", "a", code=7)
    assert project.run("reply", "a", "3", code=1).stderr.startswith("error: a has the options")
    project.run("reply", "a", "1")
    wait_until(lambda: "allow npm test" in project.log("a"), "it goes on")
    wait_until(
        lambda: [ask.name for ask in asks.unanswered(project.layout)] == ["a.2"]
    )  # bound to its question: the first answer is gone
    (project.work / "asks/a.2.answer").write_text("use git clean\n")
    wait_until(lambda: "deny rm -rf build: A person said: use git clean" in project.log("a"))
    open_ones(project)
    project.run("reply", "a", "no")
    project.settled("a", "done")
    assert [event["summary"] for event in project.events("question_answered", "a")] == [
        "allowed",
        "denied",
        "denied",
    ]
    assert not os.listdir(project.work / "asks")


def test_no_question_has_a_secret(project, watch):
    """It went into asks/, which git tracks, into status, and to hooks."""
    secret = "s3cr3t-value"
    project.env["SOME_TOKEN"] = secret
    asking(project, f"curl -H {secret} x")
    config = project.work / "orchestrator.yaml"
    config.write_text(f"{config.read_text()}environment: {{pass: [SOME_TOKEN]}}\n")
    watcher = watch()
    (ask,) = open_ones(project)
    masked = f"curl -H {'*' * len(secret)} x"
    assert masked in ask.question and masked in (project.work / "asks/a.1.md").read_text()
    said = [
        project.run(*words, code=None).stdout
        for words in (("status",), ("show", "a"), ("review", "--list"), ("why", "a"))
    ]
    assert (
        secret not in "".join((*said, watcher.text(), ask.question))
        and "*" * len(secret) in said[2]
    )
    project.run("reply", "a", "1")
    project.settled("a", "done")
    project.drop(
        "b.yaml", f"agent: helper\nprompt: |\n  Do it\n  demo: ask Is {secret} right? | yes | no\n"
    )
    project.settled("b", "review")
    assert project.result("b")["question"].startswith("Is ************ right?")


def test_time_and_silence_stand_still_and_the_slot_is_given_back(project, watch):
    asking(project, "npm test", more="timeout: 2s\nsilence: 1s\n")
    watch()
    open_ones(project)
    began = project.events("question_asked", "a")[0]
    project.drop("b.yaml", "agent: helper\nprompt: |\n  demo: work 3s\n")  # the only slot
    project.settled("b", "done")  # and so more than both limits have passed
    assert project.where("a") == "running" and began
    project.run("reply", "a", "allow")
    project.settled("a", "done")
    assert "allow npm test" in project.log("a")


def test_who_asks_gives_its_slot_back_and_keeps_its_locks(project, watch):
    asking(project, "npm test", more="locks: [db]\n")
    watch()
    open_ones(project)
    project.drop("b.yaml", "agent: helper\nlocks: [db]\nprompt: x\n")
    project.drop("c.yaml", "agent: helper\nprompt: x\n")  # the only slot
    project.settled("c", "done")
    assert project.where("b") == "inbox"
    told = project.run("why", "b").stdout
    assert "a task with the lock 'db' is running" in told and "slots are taken" not in told
    project.run("reply", "a", "1")
    project.settled("a", "done")
    project.settled("b", "done")


def test_who_may_not_give_its_slot_back_has_it_for_why_too(project, watch):
    asking(project, "npm test")
    project.config(CONFIG.format(ask="person").replace("running: 1", "running: 1, asking: 0"))
    watch()
    open_ones(project)
    project.drop("b.yaml", "agent: helper\nprompt: x\n")
    wait_until(lambda: "the only slot is taken" in project.run("why", "b").stdout)
    project.run("reply", "a", "1")
    project.settled("b", "done")


def test_who_was_answered_goes_on_before_another_starts(project, watch):
    """A slot that was free again went to the next task, which asked in its turn: none was answered until all had started."""
    project.config(CONFIG.format(ask="person").replace("running: 1", "running: 1, asking: 1"))
    names = [f"t{n}" for n in range(8)]
    for name in names:
        project.drop(f"{name}.yaml", TASK.format(more="", lines=f"  demo: permit {name}\n"))
    watch()
    first = open_ones(project, 2)[0].task_id  # one has lent its slot, one keeps the only one
    project.run("reply", first, "1")
    project.settled(first, "done")
    assert len(list(project.work.glob("inbox/*.yaml"))) >= 4

    def all_done() -> bool:
        for ask in asks.unanswered(project.layout):
            project.run("reply", ask.task_id, "1", code=None)
        return all(project.where(name) == "done" for name in names)

    wait_until(all_done, "all are done", patience=60)


def test_a_question_that_is_being_taken_off_the_list_has_an_answer(project):
    """The list was read before its answer was looked for: who answered it then replied to a task that had ended, and
    so began its next attempt."""
    raw = asks.Raw("0" * 32, 1.0, "May it?\n\n1. allow\n2. deny", "Bash")
    (project.work / "asks").mkdir(exist_ok=True)
    path, over = project.work / "asks/a.1.md", threading.Event()

    def come_and_go() -> None:
        for _ in range(3000):  # with its answer all the time
            path.with_suffix(".answer").write_text("1\n")
            path.write_text(asks.text_of("a", 1, raw))
            answering.forget(next(ask for ask in asks.listed(project.layout)))
        over.set()

    threading.Thread(target=come_and_go).start()
    seen = set()
    while not over.is_set():
        seen.update(ask.name for ask in asks.unanswered(project.layout))
    assert not seen


def test_an_answer_that_was_there_before_its_question_is_none(project, watch):
    """Nobody can have said yes to what was not asked yet."""
    (project.work / "asks").mkdir(exist_ok=True)
    early = project.work / "asks/a.1.answer"
    early.write_text("1\n")
    asking(project, "one")
    watch()
    assert open_ones(project)[0].name == "a.2"
    assert "allow" not in project.log("a") and early.read_text() == "1\n"
    project.run("reply", "a", "2")
    project.settled("a", "done")
    assert "deny one" in project.log("a")


def test_a_question_that_is_over_takes_no_answer(project):
    raw = asks.Raw("0" * 32, 1.0, "May it?\n\n1. allow\n2. deny", "Bash")
    (project.work / "asks").mkdir(exist_ok=True)
    (project.work / "asks/a.1.md").write_text(asks.text_of("a", 1, raw))
    (known,) = asks.listed(project.layout)
    answering.forget(known)
    with pytest.raises(Refused, match="a.1 is over"):
        answering.answer(Store(project.layout, EventLog(project.layout, "cli")), known, "1")
    assert not os.listdir(project.work / "asks")


def test_cancelled_while_it_asks_it_leaves_its_locks(project, watch):
    asking(project, "npm test", more="locks: [db]\n")
    watch()
    open_ones(project)
    project.drop("b.yaml", "agent: helper\nlocks: [db]\nprompt: x\n")
    project.run("cancel", "a", code=None)
    project.settled("b", "done")


def test_a_killed_watcher_loses_no_question_and_asks_none_twice(project, watch):
    asking(project, "one", "two")
    first = watch()
    asked = open_ones(project)[0]
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    project.run("reply", "a", "1")  # nobody watches: the agent is told all the same
    wait_until(lambda: "allow one" in project.log("a"), "it goes on")
    watch()
    second = open_ones(project)[0]
    assert second.key != asked.key and "two" in second.question
    assert len(project.events("question_asked", "a")) == 2
    project.run("reply", "a", "1")
    project.settled("a", "done")
    assert [event["attempt"] for event in project.events("attempt_started", "a")] == [1]


def test_until_empty_leaves_a_question_to_the_next_watcher(project, watch):
    asking(project, "one")
    assert project.run("watch", "--until-empty", code=None).returncode == 7
    assert open_ones(project)[0].name == "a.1"
    (project.work / "asks/a.1.answer").write_text("1\n")  # by hand, while nobody watches
    project.run("watch", "--until-empty", code=0)
    assert project.where("a") == "done" and "allow one" in project.log("a")
    assert len(project.events("question_asked", "a")) == 1


def test_cancel_with_a_question_open_leaves_nothing(project, watch):
    asking(project, "one")
    watch()
    open_ones(project)
    project.run("cancel", "a", code=None)
    project.settled("a", "cancelled")
    wait_until(lambda: not os.listdir(project.work / "asks"), "the question is gone")


def test_a_question_whose_agent_ended_while_nobody_watched_needs_nobody(project):
    raw = asks.Raw("0" * 32, 1.0, "May it?\n\n1. allow\n2. deny", "Bash")
    (project.work / "asks").mkdir(exist_ok=True)
    (project.work / "asks/gone.1.md").write_text(asks.text_of("gone", 1, raw))
    project.run("watch", "--until-empty", code=0)
    assert not os.listdir(project.work / "asks")


@pytest.mark.parametrize("ask", ["deny", "2s"])
def test_roles_that_nobody_answers_for(project, ask):
    """A watcher that ends when nothing is left to do waits for a question that ends without a person."""
    asking(project, "one", ask=ask)
    ended = project.run("watch", "--until-empty", code=None)
    assert ended.returncode == 0, ended.stdout
    wanted = "there is nobody to ask" if ask == "deny" else "deny one: Nobody answered in time"
    assert wanted in project.log("a")


@contextmanager
def asked(project) -> Iterator[Asking]:
    """A watcher's questions, while somebody asks for the task ``a``."""
    run_dir = project.layout.logs("a", 1)
    os.makedirs(f"{run_dir}/{asks.ASKED}")
    with open(f"{run_dir}/{asks.ASKED}/{'0' * 32}.json", "w") as asker:
        json.dump({"tool": "Bash", "since": 1.0, "input": {"command": "make"}}, asker)
        asker.flush()
        fcntl.flock(asker, fcntl.LOCK_EX)
        (project.work / "asks").mkdir(exist_ok=True)
        raw = next(asks.open_questions(run_dir))
        (project.work / "asks/a.1.md").write_text(asks.text_of("a", 1, raw))
        store = Store(project.layout, EventLog(project.layout, "watch"))
        yield Asking(project.layout, store, None, None)


def test_a_task_that_ends_takes_its_question_with_it_at_once(project):
    """Else a watcher that goes then, because nothing is left to do, says that somebody is asked."""
    with asked(project) as asking:
        life = SimpleNamespace(id="a", stage=None)
        asking.look({"a": life}, 100.0, lambda life: True)
        assert [ask.name for ask in asking.open["a"]] == ["a.1"]
    asking.look({}, 100.0, lambda life: True)  # the same moment
    assert not asking.open and not os.listdir(project.work / "asks")


def test_a_question_of_somebody_elses_task_is_looked_at_no_more_often(project):
    """`orchestrator run` asks beside a watcher, which is not to look at each of its passes."""
    with asked(project) as asking:
        asking.look({}, 100.0, lambda life: True)
        found = asking.open
        asking.look({}, 100.0 + LOOK / 2, lambda life: True)
        assert asking.open is found and list(found) == ["a"]


def test_an_asker_that_was_killed_asks_nothing_any_more(tmp_path):
    for name in ("asked", "answers"):
        (tmp_path / name).mkdir()
    hook = [sys.executable, "-I", f"{data_file('tools')}/asking.py", str(tmp_path), "0"]
    asker = subprocess.Popen(hook, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    asker.stdin.write(json.dumps({"tool_name": "Write", "tool_input": {"file_path": "/x"}}))
    asker.stdin.close()
    wait_until(lambda: list(asks.open_questions(str(tmp_path))), "it asks")
    question = next(asks.open_questions(str(tmp_path)))
    assert question.question.startswith("May it use Write: /x?")
    asker.kill()
    asker.wait()
    assert not list(asks.open_questions(str(tmp_path)))


@pytest.mark.parametrize(
    ("words", "allowed"),
    [("1", True), ("allow", True), ("Yes", True), ("1. allow", True), ("2", False), ("no", False), ("allow it later", False), ("", False)],
)  # fmt: skip
def test_only_a_plain_yes_is_a_yes(words, allowed):
    said = verdict("May it?\n\n1. allow\n2. deny", words)
    assert said["allow"] is allowed
    assert allowed or said["message"]


@pytest.mark.parametrize(
    ("option", "allowed"),
    [("allow always", True), ("reject once", False), ("not now", False), ("never allow", False), ("allowlist it", False),
     ("yes", False), ("Allow", False)],
)  # fmt: skip
def test_only_an_option_that_begins_with_allow_is_a_yes(option, allowed):
    """Options are the agent's own words: what does not plainly allow is a no."""
    said = verdict(f"May it?\n\n1. {option}\n2. reject", "1")
    assert (said["allow"], said["option"]) == (allowed, option)
    assert allowed or said["message"]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"3\n", "the question has the options 1 to 2"),
        (b"\xff\xfe", "it is not UTF-8 text"),
        (b"x" * 20_000, "it is larger than 16 KiB"),
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (None, "it is a symbolic link"),
    ],
)
def test_what_cannot_be_an_answer_is_told_and_answers_nothing(project, watch, raw, why):
    """It denied what was asked, or lay there for ever, and the verb said that it had been answered."""
    asking(project, "one")
    watcher = watch()
    ask = open_ones(project)[0]
    path = project.work / "asks/a.1.answer"
    if raw is None:
        path.symlink_to("/etc/hostname")
    else:
        path.write_bytes(raw)
    wait_until(lambda: f"work/asks/a.1.answer: {why}" in watcher.text(), "it is told")
    assert [item.key for item in asks.unanswered(project.layout)] == [ask.key]
    assert project.json("status")["running"][0]["status"] == "asks"
    project.run("reply", "a", "1")  # takes its place
    project.settled("a", "done")
    assert "allow one" in project.log("a") and "deny" not in project.log("a")


def test_an_answer_that_is_still_being_written_is_waited_for(project, watch):
    asking(project, "one")
    watch()
    open_ones(project)
    with (project.work / "asks/a.1.answer").open("w") as file:  # as a shell does: empty at first
        file.write("use ")
        file.flush()
        asking(project, "two", name="b")  # and the watcher has looked at all of them since
        wait_until(lambda: asks.unanswered(project.layout, "b"), "the next question")
        assert "deny" not in project.log("a")
        file.write("make\n")
    wait_until(lambda: "deny one: A person said: use make" in project.log("a"))


def _damage(path, kind: str) -> None:
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        (path / "x").mkdir(parents=True)
    else:
        path.write_text("no head at all\n" if kind == "text" else "x" * (2 << 20))


@pytest.mark.parametrize("kind", ["text", "pipe", "folder", "large"])
def test_a_question_whose_file_was_spoilt_is_written_again(project, watch, kind):
    """The watcher tried for ever to write it, and did nothing else any more."""
    asking(project, "one")
    watch()
    open_ones(project)
    _damage(project.work / "asks/a.1.md", kind)
    open_ones(project)
    project.run("reply", "a", "1")
    project.settled("a", "done")
    assert "allow one" in project.log("a")


@pytest.mark.parametrize("since", ["NaN", "1e308", "-1e308", '"soon"', "[]"])
def test_a_question_of_no_moment_is_none(tmp_path, since):
    """An agent has written it itself, and a file that cannot be read back is never known."""
    (tmp_path / "asked").mkdir()
    path = tmp_path / "asked" / f"{'0' * 32}.json"
    path.write_text(f'{{"tool": "Bash", "input": {{"command": "x"}}, "since": {since}}}')
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not list(asks.open_questions(str(tmp_path)))
        assert not asking_now(str(tmp_path))
        path.write_text('{"tool": "Bash", "since": 1.5}')
        assert list(asks.open_questions(str(tmp_path))) and asking_now(str(tmp_path))


def test_only_a_question_that_people_see_makes_time_stand_still(project, watch):
    """An agent may lock what it likes: nobody is asked by that, and its limit is over when it is."""
    code = (
        "import fcntl, os, time\n"
        "asked = os.path.dirname(os.environ['ORCHESTRATOR_ARTIFACTS']) + '/asked'\n"
        "os.makedirs(asked, exist_ok=True)\n"
        "for name in ('x', '0' * 32 + '.json'):\n"
        "    file = open(f'{asked}/{name}', 'w'); fcntl.flock(file, fcntl.LOCK_EX); globals()[name] = file\n"
        "time.sleep(600)\n"
    )
    project.config("agents: {py: {tool: shell, command: [python3, -]}}\n")
    project.drop("a.yaml", json.dumps({"prompt": code, "agent": "py", "timeout": "1s"}))
    watch()
    wait_until(lambda: project.events("task_finished", "a"), "its limit")


def test_all_that_is_asked_is_shown_or_counted():
    """Who says yes must not say it to what is not there to be read."""
    text = asks.question_of({"tool": "Bash", "input": {"command": "true " * 2000 + "; rm -rf ~"}})
    assert "rm -rf" not in text and "6,010 more characters are not shown" in text
    text = asks.question_of(
        {"tool": "Bash", "input": {"command": "true " + " " * 160 + "rm -rf ~"}}
    )
    assert "rm -rf ~" in text.splitlines()[0]
