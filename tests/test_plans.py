"""Plan first: read only, the plan in review, then the same session with its rights; nothing is carried out that nobody approved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import wait_until

from orchestrator.coordination.replies import Replies
from orchestrator.coordination.settings import Fixed
from orchestrator.errors import Refused
from orchestrator.files import journals
from orchestrator.files.configuration import load_config
from orchestrator.files.schemas import check
from orchestrator.model.config import config_from
from orchestrator.model.journal import fold
from orchestrator.model.status import Status
from orchestrator.model.task import Task
from orchestrator.queries.needs import needs_you
from orchestrator.queries.why import reasons
from orchestrator.store import moves, plans, replying
from orchestrator.testing.fakes import End
from orchestrator.testing.tube import Tube
from orchestrator.tools.routing import RouteProblem, routes
from orchestrator.tools.specs import load_tools

SPEC = """argv: [/bin/true, "{permissions}", "{session_options}"]
permissions: {default: [--any], read: [--read], full: [--all]}
resume: [--resume, "{session}"]
parse: {session: "[?session] | [0].session", done: "[?done]", text: "[?done] | [-1].done"}
"""
ROLE = "  builder: {tool: planner, permissions: full%s}\nchecks: {tests: {command: [/bin/true]}}\n"
TASK = "agent: builder\nprompt: build it\nplan: true\n"


def says(text: str, code: int = 0) -> End:
    return End(code=code, output=json.dumps({"session": "s1", "done": text}) + "\n")


FAILS = End(code=1, output=json.dumps({"session": "s1"}) + "\n")


@pytest.fixture
def tube(tmp_path):
    made = Tube(tmp_path)
    Path(made.layout.tools).mkdir(exist_ok=True)
    Path(made.layout.tools, "planner.yaml").write_text(SPEC)
    made.configure(ROLE % "")
    return made


def attempts(tube: Tube) -> list[tuple[str, ...]]:
    return [order.argv[1:] for order in tube.fake.dispatched]


def prompt(tube: Tube, attempt: int, task_id: str = "a") -> str:
    return Path(tube.layout.logs(task_id, attempt), "prompt.md").read_text()


def planned(tube: Tube, *more: End, text: str = TASK) -> None:
    tube.plan("a", says("# Plan\n1. change x.py\n2. run the tests"), *more)
    tube.drop("a", text)
    tube.run()


def test_it_plans_with_the_right_to_read_and_goes_on_with_its_own(tube):
    planned(tube, says("built"))
    assert tube.where("a") == "review" and attempts(tube) == [("--read",)]
    assert "change nothing" in prompt(tube, 1) and "build it" in prompt(tube, 1)
    plan = Path(tube.layout.plan("a"))
    assert plan.read_text() == "# Plan\n1. change x.py\n2. run the tests\n"
    assert tube.result("a")["plan"] == {"file": "work/results/a.plan.md", "approved": False}
    (need,) = needs_you(tube.layout, tube.clock.wall())
    assert need.kind == "review" and need.why == "plan: Plan" and need.plan.endswith("the tests")
    told = reasons(tube.layout, "a", Status.REVIEW, "a.yaml", tube.clock.wall())
    assert "its plan waits for a yes" in told.gates[0].why
    assert "attempt 2" in plans.approve(tube.store, "a", "hold")
    assert plans.approve(tube.store, "a", "hold") == ""  # said twice, done once
    tube.run()
    assert tube.where("a") == "done"
    assert attempts(tube)[1] == ("--all", "--resume", "s1")
    assert "approved" in prompt(tube, 2) and "change nothing" not in prompt(tube, 2)
    assert tube.result("a")["plan"]["approved"] is True
    assert not needs_you(tube.layout, tube.clock.wall())


def test_a_role_may_ask_for_it_and_a_reply_has_it_plan_again(tube):
    tube.configure(ROLE % ", plan: true")
    planned(tube, says("a better plan"), text="agent: builder\nprompt: build it\n")
    replying.place(tube.store, "a", "review", "leave x.py alone")
    Replies(tube.layout, Fixed(load_config(tube.layout, check)), tube.store).send("a")
    tube.run()
    assert tube.where("a") == "review" and attempts(tube)[1] == ("--read", "--resume", "s1")
    assert "leave x.py alone" in prompt(tube, 2) and "change nothing" in prompt(tube, 2)
    assert Path(tube.layout.plan("a")).read_text() == "a better plan\n"


def test_what_proves_work_is_not_for_plans(tube):
    schema = Path(tube.layout.root, "s.json")
    schema.write_text('{"type": "object"}')
    more = "verify: [tests]\nartifacts: [made.txt]\nresult: {schema: s.json}\nthen: [{agent: ok, prompt: x}]\n"  # fmt: skip
    planned(tube, text=TASK + more)
    assert tube.where("a") == "review" and len(attempts(tube)) == 1
    assert "JSON Schema" not in prompt(tube, 1) and not tube.result("a").get("follow_ups")
    assert not journals.of(tube.layout, "a").then


def test_moved_to_done_by_hand_it_is_carried_out(tube):
    tube.plan("a", says("the plan"), says("built"))
    tube.drop("a", TASK)
    tube.drop("b", "agent: ok\nprompt: x\n")  # keeps the watcher until the plan was moved
    tube.plan("b", End(after=20.0))
    tube.at(10.0, lambda: tube.move("a", "review", "done"))
    tube.run()
    assert tube.where("a") == "done" and attempts(tube)[-1] == ("--all", "--resume", "s1")


def test_a_retry_keeps_the_rights_and_a_fresh_one_plans_anew(tube):
    planned(tube, FAILS, FAILS, says("another plan"))
    plans.approve(tube.store, "a", "hold")
    tube.run()
    assert tube.where("a") == "failed"
    moves.retry(tube.store, "a")
    tube.run()
    assert attempts(tube)[2][0] == "--all"
    moves.retry(tube.store, "a", fresh=True)
    tube.run()
    assert attempts(tube)[3] == ("--read",) and tube.where("a") == "review"


def test_a_new_session_is_told_the_plan_that_was_approved(tube):
    planned(tube, End(code=1), says("built"))
    plans.approve(tube.store, "a", "hold")
    tube.run()
    moves.retry(tube.store, "a")
    tube.run()
    assert attempts(tube)[2] == ("--all",)
    assert "1. change x.py" in prompt(tube, 3) and "build it" in prompt(tube, 3)


def test_a_plan_that_somebody_changed_is_not_carried_out_unseen(tube):
    planned(tube)
    Path(tube.layout.plan("a")).write_text("delete everything\n")
    with pytest.raises(Refused, match="no longer says what the agent of a wrote"):
        plans.approve(tube.store, "a", "hold")
    assert tube.where("a") == "review"
    Path(tube.layout.plan("a")).unlink()
    assert plans.approve(tube.store, "a", "hold")


def test_killed_between_the_yes_and_the_move_it_is_said_once(tube, monkeypatch):
    planned(tube, says("built"))
    monkeypatch.setattr(moves, "retry", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plans.approve(tube.store, "a", "hold")
    monkeypatch.undo()
    assert plans.approve(tube.store, "a", "hold")
    tube.run()
    assert prompt(tube, 2).count("Your plan is approved") == 1 and tube.where("a") == "done"


@pytest.mark.parametrize("said", ["", "  \n"])
def test_an_end_without_a_plan_is_a_failure(tube, said):
    tube.plan("a", says(said))
    tube.drop("a", TASK)
    tube.run()
    assert tube.where("a") == "failed" and tube.result("a")["error_class"] == "incomplete"


def test_a_watcher_that_takes_over_knows_that_it_was_to_plan(tube):
    """The role's word may be another by then: what the attempt was begun with counts."""
    tube.configure(ROLE % ", plan: true")
    tube.plan("a", End(after=60.0, output=says("the plan").output))
    tube.drop("a", "agent: builder\nprompt: build it\n")
    tube.at(30.0, lambda: tube.watcher.signalled(15))
    tube.run()
    tube.configure(ROLE % "")
    tube.run()
    assert tube.where("a") == "review" and tube.result("a")["plan"]["approved"] is False


