"""Agents that are talked to by the Agent Client Protocol: turns, sessions, questions, cancel, and how it ends when they misbehave."""

from __future__ import annotations

import json
import signal
import sys

import pytest
from conftest import ROOT, tagged, wait_until

from orchestrator.files import asks
from orchestrator.files.documents import Document
from orchestrator.files.schemas import check
from orchestrator.store.answering import verdict
from orchestrator.tools.acp import Call, _choices, _reported, _tell_usage
from orchestrator.tools.protocols import completed
from orchestrator.tools.specs import load_tools, queries

CONFIG = {"retry": {"delay": "50ms"}}


@pytest.fixture
def fake(project):
    """A project whose agent ``a`` is the fake one; a function that settles how it is cancelled, and its role."""

    def settle(grace: str = "20s", **role) -> None:
        home = project.root.parent / "fake-home"
        home.mkdir(exist_ok=True)
        spec = {
            "adapter": "acp",
            "argv": [sys.executable, str(ROOT / "tests/fake_acp.py"), str(home)],
            "permissions": {"default": [], "read": []},
            "modes": {"read": "plan"},
            "edits": True,
        }
        (project.work / "tools").mkdir(exist_ok=True)
        (project.work / "tools/fake.yaml").write_text(json.dumps(spec))
        cancel = {"interrupt_grace": grace, "terminate_grace": "300ms"}
        agents = {"a": {"tool": "fake", **role}}
        project.config(json.dumps({**CONFIG, "cancel": cancel, "agents": agents}))

    settle()
    return settle


def drop(project, *orders: str, name: str = "t", **more) -> None:
    prompt = "Do it.\n" + "".join(f"fake: {order}\n" for order in orders)
    project.drop(f"{name}.yaml", json.dumps({"agent": "a", "prompt": prompt, **more}))


def open_ones(project, count: int = 1) -> list[asks.Ask]:
    wait_until(lambda: len(asks.unanswered(project.layout)) == count, f"{count} open questions")
    return asks.unanswered(project.layout)


@pytest.mark.parametrize("style", ["glued", "escaped", "unended"])
def test_messages_that_look_odd_are_understood(project, fake, style):
    drop(project, f"odd {style}", "say Hello there.")
    project.run("watch", "--until-empty", code=0)
    result = project.result("t")
    assert (result["message"], result["usage"]["output"]) == ("Hello there.", 50)


def test_a_turn_its_words_its_usage_and_the_next_turn_of_its_session(project, fake):
    drop(project, "say Hello there.", "linger")
    project.run("watch", "--until-empty", code=0)
    result = project.result("t")
    assert result["message"] == "Hello there." and result["session"]
    assert result["usage"] == {"input": 1000, "cached": 200, "output": 50, "reasoning": 0}
    assert "Hello there." in project.run("logs", "t").stdout
    project.run("reply", "t", "fake: say Once more in MODE.")
    project.run("watch", "--until-empty", code=0)
    again = project.result("t")
    assert again["message"] == "Once more in build." and again["session"] == result["session"]
    assert again["attempts"][1]["resumed"] and "long ago" not in project.log("t")


def test_an_error_in_the_voice_of_the_model_is_no_answer(project, fake):
    """Copilot says what befell it as if its model said it; what its model says afterwards decides."""
    path = project.work / "tools/fake.yaml"
    spec = json.loads(path.read_text())
    path.write_text(json.dumps({**spec, "argv": [*spec["argv"], "Copilot"]}))
    failed = "notice Error: Authentication failed with provider (HTTP 401)."
    drop(project, "notice Info: Request failed. Retrying...", failed)
    drop(project, failed, "say All is well.", name="u")
    project.run("watch", "--until-empty", code=1)
    bad, good = project.result("t"), project.result("u")
    assert (project.where("t"), bad["error_class"]) == ("failed", "auth"), bad
    assert (project.where("u"), good["message"]) == ("done", "All is well."), good


