"""What is held beside single tasks: a tool, an agent, a run, everything.  The names, the times, the one gate, the verbs."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest
from conftest import wait_until
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.scopes import moment
from orchestrator.coordination.news import About
from orchestrator.files import holds, scan
from orchestrator.files.approval import busy_gate
from orchestrator.model import hold
from orchestrator.model.admission import Ask, World, admit
from orchestrator.model.gates import Lane, Limits
from orchestrator.model.hold import ALL, Hold
from orchestrator.model.status import Status
from orchestrator.model.task import Task
from orchestrator.model.units import timestamp, when
from orchestrator.store import holding
from orchestrator.testing import End, Tube

SCOPES = [("tool", "shell"), ("agent", "ok"), ("run", "r"), ALL]
NAMES = st.text("abz.019_-ag", min_size=1, max_size=12)


@pytest.fixture
def tube(tmp_path):
    return lambda config="": Tube(tmp_path, config)


# -- names ------------------------------------------------------------------------------------------------------------


@given(st.sampled_from(hold.KINDS), NAMES)
def test_every_name_is_read_as_it_is_written(kind, name):
    assert hold.scope_of(hold.stem_of((kind, name))) == (kind, name)


@pytest.mark.parametrize(
    "stem, scope",
    [
        ("@claude", ("tool", "claude")),
        ("@agent.builder", ("agent", "builder")),
        ("@run.release-0.2", ("run", "release-0.2")),
        ("@tool.all", ("tool", "all")),
        ("@all", ALL),
        ("@gpt.4", ("tool", "gpt.4")),
        ("@agent", ("tool", "agent")),
        ("@agent.", None),
        ("@", None),
        ("claude", None),
    ],
)
def test_names_of_holds(stem, scope):
    assert hold.scope_of(stem) == scope


# -- the one gate ------------------------------------------------------------------------------------------------------


def test_a_hold_closes_the_gate_of_its_lanes_and_of_no_other():
    lanes = [Lane(*parts) for parts in itertools.product("ab", "st", ("", "r"))]
    for scope in [("agent", "a"), ("tool", "s"), ("run", "r"), ALL]:
        gates = hold.gates([Hold(scope, "f", reason="why not")], 0.0)
        world = World(0.0, lambda _: None, lambda _: None, Limits(held=gates))
        for lane in lanes:
            meant = scope == ALL or scope[1] in (lane.agent, lane.tool, lane.run)
            closed = admit(Ask(Task("x"), lane), world)
            assert bool(closed) == meant, (scope, lane)
            assert all("why not" in gate.why and gate.stuck for gate in closed)


@given(st.floats(1e9, 2e9), st.floats(0, 1e6), st.floats(-1e7, 1e7))
def test_a_wait_becomes_no_longer_whatever_the_clock_does(since, length, jump):
    held = Hold(("tool", "t"), "f", since + length, since)
    end = held.ends(since + jump)
    assert end is not None and end - (since + jump) <= length + hold.SLACK + 1e-3


@given(st.lists(st.one_of(st.none(), st.floats(1, 1e6)), min_size=1, max_size=5))
def test_of_several_holds_of_one_thing_the_longest_counts(ends):
    gates = hold.gates([Hold(ALL, "f", end) for end in ends], 0.0)
    longest = None if None in ends else max(ends)
    assert gates[ALL].until == longest and gates[ALL].stuck == (longest is None)


# -- the watcher --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("until", [30, 7200])
def test_what_is_held_waits_and_starts_when_its_time_has_come(tube, scope, until):
    made = tube("watch: {rescan: 10m}\n")
    now = made.clock.wall()
    path = holding.place(made.layout, scope, now, now + until, "a moment")
    made.drop("r", "tasks:\n  a: {agent: ok, prompt: x}\n")
    made.run()
    assert made.where("r.a") == "done" and made.started[0][0] >= until
    assert not os.path.exists(path) and made.remarks(About.RELEASED) == [hold.words(scope)]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_hold_counts_while_tasks_run_and_stops_none_of_them(tube, scope):
    made = tube("limits: {running: 1}\nwatch: {rescan: 1s}\n")
    made.plan("r.a", End(after=20))
    made.drop("r", "tasks:\n  a: {agent: ok, prompt: x}\n  b: {agent: ok, prompt: x}\n")
    path = Path(made.layout.file("held", f"{hold.stem_of(scope)}.yaml"))
    made.at(5, lambda: path.write_text("reason: not now\n"))
    made.run()
    assert made.where("r.a") == "done" and made.where("r.b") == "inbox"
    assert "not now" in " ".join(gate.why for gate in made.watcher.rooms.holds.gates.values())
    path.unlink()
    made.run()
    assert made.where("r.b") == "done"


def test_what_is_parked_is_obeyed_and_moved(tube):
    made = tube("watch: {rescan: 10m}\n")
    parked = Path(made.layout.work, "parked")
    parked.mkdir()
    until = timestamp(made.clock.wall() + 50)
    old = parked / "shell.yaml"
    old.write_text(f"not_before: '{until}'\nreason: of old\n")
    assert list(holds.gates(made.layout, made.clock.wall())) == [("tool", "shell")]
    made.drop("a")
    made.run()
    assert made.started[0][0] >= 50 and not old.exists() and made.where("a") == "done"


def test_a_file_that_is_not_understood_holds_until_it_is_mended(tube):
    made = tube()
    path = Path(made.layout.file("held", "@shell.yaml"))
    path.write_text("not_before: soon\n")
    made.drop("a")
    made.run()
    ((told, gate),) = holds.gates(made.layout, made.clock.wall()).items()
    assert told == ("tool", "shell") and gate.stuck and "held/@shell.yaml" in gate.why
    assert made.where("a") == "inbox"


def test_holds_are_no_tasks(tube):
    made = tube()
    for scope in SCOPES:
        holding.place(made.layout, scope, 0.0, None, "")
    made.drop("a")
    os.rename(made.layout.file("inbox", "a.yaml"), made.layout.file("held", "a.yaml"))
    assert scan.task_names(made.layout.folder("held")) == [("a", "a.yaml")]
    assert scan.counts(made.layout)[Status.HELD] == 1
    assert scan.locate(made.layout, "@all") is None


def test_one_that_is_written_anew_is_not_lifted_with_the_old_one(tube):
    made = tube()
    holding.place(made.layout, ALL, 0.0, 5.0, "old")
    (old,) = holds.listed(made.layout)
    holding.place(made.layout, ALL, 0.0, None, "new")
    assert not holding.lift(made.layout, ALL, only=old)
    assert [item.reason for item in holds.listed(made.layout)] == ["new"]
    assert holding.lift(made.layout, ALL) and not holding.lift(made.layout, ALL)


def test_moments_of_until(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    now = 1_800_000_000.0  # 08:00
    assert moment("2h", now) == now + 7200
    assert moment("09:30", now) == now + 5400 and moment("07:00", now) == now + 82800
    assert moment("2027-01-16", now) > now
    for text in ("soon", "2020-01-01", "25:00", ""):
        with pytest.raises(ValueError):
            moment(text, now)


# -- the verbs ------------------------------------------------------------------------------------------------------------


def test_hold_and_release_by_the_verbs_and_everybody_says_the_same(project, watch):
    """One watcher: a hold counts at once while a task runs, and why, status, the card and the pane tell of it alike."""
    project.config(
        "limits: {running: 2}\nwatch: {rescan: 20s}\n"
        "agents:\n  long: {tool: shell, command: [sh, -c, 'until [ -e go ]; do sleep 0.02; done']}\n"
        "  ok: {tool: shell, command: ['true']}\n"
    )
    watcher = watch()
    project.drop("long.yaml", "agent: long\nprompt: x\n")
    wait_until(lambda: project.where("long") == "running", "it runs")
    for words, name in (
        (("--tool", "shell"), "@shell"),
        (("--agent", "ok", "--until", "2h"), "@agent.ok"),
        (("--all",), "@all"),
    ):
        made = project.json("hold", *words, "not while I look")
        assert made["kind"] == "change" and made["changed"][0]["to"] == "held"
        assert (project.work / "held" / f"{name}.yaml").exists()
        project.drop(f"t{name[1:]}.yaml", "agent: ok\nprompt: x\n")
        wait_until(lambda: "not while I look" in watcher.text(), "the pane tells it")
        card = project.work / ".state/watcher.json"
        wait_until(lambda: "not while I look" in card.read_text(), "the card has it")
        why = project.json("why", f"t{name[1:]}")
        assert any("not while I look" in gate["why"] for gate in why["gates"])
        (told,) = project.json("status")["held"]
        assert "not while I look" in told["why"]
        released = project.json("release", *words[:2] if words[0] != "--all" else words)
        assert released["changed"][0]["from"] == "held"
        project.settled(f"t{name[1:]}", "done")
    assert project.where("long") == "running"
    (project.root / "go").touch()
    project.settled("long", "done")
    kinds = [event["event"] for event in project.events() if event["event"].startswith("hold")]
    assert kinds.count("hold_placed") == kinds.count("hold_released") == 3


@pytest.mark.parametrize("notify", ["auto", "poll"])
def test_nothing_starts_once_the_file_is_there(project, watch, notify):
    """A hold comes, and at once a slot becomes free: without a notification, too, what waits starts only after the release."""
    project.config(
        f"limits: {{running: 1}}\nwatch: {{rescan: 200ms, notify: {notify}}}\n"
        "agents: {t: {tool: shell, command: [sh, -c, 'until [ -e go.$ORCHESTRATOR_TASK_ID ]; do sleep 0.01; done']}}\n"
    )
    names = [f"t{number}" for number in range(5)]
    for name in names:
        project.drop(f"{name}.yaml", "agent: t\nprompt: x\n")
    watch()
    path, card = project.work / "held/@all.yaml", project.work / ".state/watcher.json"
    released = []
    for name in names[:-1]:
        wait_until(lambda name=name: project.events("attempt_started", name), f"{name} runs")
        path.write_text("reason: now\n")
        (project.root / f"go.{name}").touch()
        project.settled(name, "done")
        wait_until(lambda: '"everything"' in card.read_text(), "the watcher knows")
        assert len(project.events("attempt_started")) == len(released) + 1
        released.append(time.time())
        path.unlink()
        wait_until(lambda: '"everything"' not in card.read_text(), "it knows of the release")
    (project.root / f"go.{names[-1]}").touch()
    project.settled(names[-1], "done")
    begun = [when(event["ts"]) for event in project.events("attempt_started")]
    assert all(start > end - 0.01 for start, end in zip(begun[1:], released, strict=True))


PREPARES = (
    "watch: {rescan: 200ms}\n"
    "agents:\n  t: {tool: shell, command: ['true'], secrets: {TOKEN: {command: "
    "[sh, -c, 'echo x >> asked; until [ -e ready ]; do sleep 0.01; done; echo s3cret-enough']}}}\n"
)


@pytest.mark.parametrize("killed", [False, True])
def test_what_is_held_while_its_attempt_is_prepared_does_not_start(project, watch, killed):
    """Preparing may take minutes: what is held meanwhile waits in the inbox again, also if the watcher was killed in between."""
    project.config(PREPARES)
    project.drop("a.yaml", "agent: t\nprompt: x\n")
    first = watch()
    asked = project.root / "asked"
    wait_until(asked.exists, "it is prepared")
    if killed:
        first.send(9)
        first.wait()
    project.run("hold", "--agent", "t", "not today")
    (project.root / "ready").touch()
    watcher = watch() if killed else first
    wait_until(lambda: project.events("task_requeued", "a"), "it is given back")
    wait_until(lambda: 'held="agent t is held: not today"' in watcher.text(), "it is told")
    assert project.where("a") == "inbox" and not project.events("attempt_started")
    gates = project.json("why", "a")["gates"]
    assert [gate["name"] for gate in gates] == ["agent_held"]
    project.run("release", "--agent", "t")
    project.settled("a", "done")
    assert len(project.events("attempt_started", "a")) == 1


def test_a_hold_that_comes_before_a_further_attempt_begins_keeps_it_waiting(tube):
    """What failed and is to be tried again waits where it is: its journal says that another attempt is due."""
    made = tube("watch: {rescan: 1s}\nretry: {delay: 10s}\n")
    made.plan("a", End(code=1), End())
    made.drop("a", "agent: ok\nprompt: x\nretries: 1\n")
    made.at(5, lambda: holding.place(made.layout, ALL, made.clock.wall(), None, "wait"))
    made.run()
    assert made.where("a") == "running" and len(made.started) == 1
    holding.lift(made.layout, ALL)
    made.run()
    assert made.where("a") == "done" and len(made.started) == 2


def test_what_hold_and_release_refuse(project):
    project.drop("a.yaml", "prompt: x\n")
    assert "did you mean 'shell'" in project.run("hold", "--tool", "shel", code=3).stderr
    assert "there is no run" in project.run("hold", "--run", "nix", code=3).stderr
    assert "18:00" in project.run("hold", "--all", "--until", "soon", code=2).stderr
    assert "not_before" in project.run("hold", "a", "--until", "2h", code=2).stderr
    assert "name tasks" in project.run("hold", code=2).stderr
    assert "--reason" in project.run("hold", "--tool", "claude", "lunch", code=3).stderr
    project.run("hold", "--tool", "claude", "--dry-run")
    assert "is not held" in project.run("release", "--tool", "claude", code=1).stderr
    project.run("hold", "a", "--tool", "claude", "--reason", "lunch")
    assert project.where("a") == "held" and project.events("task_held")[0]["summary"] == "lunch"
    refused = project.run("release", "--all", code=1).stderr
    assert "--tool claude" in refused
    project.run("release", "@claude", "a")
    assert project.where("a") == "inbox" and not list((project.work / "held").glob("@*"))


def test_a_clock_that_is_set_back_makes_no_hold_longer():
    """20 seconds stay 20 seconds, though the clock says that they begin in a month."""
    month = 30 * 86400.0
    held = Hold(ALL, "x", until=month + 20.0, since=month)
    assert held.ends(month) == month + 20.0
    assert held.ends(100.0) == 120.0 and not held.over(100.0)


def test_a_watcher_that_leaves_waits_for_what_git_says(tube):
    """Git may be at work, or slow: whether such a file waits for a person is not known yet."""
    made = tube()
    made.drop("t", "agent: ok\nprompt: x\nhold: true\n")
    made.run()
    waitlist = made.watcher.rooms.waitlist
    assert not waitlist.resting
    waitlist.tasks.gated(waitlist.tasks.waiting["t.yaml"], [busy_gate()])
    assert waitlist.resting
