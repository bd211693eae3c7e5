"""One admission: what may start, and that everybody who is asked gives the same answer."""

from __future__ import annotations

import ast
import inspect
import json
from dataclasses import fields

import pytest
from conftest import wait_until
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.coordination.waitingtasks import waiting_of
from orchestrator.model.admission import (
    SLOTS,
    Ask,
    InForce,
    Retry,
    Watching,
    World,
    admit,
    ending_gate,
    hopeless,
    in_force,
    in_force_from,
)
from orchestrator.model.budget import Budget, Budgets, Spent, spent_gates
from orchestrator.model.choice import Candidate, choose
from orchestrator.model.config import config_from
from orchestrator.model.forecast import Coming, forecast
from orchestrator.model.gates import Gate, GateName, InUse, Lane, Limits, together
from orchestrator.model.run import Run
from orchestrator.model.status import Status
from orchestrator.model.task import Task
from orchestrator.queries.world import Known
from orchestrator.testing import End, Tube

NOW = 1000.0
STOPS = Run("r", "r", {}, ("r.a", "r.b"), on_failure="stop")


def world(**facts) -> World:
    statuses = facts.pop("statuses", {})
    return World(NOW, statuses.get, {"r": STOPS}.get, **facts)


def names(gates: list[Gate]) -> list[str]:
    return [str(gate.name) for gate in gates]


A = Lane("a", "x")


@pytest.mark.parametrize(
    "ask, facts, expected",
    [
        (Ask(Task("t"), A), {}, []),
        (Ask(Task("t", hold=True), A), {}, ["hold"]),
        (Ask(Task("t"), A, approval=Gate(GateName.APPROVAL, "x")), {}, ["approval"]),
        (Ask(Task("t"), A, editing="open in an editor"), {}, ["editing"]),
        (Ask(Task("t", not_before=NOW + 1), A), {}, ["not_before"]),
        (Ask(Task("t", needs=("u",)), A), {}, ["needs"]),
        (Ask(Task("t", needs=("u",)), A), {"statuses": {"u": Status.DONE}}, []),
        (Ask(Task("r.b", run="r"), A), {"statuses": {"r.a": Status.FAILED}}, ["stopped"]),
        (Ask(Task("t"), A), {"watching": Watching(alive=False)}, ["watcher"]),
        (Ask(Task("t"), A), {"watching": Watching(fault="disk full")}, ["store"]),
        (Ask(Task("t"), A), {"watching": Watching(draining=True)}, ["draining"]),
        (Ask(Task("t"), A), {"limits": Limits(0)}, ["running"]),
        (Ask(Task("t"), A), {"limits": Limits(4, per_agent={"a": 0})}, ["agent"]),
        (
            Ask(Task("r.b", run="r"), Lane("a", "x", "r")),
            {"limits": Limits(4, closed=together({("run", "r"): ending_gate("r.a")}))},
            ["ending"],
        ),
        # A retry was admitted once: its file, its needs and its time are not asked again; slots and closed tools are.
        (Ask(Task("t", hold=True), A, retry=Retry(2, NOW + 5)), {}, ["retry"]),
        (
            Ask(Task("t"), A, retry=Retry(2, NOW)),
            {"limits": Limits(4, held={("tool", "x"): Gate(GateName.TOOL_HELD, "x is held")})},
            ["tool_held"],
        ),
    ],
)
def test_gates(ask, facts, expected):
    assert names(admit(ask, world(**facts))) == expected


class Looked:
    """A task that remembers what of it was looked at."""

    def __init__(self, task: Task) -> None:
        self.task, self.names = task, set()

    def __getattr__(self, name: str) -> object:
        self.names.add(name)
        return getattr(self.task, name)


def test_the_watcher_keeps_of_a_task_what_its_gates_look_at():
    """Of each waiting task it keeps little: a gate that asks for more would be open to it, and closed to ``why``."""
    names = set[str]()
    for task in (Task("t"), Task("t", hold=True, not_before=NOW + 1, needs=("u",), run="r")):
        looked = Looked(task)
        admit(Ask(looked, A), world())
        names |= looked.names
    (made,) = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(waiting_of)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Task"
    ]
    missing = names - {"id"} - {item.arg for item in made.keywords}
    assert not missing, f"keep it in waiting_of of coordination/waitingtasks.py: {missing}"