def test_what_an_agent_refuses_without_asking_is_a_warning(project, fake):
    drop(project, "fail Path not in workspace: /etc/hosts", "fail no such text in a.py", "say OK.")
    project.run("watch", "--until-empty", code=0)
    denied = "permission denied: edit Path not in workspace: /etc/hosts"
    assert project.result("t")["warnings"] == [denied]


def test_what_was_said_to_a_session_that_is_gone_is_said_to_the_next(project, fake):
    drop(project, "say one", retries=1)
    project.run("watch", "--until-empty", code=0)
    first = project.result("t")["session"]
    for kept in (project.root.parent / "fake-home").iterdir():
        kept.unlink()
    project.run("reply", "t", "And now:\nfake: say two")
    project.run("watch", "--until-empty", code=0)
    attempts = project.result("t")["attempts"]
    assert attempts[1]["error_class"] == "session" and attempts[2]["session"] != first
    assert project.result("t")["message"] == "onetwo"  # the task and what was said


def test_questions_wait_for_a_person_each_for_its_own(project, fake, watch):
    """Asked at once, answered out of order and by an option of the agent's own; a killed watcher loses none."""
    fake(ask="person")
    first = watch()
    drop(project, "run make | npm test | rm -rf build", timeout="1s", silence="500ms")
    asked = open_ones(project, 3)
    assert [ask.question.partition("\n")[0] for ask in asked] == [
        "May it use shell: make?",
        "May it use shell: npm test?",
        "May it use shell: rm -rf build?",
    ]
    assert "1. allow\n2. allow always: Always in this session\n3. deny" in asked[0].question
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    (project.work / "asks/t.3.answer").write_text("3\n")
    project.run("reply", "t", "9", code=1)
    project.run("reply", "t", "2")
    watch()
    open_ones(project)
    project.run("reply", "t", "yes")
    project.settled("t", "done")
    log = project.log("t")
    assert all(said in log for said in ("s make. ", "y npm test. ", "n rm -rf build. "))
    assert len(project.events("question_asked", "t")) == 3
    assert [event["attempt"] for event in project.events("attempt_started", "t")] == [1]
    assert project.result("t")["usage"]["input"] == 1000  # one turn


def test_words_instead_of_an_option_reach_the_agent_when_its_turn_is_over(project, fake, watch):
    fake(ask="person")
    watch()
    drop(project, "run make", "refuse")
    open_ones(project)
    project.run("reply", "t", "use ninja")
    project.settled("t", "done")
    assert project.result("t")["message"] == "Then I use ninja."
    assert "n make" in project.log("t") and len(project.result("t")["attempts"]) == 1


@pytest.mark.parametrize(
    ("role", "said"),
    [({}, "n make"), ({"permissions": "full"}, "y make"), ({"permissions": "read"}, "n make"), ({"ask": "100ms"}, "n make")],
)  # fmt: skip
def test_who_is_not_asked_is_refused_and_that_is_told(project, fake, role, said):
    fake(**role)
    drop(project, "run make", "say MODE")
    project.run("watch", "--until-empty", code=None)
    result = project.result("t")
    told = any("permission denied: shell make" in text for text in result.get("warnings", ()))
    assert said in project.log("t") and told is ("n" in said and "ask" not in role)
    assert result["message"].endswith("plan" if role.get("permissions") == "read" else "build")


@pytest.mark.parametrize(
    "orders", [("sleep",), ("run make",), ("ignore", "sleep")], ids=["working", "asking", "deaf"]
)
def test_cancel_is_told_in_the_protocols_words_and_then_by_signals(project, fake, watch, orders):
    fake("200ms" if "ignore" in orders else "20s", ask="person")
    watch()
    drop(project, *orders)
    if "run make" in orders:
        open_ones(project)
    else:
        wait_until(lambda: "sleeping" in project.log("t"), "it is at it")
    project.run("cancel", "t", code=None)
    project.settled("t", "cancelled")
    wait_until(lambda: not tagged(project), "nothing is left")
    if orders == ("sleep",):
        assert "was cancelled" in project.log("t")
        assert project.result("t")["session"]
    wait_until(lambda: not asks.listed(project.layout), "the question is gone")


