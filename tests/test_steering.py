"""Replies to a tool that runs: told at its next turn, each once, whoever is killed; what comes too late is told by the next attempt."""

from __future__ import annotations

import json
import os
import signal

import pytest
from conftest import wait_until

from orchestrator.execution.feeding import Feed
from orchestrator.files import journals
from orchestrator.model.journal import fold

AGENT = r"""
import json, os, sys, time
def say(**event): print(json.dumps(event, separators=(",", ":")), flush=True)
def hear():
    line = sys.stdin.readline()
    if not line: return ""
    said = json.loads(line)
    say(type="user", replay=True, id=said["id"])
    return said["text"]
text = hear()
say(type="begun", session="s1", size=len(text))
if "wait" in text: text += hear()
if "deaf" in text:
    say(type="result", text="deaf", session="s1")
    while not os.path.exists("go"): time.sleep(0.02)
    sys.exit(0)
say(type="result", text=text[-200:], session="s1")
while hear(): pass
"""
SPEC = """argv: [python3, -I, -u, {agent}]
resume: [--resume, "{{session}}"]
reply: {{message: {{id: "{{id}}", text: "{{text}}"}}, taken: '"replay":true', end: '"type":"result"'}}
parse: {{session: "[?session] | [0].session", done: "[?type=='result']", text: "[?type=='result'] | [-1].text"}}
"""


@pytest.fixture
def talking(project, tmp_path):
    """Drops a task for an agent that hears, and waits until it runs."""
    (tmp_path / "agent.py").write_text(AGENT)
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/hearing.yaml").write_text(SPEC.format(agent=tmp_path / "agent.py"))

    def begin(prompt: str, **more) -> None:
        project.drop("a.yaml", json.dumps({"agent": "hearing", "prompt": prompt, **more}))
        wait_until(lambda: "begun" in _log(project), "it runs")

    return begin


def _log(project) -> str:
    path = project.work / "logs/a/1/stdout.log"
    return path.read_text() if path.exists() else ""


def replies_of(project) -> list[tuple[str, int]]:
    journal = journals.of(project.layout, "a")
    return [(record["text"].strip(), record["to"]) for record in journal.replies]


def test_a_running_tool_is_told_at_its_next_turn(project, watch, talking):
    watch()
    talking("wait")
    assert "at its next turn" in project.run("reply", "a", "turn left").stdout
    project.settled("a", "done")
    assert project.result("a")["message"].strip().endswith("turn left")
    assert len(project.result("a")["attempts"]) == 1
    assert replies_of(project) == [("turn left", 1)]
    assert [event["summary"] for event in project.events("task_replied", "a")] == [
        "at its next turn"
    ]
    assert not list(project.work.glob("*/a.reply*"))
    assert "attempt 1: turn left" in project.run("show", "a").stdout


def test_a_file_beside_it_is_the_same(project, watch, talking):
    watch()
    talking("wait")
    (project.work / "running/a.reply").write_text("turn right\n")
    project.settled("a", "done")
    assert replies_of(project) == [("turn right", 1)]
    assert not list(project.work.glob("*/a.reply*"))


def test_without_a_watcher_it_is_told_all_the_same_and_written_down_once(project, watch, talking):
    first = watch()
    talking("wait")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    project.run("reply", "a", "turn left")
    wait_until(lambda: '"type":"result"' in _log(project), "it is told")
    project.run("watch", "--until-empty")
    assert project.where("a") == "done" and replies_of(project) == [("turn left", 1)]
    assert len(project.events("task_replied", "a")) == 1
    assert not list(project.work.glob("*/a.reply*"))


def test_what_comes_after_its_turn_is_told_by_the_next_attempt(project, watch, talking):
    watch()
    talking("deaf")
    wait_until((project.work / "logs/a/1/words/over").exists, "its turn is over")
    assert "gets it when this attempt ends" in project.run("reply", "a", "and now?").stdout
    (project.root / "go").touch()
    wait_until(lambda: len(project.events("task_finished", "a")) == 1, "its end")
    assert replies_of(project) == [("and now?", 2)]
    assert project.result("a")["message"].strip() == "and now?"


def test_a_long_prompt_comes_whole(project, watch, talking):
    watch()
    talking("x" * 300_000)
    project.settled("a", "done")
    assert '"size":300000' in _log(project)


def test_cancel_ends_one_that_waits_for_words(project, watch, talking):
    watch()
    talking("wait")
    project.run("cancel", "a", code=None)
    project.settled("a", "cancelled")


# -- the supervisor's part, in a test tube --------------------------------------------------------------------------------


@pytest.fixture
def feed(tmp_path):
    (tmp_path / "words").mkdir()
    log = os.open(tmp_path / "stdout.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    made = Feed(str(tmp_path), end='"end"', taken='"took"')
    made.started(log)
    made.test_log = log
    yield made
    made.close()
    os.close(made.reader)
    os.close(log)


def put(feed, name: str, text: str) -> None:
    with open(f"{feed.folder}/{name}.json", "w") as file:
        file.write(text)


def test_words_are_given_in_order_and_once(feed):
    put(feed, "2.bbb", "second")
    put(feed, "1.aaa", "first\n")
    put(feed, "3.aaa", "the same words by another process")
    feed.serve()
    feed.serve()
    assert os.read(feed.reader, 1000) == b"first\nsecond\n"
    os.write(feed.test_log, b'{"took": "bbb"}\n{"took')
    feed.serve()
    assert os.path.exists(f"{feed.folder}/bbb.taken") and not os.path.exists(
        f"{feed.folder}/aaa.taken"
    )
    os.write(feed.test_log, b'": "aaa"}\n')
    feed.serve()
    assert os.path.exists(f"{feed.folder}/aaa.taken")


def test_nothing_is_given_after_the_end_of_its_turn(feed):
    put(feed, "1.aaa", "first")
    feed.serve()
    os.write(feed.test_log, b'{"end": 1}\n')
    put(feed, "2.bbb", "late")
    feed.serve()
    assert os.read(feed.reader, 1000) == b"first\n" and os.read(feed.reader, 1000) == b""
    assert os.path.exists(f"{feed.folder}/over")
    os.write(feed.test_log, b'{"took": "aaa"}\n')  # it had read that, and says so only now
    feed.serve()
    assert os.path.exists(f"{feed.folder}/aaa.taken")


def test_more_than_fits_is_written_as_the_tool_reads(feed):
    put(feed, "1.aaa", "x" * (3 << 20))
    got = b""
    for _ in range(1000):
        feed.serve()
        got += os.read(feed.reader, 1 << 20)
        if got.endswith(b"\n"):
            break
    assert len(got) == (3 << 20) + 1


def test_a_folder_that_is_gone_and_a_tool_that_reads_no_more_are_no_faults(feed, tmp_path):
    (tmp_path / "words").rename(tmp_path / "gone")
    feed.serve()
    (tmp_path / "gone").rename(tmp_path / "words")
    other = os.dup(feed.reader)
    os.close(feed.reader)
    os.close(other)
    put(feed, "1.aaa", "first")
    feed.serve()
    assert os.path.exists(f"{feed.folder}/over")
    feed.reader = os.open(os.devnull, os.O_RDONLY)


def test_what_was_taken_is_told_to_no_further_attempt():
    claim = {"record": "claim", "id": "a", "file": "a.yaml"}
    taken = {"record": "told", "reply": "k", "text": "x", "taken": 1}
    journal = fold([claim, {"record": "started", "attempt": 1, "words": True}, taken])
    assert journal.told == "" and [record["to"] for record in journal.replies] == [1]