def test_no_gate_hides_another_over_the_same_scope():
    """Dollars, tokens and the pace may all be spent: what opens first does not open the rest."""
    budgets = Budgets(day=Budget(hard=1, tokens=10, attempts=1), run=Budget(hard=1))
    spent = (Spent("d", 2.0, runs={"r": 2.0}), Spent("d", 20, runs={"r": 20}))
    closed = together(
        {("run", "r"): ending_gate("r.a")},
        *spent_gates(budgets, spent, [STOPS], [(NOW - 600, "a")], NOW),
    )
    day = closed["", ""]
    assert [gate.until for gate in day] == [86400, 86400, NOW + 3000]
    of_run = [str(gate.name) for gate in closed["run", "r"]]
    assert of_run == ["ending", "budget"]
    found = admit(
        Ask(Task("r.b", run="r"), Lane("a", "x", "r")), world(limits=Limits(4, closed=closed))
    )
    assert names(found) == ["budget", "budget", "budget", "ending", "budget"]
    task = Coming(Candidate(0, 0, "t", A), Ask(Task("t"), A), 1.0)
    foreseen = forecast([task], [], world(limits=Limits(4, closed=closed)))
    assert [start.at for start in foreseen.starts] == [86400]


def test_who_reads_knows_that_an_end_is_judged(tmp_path):
    """While it is not known how a task of it has ended, a run that stops at a failure starts nothing."""
    tube = Tube(tmp_path, "limits: {running: 1}\n")
    tube.drop(
        "r", "on_failure: stop\ntasks: {a: {agent: ok, prompt: x}, b: {agent: ok, prompt: y}}\n"
    )
    tube.plan("r.a", End(after=60))
    seen = []

    def look() -> None:
        with open(tube.layout.journal("r.a"), "a") as journal:
            journal.write('{"record": "exit", "attempt": 1}\n')
        known = Known(tube.layout, tube.clock.wall())
        seen.extend(known.gates(Task("r.b", run="r"), "r.b.yaml"))

    tube.at(30, look)
    tube.run()
    assert {"ending", "running"} <= set(names(seen))


def test_a_slot_is_waited_for_and_a_pause_is_not():
    full = InUse()
    full.count(A)
    assert not hopeless(admit(Ask(Task("t"), A), world(limits=Limits(1), use=full)))
    assert hopeless(admit(Ask(Task("t"), A), world(limits=Limits(0))))
    assert hopeless(admit(Ask(Task("t"), A), world(limits=Limits(4, per_tool={"x": 0}))))


lanes = st.builds(Lane, st.sampled_from("ab"), st.sampled_from("xy"), st.sampled_from(["", "r"]))
small = st.dictionaries(st.sampled_from("abxy"), st.integers(0, 2), max_size=2)
all_limits = st.builds(
    Limits, st.integers(0, 4), per_agent=small, per_tool=small, per_run=st.just({"r": 1})
)


@given(all_limits, st.lists(lanes, max_size=3), st.lists(lanes, min_size=1, max_size=8))
def test_the_watcher_starts_exactly_what_is_admitted(limits, running, asking):
    """`choose` looks at lanes, `admit` at one task: neither starts what the other would hold."""
    use = InUse()
    for lane in running:
        use.count(lane)
    waiting: dict[Lane, list[Candidate]] = {}
    for number, lane in enumerate(asking):
        waiting.setdefault(lane, []).append(Candidate(0, number, f"t{number}", lane))
    left = dict.fromkeys(f"t{number}" for number in range(len(asking)))
    for candidate in choose(waiting, limits, use):
        ask = Ask(Task(candidate.id), candidate.lane)
        assert admit(ask, world(limits=limits, use=use)) == []
        use.count(candidate.lane)
        del left[candidate.id]
    for task_id in left:
        ask = Ask(Task(task_id), asking[int(task_id[1:])])
        assert {gate.name for gate in admit(ask, world(limits=limits, use=use))} & SLOTS


budget = st.builds(Budget, st.none() | st.just(0.5), st.none() | st.just(2.0))
settings = st.builds(
    InForce,
    st.builds(Limits, st.integers(0, 9), small, small),
    st.builds(Budgets, budget, st.dictionaries(st.sampled_from("ab"), budget), budget, budget),
    st.sampled_from(["hold", "run"]),
    st.sampled_from("ab"),
    st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy")),
)


@given(settings)
def test_the_card_carries_what_is_in_force(given_settings):
    written = json.loads(json.dumps(given_settings.as_json()))
    assert in_force_from(written) == given_settings


