"""What is in event files, whoever wrote them, is what each key may have (`files.eventshape`); and no reader stumbles over the rest."""

from __future__ import annotations

import json

import pytest
from conftest import Project
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.files import eventreader, jsonlines, results, spending
from orchestrator.files.eventshape import fitted
from orchestrator.files.layout import Layout

TS = "2026-11-26T10:00:00.000Z"
GOOD = {
    "ts": TS,
    "event_id": "a/1",
    "event": "attempt_finished",
    "task_id": "a",
    "attempt": 1,
    "agent": "sh",
    "tool": "sh",
    "outcome": "failed",
    "duration_ms": 5,
    "cost_usd": 0.5,
    "usage": {"input": 3, "output": 4},
    "artifacts": ["x"],
    "exit_code": 1,
    "summary": "s",
}
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
SPOILT = [
    *("x", "", [], {}, [1], {"input": []}, {"input": "x", "output": {}}, True, -5, 10**400),
    *(float("nan"), float("inf"), 1e308, "\ud800", "\x1b[31m", "9999-99-99T99:99:99Z"),
]


def test_a_good_one_stays_as_it_is():
    assert fitted(dict(GOOD)) == GOOD


@given(st.dictionaries(st.sampled_from([*GOOD, "more"]), ANY))
def test_every_known_key_has_its_type(spoilt):
    event = fitted({**GOOD, **spoilt})
    if event is None:
        return
    for key, value in event.items():
        if key in GOOD and value is not None:
            assert type(value) in (type(GOOD[key]), float), key
    assert all(type(item) is str for item in event["artifacts"] or ())
    assert all(type(item) in (int, float) for item in (event["usage"] or {}).values())


@pytest.mark.parametrize("line", [{}, {"ts": TS}, {**GOOD, "ts": "soon"}, {**GOOD, "event": 1}])
def test_without_a_moment_and_a_kind_it_is_none(line):
    assert fitted(dict(line)) is None


def test_no_reader_stumbles(project: Project):
    """As a pull may bring it: every key of every kind of event, spoilt in every way."""
    kinds = ("attempt_finished", "task_finished", "task_invalid", "run_created", "task_claimed")
    lines = [
        json.dumps({**GOOD, "event": kind, "event_id": f"{kind}{key}{number}", key: value})
        for kind in kinds
        for key in [*GOOD, "run_id", "status", "session", "cost_source", "error_class"]
        for number, value in enumerate(SPOILT)
        if key not in ("event_id", "event")
    ]
    big = {**GOOD, "event": "task_finished", "insertions": (1 << 62) - 1}
    lines += [json.dumps({**big, "event_id": name, "task_id": name}) for name in "xyz"]
    folder = project.work / "events"
    folder.mkdir(exist_ok=True)
    (folder / f"{TS[:10]}.other-watch.jsonl").write_text("\n".join(lines) + "\n")
    project.config(
        "budgets: {day: {hard_usd: 1000000}}\nagents: {sh: {tool: shell, command: [sh]}}\n"
    )
    for words in (
        ["status"],
        ["events"],
        ["report", "--since", "3000d"],
        ["report", "--since", "3000d", "--html", "page.html"],
        ["list", "--last", "0"],
        ["doctor"],
        ["review"],
    ):
        done = project.run(*words, code=None)
        assert "internal error" not in done.stderr and "\x1b" not in done.stdout, (
            words,
            done.stderr,
        )
    assert spending.of_day(Layout(str(project.root)), TS[:10])[0].total > 0
    assert eventreader.events(Layout(str(project.root)))[1] > 0
    project.drop("good.yaml", "agent: sh\nprompt: 'true'\n")
    project.run("watch", "--until-empty")
    assert project.where("good") == "done"


RESULT = (
    *("started_at: x", "finished_at: 9999-12-31T23:59:59-14:00", "duration_s: []", "usage: 5"),
    *("usage: {input: x}", "cost_usd: much", "checks: -5", "artifacts: x", "artifacts: [1]"),
    *("warnings: 5", "attempts: null", "attempts: [{}]", "exit_code: {}", "outcome: splendid"),
)


def test_no_reader_of_results_stumbles(project: Project):
    project.drop("a.yaml", "prompt: x\n", folder="failed")
    for text in RESULT:
        (project.work / "results/a.yaml").write_text(f"task: a\ntool: sh\n{text}\n")
        found = results.read(Layout(str(project.root)), "a")
        key = text.partition(":")[0]
        assert found.get("tool") == "sh" and key not in found, text
    everything = "\n".join({text.partition(":")[0]: text for text in RESULT}.values())
    (project.work / "results/a.yaml").write_text(f"task: a\n{everything}\n")
    for words in (["show", "a"], ["list", "--last", "0"], ["status"], ["why", "a"]):
        assert "internal error" not in project.run(*words, code=None).stderr, words


@given(
    lines=st.lists(st.text("ab", max_size=20)),
    end=st.sampled_from(["", "\n"]),
    block=st.integers(1, 9),
)
def test_a_log_is_read_from_its_end_as_from_its_beginning(tmp_path_factory, lines, end, block):
    """But for lines that are longer than any of ours: they are kept nowhere."""
    path = tmp_path_factory.mktemp("log") / "x.jsonl"
    path.write_text("\n".join(lines) + end)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jsonlines, "LONGEST", 12)
        found = [line.decode() for line in jsonlines.lines_backwards(str(path), block)]
    assert found[::-1] == [line for line in lines if line and len(line) <= 12]
