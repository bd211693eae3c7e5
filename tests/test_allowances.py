"""Budgets in tokens and in attempts: for who pays by subscription."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.budget import (
    TOKENS,
    Budget,
    Budgets,
    Running,
    Spent,
    budget_from,
    closed,
    overrun,
    paced,
)
from orchestrator.model.event import event
from orchestrator.model.gates import GateName
from orchestrator.model.units import DAY, HOUR
from orchestrator.model.usage import counted
from orchestrator.queries.needs import needs_you
from orchestrator.queries.world import Known
from orchestrator.testing.fakes import End
from orchestrator.testing.tube import NOON, Tube

TOOL = """argv: ['true']
parse:
  done: "[?type=='done']"
  failed: "[?type=='no']"
  usage: {input: "[?n] | [-1].n"}
"""


@pytest.fixture
def tube(tmp_path):
    def make(config: str = "") -> Tube:
        made = Tube(tmp_path, config)
        Path(made.layout.tools).mkdir(exist_ok=True)
        for name in ("one", "other"):
            (Path(made.layout.tools) / f"{name}.yaml").write_text(TOOL)
        return made

    return make


def used(tokens: int, good: bool = True) -> End:
    kind = "done" if good else "no"
    return End(code=0 if good else 1, output=f'{{"type":"{kind}","n":{tokens}}}\n')


def task(agent: str = "one", **more: object) -> str:
    return f"agent: {agent}\nprompt: x\n" + "".join(f"{key}: {more[key]}\n" for key in more)


def why(made: Tube, task_id: str) -> list[str]:
    """What ``why`` would say of a waiting task."""
    from orchestrator.model.task import task_from

    known = Known(made.layout, made.clock.wall())
    agent = {"agent": "one", "prompt": "x"}
    return [gate.why for gate in known.gates(task_from(task_id, agent), f"{task_id}.yaml", False)]


def test_a_day_that_has_used_its_tokens_starts_nothing_more(tube):
    made = tube("limits: {running: 1}\nbudgets: {day: {hard_tokens: 5000}}\n")
    made.plan("a", used(3000))
    made.plan("b", used(3000))
    for name in "abc":
        made.drop(name, task())
    made.run(most=3600)
    assert [made.where(name) for name in "abc"] == ["done", "done", "inbox"]
    assert "6,000 of 5,000 tokens" in why(made, "c")[0]  # a reader says what the watcher goes by
    made.run(most=3600)  # one that starts anew knows it from the log
    assert made.where("c") == "inbox"


def test_an_agent_and_a_run_have_budgets_in_tokens(tube):
    made = tube("limits: {running: 1}\nbudgets: {agents: {one: {hard_tokens: 1000}}}\n")
    made.plan("a", used(1000))
    made.drop("a", task())
    made.drop("b", task())
    made.plan("c", used(10))
    made.drop("c", task("other"))
    made.plan("r.x", used(400))
    made.plan("r.y", used(400))
    members = "".join(f"  {name}: {{agent: other, prompt: x}}\n" for name in "xyz")
    made.drop("r", f"max_tokens: 700\ntasks:\n{members}")
    made.run(most=3600)
    places = [made.where(name) for name in ("a", "b", "c", "r.x", "r.y", "r.z")]
    assert places == ["done", "inbox", "done", "done", "done", "inbox"]


@pytest.mark.parametrize(
    "settings,more",
    [("budgets: {task: {hard_tokens: 1500}}\n", {}), ("", {"max_tokens": 1500})],
)
def test_a_task_gets_no_further_attempt_over_its_tokens(tube, settings, more):
    made = tube(settings)
    made.plan("a", *[used(1000, False)] * 5)
    made.drop("a", task(retries=4, **more))
    made.run()
    result = made.result("a")
    assert len(result["attempts"]) == 2
    assert "no more attempts: 2,000 of 1,500 tokens are used" in result["reason"]


@pytest.mark.parametrize("where", ["day", "agents: {one"])
def test_so_many_attempts_begin_within_an_hour(tube, where):
    close = "}}" if where.startswith("agents") else "}"
    key = where + ": {max_attempts_per_hour: 3" + close
    made = tube(f"watch: {{rescan: 10h}}\nbudgets: {{{key}}}\n")
    for number in range(7):
        made.drop(f"t{number}", task())
    made.at(3 * 3600, lambda: made.watcher.signalled(15))
    made.run(until_empty=False)
    begun = [at for at, *_ in made.started]
    assert len(begun) == 7
    for place in range(len(begun) - 3):
        assert begun[place + 3] - begun[place] >= 3600
    assert begun[-1] < 2 * 3600 + 60


def test_the_attempts_of_an_earlier_watcher_count(tube):
    made = tube("budgets: {day: {max_attempts_per_hour: 2}}\n")
    for number in range(3):
        made.drop(f"t{number}", task())
    made.run()  # --until-empty ends, as with any budget
    assert len(made.started) == 2
    assert "2 attempts started within the last hour" in why(made, "t2")[0]
    made.run()
    assert len(made.started) == 2


def test_what_began_before_midnight_is_told_after_it(tube):
    """Nothing has happened today, and nothing waits: the hour is full all the same."""
    made = tube("budgets: {day: {max_attempts_per_hour: 1}}\n")
    midnight = (NOON // DAY + 1) * DAY
    begun = event(
        "attempt_started", midnight - 60, "a/1", {"task_id": "a", "attempt": 1, "agent": "one"}
    )
    path = Path(made.layout.events) / f"{begun['ts'][:10]}.x-watch.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(begun) + "\n")
    told = [need.kind for need in needs_you(made.layout, midnight + 60)]
    assert told == ["budget"]
    assert not needs_you(made.layout, midnight + 2 * HOUR)


def test_retries_count_as_attempts(tube):
    made = tube("retry: {delay: 1s}\nbudgets: {day: {max_attempts_per_hour: 2}}\n")
    made.plan("a", *[used(1, False)] * 5)
    made.drop("a", task(retries=4))
    made.run(most=1800)
    assert len(made.started) == 2 and made.where("a") == "running"


@given(st.lists(st.tuples(st.floats(0, 1e5), st.sampled_from("ab"))), st.integers(0, 5))
def test_the_pace_opens_at_the_moment_it_says(begun, most):
    budgets = Budgets(agents={"a": Budget(attempts=most)})
    now = 5e4
    gate = paced(budgets, begun, now).get(("agent", "a"))
    recent = [moment for moment, agent in begun if agent == "a" and now - 3600 < moment <= now]
    assert (gate is not None) == (len(recent) >= most)
    if gate is not None and gate.until is not None:
        assert gate.name is GateName.BUDGET and now < gate.until <= now + 3600
        before = [(moment, agent) for moment, agent in begun if moment <= now]
        assert not paced(budgets, before, gate.until)


def test_what_runs_is_ended_over_its_tokens():
    budgets = Budgets(day=Budget(tokens=100), task=Budget(tokens=10), cancel=True)
    running = Running("t", "a", "", 6, 5, None)
    found = overrun(budgets, Spent("d"), {}, [running], TOKENS)
    assert found == {"t": "the budget of the task is spent: 11 of 10 tokens"}
    assert "t" in overrun(budgets, Spent("d", 99), {}, [Running("t", "a", "", 1, 0, 50)], TOKENS)
    assert not closed(budgets, Spent("d", 99), {}, NOON, TOKENS)


def test_keys_and_counts():
    keys = {"soft_usd": 1, "hard_usd": 2, "hard_tokens": 3, "max_attempts_per_hour": 4}
    assert budget_from(keys) == Budget(1, 2, 3, 4) and budget_from(None) == Budget()
    assert counted({"input": 3, "output": 4, "cached": 2}) == 7
    assert counted({"input": None, "output": True}) == counted({"input": -5, "output": "x"}) == 0


@pytest.mark.parametrize("unknown, started", [("", "abc"), (", unknown_usd: 0.6", "ab")])
def test_a_cost_that_nobody_knows_counts_as_the_settings_say(tube, unknown, started):
    made = tube(f"limits: {{running: 1}}\nbudgets: {{day: {{hard_usd: 1}}{unknown}}}\n")
    made.plan("a", used(1000))
    made.plan("b", End(code=0, output='{"type":"done"}\n'))  # it does not even name its tokens
    for name in "abc":
        made.drop(name, task())
    made.run(most=3600)
    assert "".join(name for _, name, _ in made.started) == started
    assert made.result("a").get("cost_usd") == (0.6 if unknown else None)
    assert made.result("a")["cost_source"] == ("assumed" if unknown else "unknown")
    made.run(most=3600)  # from the log, a watcher that starts anew knows the same
    assert "".join(name for _, name, _ in made.started) == started


def test_what_a_plain_command_costs_is_not_assumed(tube):
    made = tube("budgets: {day: {hard_usd: 1}, unknown_usd: 5}\n")
    for name in "ab":
        made.drop(name, task("ok"))
    made.run()
    assert "cost_usd" not in made.result("a") and made.where("b") == "done"