def test_the_card_carries_every_limit():
    """A limit that the card does not carry is one thing to the watcher and another to ``why``, which then goes by its default."""
    found_anew = {"per_run", "held", "closed"}  # by everybody who asks, from files
    told = InForce().as_json()
    missing = {item.name for item in fields(Limits)} - found_anew - set(told["limits"])
    missing |= {item.name for item in fields(InForce)} - set(told)
    assert not missing, (
        f"write and read {sorted(missing)} in InForce.as_json and in_force_from of model/admission.py"
        " (or, if everybody finds it anew, name it here)"
    )
    given = InForce(Limits(3, {"a": 1}, {"x": 2}, in_flight={"f": 5}, asking=0, reserve={"x": 0.2}))
    assert in_force_from(json.loads(json.dumps(given.as_json()))) == given


def test_in_force_of_a_configuration():
    found = in_force(config_from({"agents": {"me": {"tool": "x"}}, "defaults": {"agent": "me"}}))
    assert found.lane(Task("t")) == Lane("me", "x", "")
    assert found.lane(Task("t", agents=("demo",), tool="y", run="r")) == Lane("demo", "y", "r")


# -- the real thing -------------------------------------------------------------------------------------------------

AGENTS = """
agents:
  sh: {tool: shell, command: [sh]}
  bad: {tool: shell, command: [/bin/false]}
  ok: {tool: shell, command: [/bin/true]}
"""


def test_stop_starts_nothing_after_the_failure(project):
    """The slot is free once the end is judged, not before: nothing slips in between."""
    project.config(AGENTS + "watch: {rescan: 60s}\n")
    tasks = "\n".join(f"  t{n}: {{agent: ok, prompt: x}}" for n in range(4))
    project.drop("r.yaml", f"on_failure: stop\ntasks:\n  a: {{agent: bad, prompt: x}}\n{tasks}\n")
    project.run("watch", "--until-empty", "--slots", "1", code=1)
    started = [event["task_id"] for event in project.events("attempt_started")]
    assert started[-1] == "r.a"
    assert all(project.where(f"r.t{n}") == "cancelled" for n in range(4)) or started == ["r.a"]


def test_the_urgent_task_that_was_waited_for_comes_next(project):
    project.config(AGENTS)
    project.drop("first.yaml", "agent: ok\nprompt: x\npriority: high\n")
    project.drop("urgent.yaml", "agent: ok\nprompt: x\npriority: high\nneeds: [first]\n")
    project.drop("idle.yaml", "agent: ok\nprompt: x\npriority: low\n")
    project.run("watch", "--until-empty", "--slots", "1")
    started = [event["task_id"] for event in project.events("attempt_started")]
    assert started == ["first", "urgent", "idle"]


@pytest.mark.parametrize(
    "config, words",
    [
        ("limits: {running: 0}\n", "it is paused"),
        ("limits: {per_agent: {ok: 0}}\n", "agent ok is paused"),
        ("budgets: {day: {hard_usd: 0}}\n", "budget"),
    ],
)
def test_until_empty_ends_and_says_what_waits(project, config, words):
    project.config(AGENTS + config)
    project.drop("a.yaml", "agent: ok\nprompt: x\n")
    done = project.run("watch", "--until-empty", code=None)
    assert " a " in done.stdout and words in done.stdout
    assert project.where("a") == "inbox"


def test_why_goes_by_the_settings_in_force(project, watch):
    project.config(AGENTS + "limits: {running: 4}\n")
    watch("--slots", "1")
    project.drop("a.yaml", "agent: sh\nprompt: |\n  while ! test -e go; do sleep 0.02; done\n")
    project.until("a", "running")
    project.drop("b.yaml", "agent: ok\nprompt: x\n")
    wait_until(lambda: project.json("why", "b")["gates"], "b waits")
    assert project.json("why", "b")["gates"][0]["name"] == "running"
    (row,) = [row for row in project.json("list")["tasks"] if row["id"] == "b"]
    assert row["detail"] == "the only slot is taken"
    (project.root / "go").touch()
    project.settled("b", "done")


def test_a_retry_of_a_held_tool_says_so_everywhere(project, watch):
    project.config(AGENTS + "retry: {delay: 100ms}\n")
    watch()
    project.drop(
        "a.yaml",
        "agent: sh\nretries: 1\nprompt: |\n"
        "  echo 'reason: I need it myself' > work/held/@shell.yaml; exit 1\n",
    )
    wait_until(lambda: project.events("task_retrying", "a"), "it has failed once")
    wait_until(
        lambda: "I need it myself" in project.run("why", "a").stdout, "why names the held tool"
    )
    assert "I need it myself" in project.run("list").stdout
    status = project.run("status").stdout
    assert " 0 of " in status.splitlines()[0] and "1 running" in status
    assert project.json("status")["slots_in_use"] == 0
    (project.work / "held" / "@shell.yaml").unlink()
    project.settled("a", "failed")
