"""Agents that are talked to as ``codex app-server``: questions, words in the turn that runs, cancel, failures."""

from __future__ import annotations

import json
import os
import sys

import pytest
from conftest import ROOT, tagged, wait_until

from orchestrator.files import asks, journals
from orchestrator.tools.appserver import _about, _tell_limits, _tell_usage
from orchestrator.tools.dialogue import Words
from orchestrator.tools.specs import load_tools


@pytest.fixture
def fake(project):
    spec = {
        "adapter": "appserver",
        "argv": [sys.executable, str(ROOT / "tests/fake_appserver.py")],
        "edits": True,
        "reply": {
            "message": {"id": "{id}", "text": "{text}"},
            "taken": '"type": "taken"',
            "end": '"type": "end"',
        },
    }
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/fake.yaml").write_text(json.dumps(spec))
    role = {"tool": "fake", "ask": "person"}
    project.config(json.dumps({"agents": {"a": role}, "cancel": {"interrupt_grace": "20s"}}))
    return project


def drop(project, *orders: str) -> None:
    prompt = "Do it.\n" + "".join(f"fake: {order}\n" for order in orders)
    project.drop("t.yaml", json.dumps({"agent": "a", "prompt": prompt}))


def test_it_asks_and_is_told_more_in_the_turn_that_runs(fake, watch):
    watch()
    drop(fake, "run make", "run npm test", "wait", "say All done.")
    wait_until(lambda: asks.unanswered(fake.layout), "it asks")
    assert "May it use shell: make?" in asks.unanswered(fake.layout)[0].question
    assert '"reason": "may I?"' in asks.unanswered(fake.layout)[0].question
    fake.run("reply", "t", "2")
    wait_until(lambda: "acceptForSession make" in fake.log("t"), "it was allowed")
    wait_until(lambda: asks.unanswered(fake.layout), "it asks again")
    fake.run("reply", "t", "use ninja")
    wait_until(lambda: "decline npm test" in fake.log("t"), "it was refused")
    wait_until(lambda: "Heard: A person said: use ninja" in fake.log("t"), "and told why")
    fake.settled("t", "done")
    assert fake.result("t")["message"] == "All done."
    assert fake.result("t")["usage"]["input"] == 1000 and fake.result("t")["session"] == "th-1"


def test_a_reply_steers_the_turn(fake, watch):
    watch()
    drop(fake, "wait")
    wait_until(lambda: "waiting" in fake.log("t"), "it waits")
    assert "at its next turn" in fake.run("reply", "t", "Mind the tests.").stdout
    fake.settled("t", "done")
    assert "Heard: Mind the tests." in fake.log("t") and len(fake.result("t")["attempts"]) == 1
    told = journals.of(fake.layout, "t").replies
    assert [(record["text"], record["to"]) for record in told] == [("Mind the tests.\n", 1)]


def test_cancel_with_a_question_open(fake, watch):
    watch()
    drop(fake, "run make")
    wait_until(lambda: asks.unanswered(fake.layout), "it asks")
    fake.run("cancel", "t", code=None)
    fake.settled("t", "cancelled")
    wait_until(lambda: not tagged(fake), "nothing is left")
    assert '"reason": "interrupted"' in fake.log("t")


def test_a_turn_that_failed_is_classified_by_its_words(fake, watch):
    watch()
    drop(fake, "fail")
    wait_until(lambda: fake.events("tool_parked"), "it is held")
    assert "usage limit" in fake.events("tool_parked")[0]["summary"]


# -- without processes --------------------------------------------------------------------------------------------------


def test_what_an_item_is_about():
    assert _about({"type": "agentMessage"}) is None
    assert _about({"type": "fileChange", "changes": [{"path": "a", "diff": "+x"}, 3]}) == (
        "edit",
        {"file_path": "a", "diff": "+x"},
    )
    assert _about({"type": "webSearch", "query": "q"}) == ("search", {"query": "q"})


def test_figures_and_windows(capsys):
    _tell_usage({"last": {"inputTokens": 5, "outputTokens": 1}})
    _tell_limits({"primary": {"usedPercent": 87.5, "windowDurationMins": 300, "resetsAt": 9}})
    _tell_usage(None)
    _tell_limits({"primary": None})
    usage, limits = map(json.loads, capsys.readouterr().out.splitlines())
    assert usage == {"type": "usage", "input": 5, "output": 1}
    assert limits["windows"] == [{"minutes": 300, "percent": 87.5, "resets": 9}]
    assert load_tools(None).tools["codex-app"].reply


def test_an_input_that_has_ended_is_not_waited_for_again():
    """Whoever waits got the list of descriptors once: an ended one in it would be ready at once, for ever."""
    reader, writer = os.pipe()
    os.write(writer, b'{"id": "1", "text": "begin"}\n')
    os.close(writer)
    real = os.dup(0)
    os.dup2(reader, 0)
    try:
        words = Words(lines=True)
        waited_for = words.descriptors
        assert words.first() == ("1", "begin")
        assert words.more() == [] and waited_for == []
    finally:
        os.dup2(real, 0)
        os.close(real)
        os.close(reader)