def test_a_tool_that_cannot_keep_to_reading_is_refused():
    tools, config = load_tools(None).tools, config_from({})
    with pytest.raises(RouteProblem, match="cannot keep permissions: read"):
        routes(Task("a", "x", agents=("opencode",), plan=True), config, tools)
    with pytest.raises(RouteProblem, match="in a terminal"):
        routes(Task("a", "x", agents=("claude",), plan=True, mode="interactive"), config, tools)
    assert routes(Task("a", "x", agents=("claude",), plan=True), config, tools)


def test_old_and_new_journals_are_understood():
    claim = {"record": "claim", "id": "a", "file": "a.yaml"}
    told = {"record": "told", "text": "go", "plan": True}
    assert fold([claim, told]).approved == "go\n"
    assert not fold([claim, told, {"record": "requeue", "fresh": True}]).approved
    assert not fold([claim, {"record": "final", "status": "done", "plan": "x"}]).plan_waits


@pytest.mark.process
def test_the_verbs(project, watch):
    project.config("agents: {helper: {tool: demo}}\n")
    prompt = "demo: write made.txt by an agent"
    project.run("new", "--id", "a", "-a", "helper", "--plan", prompt)
    watch()
    project.settled("a", "review")
    assert not (project.root / "made.txt").exists()
    need = project.json("review")["needs"][0]
    assert "I would write made.txt." in need["plan"] and "approve" in need["verbs"]
    assert "orchestrator approve a" in project.run("show", "a").stdout
    project.run("wait", "a", code=7)
    said = project.json("approve", "a")["changed"][0]
    assert (said["from"], said["to"]) == ("review", "waiting")
    wait_until(lambda: project.where("a") == "done", "it is carried out")
    assert (project.root / "made.txt").read_text() == "by an agent\n"
    assert "(approved)" in project.run("show", "a").stdout