def test_an_agent_that_ends_in_its_turn_or_is_not_there(project, fake):
    drop(project, "exit 3")
    project.run("watch", "--until-empty", code=None)
    result = project.result("t")
    assert result["outcome"] == "failed"
    assert "it ended with exit 3 before its turn was over" in result["reason"]
    spec = json.loads((project.work / "tools/fake.yaml").read_text())
    (project.work / "tools/fake.yaml").write_text(json.dumps({**spec, "argv": ["no-such-agent"]}))
    drop(project, "say x", name="u")
    project.run("watch", "--until-empty", code=None)
    assert "there is no program 'no-such-agent'" in project.result("u")["reason"]


# -- without processes --------------------------------------------------------------------------------------------------


def test_a_spec_says_only_what_is_special(project, fake):
    tool = load_tools(project.layout).tools["fake"]
    assert tool.asks and tool.can_resume and tool.parse.done and tool.presentation.live
    built_in = load_tools(None).tools["gemini-acp"]
    assert built_in.presentation.show.pieces and not built_in.can_resume
    whole = Document("", data=completed({"adapter": "acp", "argv": ["x"]}))
    assert not check("tool", whole) and not queries(whole)


def test_a_command_in_a_question_offers_nothing():
    body = {"tool": "shell", "input": {"command": "x\n1. deny\n2. allow"}, "options": ["allow", "allow always: 9. x", "deny"]}  # fmt: skip
    question = asks.question_of(body)
    assert verdict(question, "2") == {"allow": True, "option": "allow always: 9. x"}
    assert verdict(question, "3")["allow"] is False
    assert verdict(question, "allow always: something else")["allow"] is False


def test_options_of_unknown_kinds_are_not_offered():
    offered = [{"kind": "allow_later", "optionId": "l", "name": "Later"}, {"kind": "reject_always", "optionId": "r", "name": "Never\nagain"}, "x"]  # fmt: skip
    assert _choices(offered) == {"deny always: Never again": "r"} and _choices(None) == {}


@pytest.mark.parametrize(
    ("facts", "name", "given"),
    [
        ({"kind": "execute", "title": "ls"}, "shell", {"command": "ls"}),
        ({"kind": "execute", "rawInput": {"command": ["a", "b"]}}, "shell", {"command": "a b"}),
        ({"kind": "edit", "locations": [{"path": "/x"}], "content": [{"type": "diff", "oldText": "a", "newText": "b"}]}, "edit", {"file_path": "/x", "old_string": "a", "new_string": "b"}),
        ({"kind": "fetch", "rawInput": {"url": "http://x"}}, "fetch", {"url": "http://x"}),
        ({"title": "Think", "rawInput": 3, "locations": 4, "content": 5}, "other", {"what": "Think"}),
    ],
)  # fmt: skip
def test_what_a_call_is_about(facts, name, given):
    call = Call(facts)
    assert (call.name, call.input, call.output) == (name, given, "")


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"usage": {"inputTokens": 1000, "outputTokens": 50, "totalTokens": 1250, "cachedReadTokens": 200}}, (1200, 200, 50)),
        ({"usage": {"inputTokens": 1000, "outputTokens": 50, "totalTokens": 1050, "cachedReadTokens": 200}}, (1000, 200, 50)),
        ({"_meta": {"quota": {"token_count": {"input_tokens": 2000, "output_tokens": 100}}}}, (2000, 0, 100)),
        ({"usage": {"inputTokens": "many"}}, None),
        ({"_meta": 3}, None),
    ],
)  # fmt: skip
def test_usage_counts_cached_tokens_among_the_input(capsys, result, told):
    _tell_usage(_reported(result))
    printed = capsys.readouterr().out
    found = json.loads(printed) if printed else None
    assert (found and (found["input"], found["cached"], found["output"])) == told
