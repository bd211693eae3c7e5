"""What tools say of their plans' windows is kept, shown, and reserved for what is urgent."""

from __future__ import annotations

import itertools
import json
import time

import pytest

from orchestrator.model.quota import (
    POINTS,
    VOID,
    WINDOWS,
    Window,
    merged,
    remembered,
    reserved,
    window_from,
)

NOW = 1_800_000_000.0


@pytest.mark.fast
@pytest.mark.parametrize(
    ("said", "name", "used", "resets"),
    [
        ({"window": "5 h", "used": 0.87, "resets": NOW + 60}, "5 h", 0.87, NOW + 60),
        ({"minutes": 300, "percent": 12.5, "resets": NOW + 60}, "5 h", 0.125, NOW + 60),
        ({"minutes": 10080, "percent": 100}, "7 d", 1.0, None),
        ({"window": "5 h", "used": 0, "resets": (NOW + 60) * 1000}, "5 h", 0.0, NOW + 60),
        ({"window": "5 h", "used": 0.5, "resets": "soon"}, "5 h", 0.5, None),
    ],
)
def test_a_window_is_read_in_the_words_of_each_program(said, name, used, resets):
    assert window_from(said, NOW) == Window(name, used, NOW, resets)


@pytest.mark.fast
@pytest.mark.parametrize(
    "said",
    [{}, {"window": "5 h"}, {"used": 0.5}, {"window": "x", "used": "much"}, {"window": "x", "used": -1}]
    + [{"window": "x", "used": True}, {"minutes": "?", "used": 0.5}, {"window": "", "used": 0.5}],
)  # fmt: skip
def test_what_says_nothing_is_no_window(said):
    assert window_from(said, NOW) is None


@pytest.mark.fast
def test_a_word_counts_until_its_window_begins_anew_or_for_an_hour():
    known = Window("5 h", 0.9, NOW, NOW + 600)
    assert known.counts(NOW + 599) and not known.counts(NOW + 600)
    unknown = Window("7 d", 0.9, NOW)
    assert unknown.counts(NOW + VOID - 1) and not unknown.counts(NOW + VOID)
    newer = Window("5 h", 0.1, NOW + 700, NOW + 9000)
    assert merged([known, unknown], [newer], NOW + 700) == [newer, unknown]
    assert not known.counts(NOW - 7200)  # the clock was set back: nobody knows what that means


@pytest.mark.fast
def test_a_reserve_closes_for_low_priority_alone_and_says_until_when():
    windows = {"claude": [Window("5 h", 0.87, NOW, NOW + 600)]}
    gates = reserved(
        {"claude": 0.2, "builder": 0.2, "codex": 0.2}, {"builder": "claude"}, windows, NOW
    )
    assert set(gates) == {("low", "claude"), ("low", "builder")}
    gate = gates["low", "claude"]
    assert gate.until == NOW + 600 and "87 %" in gate.why and "last 20 %" in gate.why
    assert not reserved({"claude": 0.1}, {}, windows, NOW)
    assert not reserved({"claude": 0.2}, {}, windows, NOW + 600)


SPEC = """argv: [sh, -c, 'cat >/dev/null; echo "$SAYS"']
prompt: stdin
version: [sh, -c, echo 1]
env: {SAYS: '{"type":"done","used":0.9,"resets":%d}'}
parse:
  done: "[?type=='done']"
  quota: "[?type=='done'] | [-1] | [{window: '5 h', used: used, resets: resets}]"
"""


def test_windows_are_kept_shown_and_reserved(project, watch):
    resets = int(time.time()) + 3600
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/plan.yaml").write_text(SPEC % resets)
    project.config(
        "limits: {reserve: {plan: 20%}}\nwatch: {rescan: 300ms}\n"
        "agents: {p: {tool: plan}, sh: {tool: shell, command: [sh]}}\n"
    )
    project.drop("first.yaml", "agent: p\nprompt: x\n")
    project.run("watch", "--until-empty")
    assert project.where("first") == "done", project.result("first")
    (told,) = project.json("status")["quota"]
    assert (told["tool"], told["window"], told["used"]) == ("plan", "5 h", 0.9)
    assert "plan 5 h: 90 %, until" in project.run("status").stdout
    project.drop("low.yaml", "agent: p\nprompt: x\npriority: low\n")
    project.drop("normal.yaml", "agent: p\nprompt: x\n")
    project.drop("other.yaml", "agent: sh\nprompt: 'true'\npriority: low\n")
    said = project.run("watch", "--until-empty").stdout
    assert "waiting   low" in said and "kept for more urgent tasks" in said
    assert (project.where("normal"), project.where("other")) == ("done", "done")
    assert project.where("low") == "inbox"
    watch()
    gates = project.json("why", "low")["gates"]
    assert [gate["name"] for gate in gates] == ["quota"] and "90 %" in gates[0]["why"]
    path = project.work / ".state/quota/plan.json"
    kept = json.loads(path.read_text())
    kept["windows"][0]["resets"] = time.time() + 1  # its window begins anew
    path.write_text(json.dumps(kept))
    project.until("low", "done")
    path.write_text("[")
    project.run("status")


@pytest.mark.fast
def test_the_history_of_a_window_is_bounded_and_keeps_its_shape():
    """A curve needs points: of what stays the same the first and the last, of the rest the most spread."""
    history = {}
    for minute in range(3000):
        told = [Window("5 h", 0.5 if minute < 100 else minute / 3000, minute * 60.0)]
        history = remembered(history, told, minute * 60.0)
    points = history["5 h"]
    assert len(points) == POINTS and points[-1] == (2999 * 60.0, round(2999 / 3000, 4))
    assert points[:2] == [(0.0, 0.5), (99 * 60.0, 0.5)]
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(points[1:])]
    assert max(gaps) <= 4 * min(gaps)
    later = remembered(history, [Window("7 d", 0.1, 9 * 86400.0)], 11 * 86400.0)
    assert list(later) == ["7 d"]
    many = history
    for number in range(20):
        many = remembered(many, [Window(str(number), 0.1, 3000 * 60.0)], 3000 * 60.0)
    assert len(many) == WINDOWS and "19" in many
