"""pi by its rpc mode: words in the turn that runs, cancel, its own retries, failures."""

from __future__ import annotations

import json
import sys

from conftest import ROOT, tagged, wait_until

from orchestrator.files import journals
from orchestrator.tools import complaints
from orchestrator.tools.specs import load_tools

DEED = {"type": "tool_execution_start", "toolName": "bash", "args": {"command": "ls"}}


def fake_in(project, *options: str):
    """A project in which ``a`` is a fake pi; ``--old``: of a version before 1.0."""
    spec = (ROOT / "orchestrator/tools/catalog/pi.yaml").read_text()
    program = json.dumps([sys.executable, str(ROOT / "tests/fake_pi.py"), *options])
    lines = [line for line in spec.splitlines() if not line.startswith(("argv:", "version:"))]
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/fake.yaml").write_text("\n".join([*lines, f"argv: {program}"]))
    role = {"tool": "fake"}
    project.config(json.dumps({"agents": {"a": role}, "cancel": {"interrupt_grace": "20s"}}))
    return project


def drop(project, *orders: str, name: str = "t") -> None:
    prompt = "Do it.\n" + "".join(f"fake: {order}\n" for order in orders)
    project.drop(f"{name}.yaml", json.dumps({"agent": "a", "prompt": prompt, "retries": 0}))


def test_a_reply_reaches_the_turn_that_runs(project, watch):
    fake = fake_in(project)
    watch()
    drop(fake, "dialog", "wait", "say All done.")
    wait_until(lambda: "sleep 99" in fake.log("t"), "it waits")
    assert "at its next turn" in fake.run("reply", "t", "Mind the tests.").stdout
    fake.settled("t", "done")
    result = fake.result("t")
    assert result["message"] == "Heard: Mind the tests."
    assert len(result["attempts"]) == 1 and result["session"] == "pi-1"
    assert (result["usage"]["input"], result["cost_usd"]) == (2000, 0.002)
    told = journals.of(fake.layout, "t").replies
    assert [(record["text"], record["to"]) for record in told] == [("Mind the tests.\n", 1)]


def test_what_it_repeats_is_not_kept_and_its_own_retries_are_no_end(project):
    fake = fake_in(project, "--old")
    drop(fake, "retry", "say Well.")
    fake.run("watch", "--until-empty")
    assert fake.result("t")["message"] == "Well."
    printed = (fake.layout.logs("t", 1) + "/stdout.log").replace("//", "/")
    kinds = [json.loads(line)["type"] for line in open(printed)]
    assert "message_update" not in kinds and kinds.count("works") == 1 and kinds[-1] == "end"
    ends = [json.loads(line) for line in open(printed) if "agent_end" in line]
    assert len(ends) == 2 and not any("messages" in end for end in ends)


def test_cancel_stops_it_in_its_own_words(project, watch):
    fake = fake_in(project, "--old")
    watch()
    drop(fake, "wait")
    wait_until(lambda: "sleep 99" in fake.log("t"), "it waits")
    fake.run("cancel", "t", code=None)
    fake.settled("t", "cancelled")
    wait_until(lambda: not tagged(fake), "nothing is left")
    assert '"reason": "interrupted"' in fake.log("t")
    assert fake.result("t")["session"] == "pi-1"


def test_a_turn_that_failed_is_classified_by_its_words(project):
    fake = fake_in(project)
    drop(fake, "fail")
    drop(fake, "refuse", name="u")
    fake.run("watch", "--until-empty", code=1)
    for name, words in ("t", "401 invalid x-api-key"), ("u", "No API key found for anthropic"):
        result = fake.result(name)
        assert words in result["reason"] and result["error_class"] == "auth", result


def test_that_it_was_stopped_does_not_hide_what_it_complained_of(tmp_path):
    """A storm of refusals ends by the time limit: the abort is ours, its own last word the complaint."""
    stopped = {"role": "assistant", "content": [], "stopReason": "aborted"}
    events = [
        {"type": "auto_retry_start", "attempt": 2, "maxAttempts": 3, "errorMessage": "529 busy"},
        {"type": "agent_start"},
        {"type": "message_end", "message": {**stopped, "errorMessage": "Request was aborted."}},
        {"type": "agent_end"},
        {"type": "end", "reason": "interrupted"},
    ]
    (tmp_path / "stderr.log").touch()
    show = load_tools(None).tools["pi"].presentation.show
    for more, found in ([], "the provider says 529 busy, try 2 of 3"), ([DEED], ""):
        lines = [json.dumps(event) for event in (*events[:2], *more, *events[2:])]
        (tmp_path / "stdout.log").write_text("\n".join(lines) + "\n")
        assert complaints.last(str(tmp_path), show) == found


def test_the_catalog_talks_to_it():
    spec = load_tools(None).tools["pi"]
    assert spec.reply and spec.can_resume and not spec.asks and not spec.speaks
