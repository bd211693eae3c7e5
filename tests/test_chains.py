"""Work that follows from work: made once, under ids that follow from their cause, whatever is killed in between."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import apart

from orchestrator.files import eventreader, scan, schemas
from orchestrator.files.requests import load
from orchestrator.model import filling, ids
from orchestrator.model.chain import CONDITIONS, Ended, child_id, follow_ups, moments, planned
from orchestrator.model.status import Outcome, Status
from orchestrator.store import following, moves
from orchestrator.testing import End, Tube

FAILS = End(code=1)


@pytest.fixture
def tube(tmp_path: Path) -> Callable[..., Tube]:
    return lambda *words, **named: Tube(tmp_path, *words, **named)


def inbox_text(made: Tube, task_id: str) -> dict:
    return yaml.safe_load(
        Path(made.layout.file(made.where(task_id), f"{task_id}.yaml")).read_text()
    )


def events(made: Tube, task_id: str) -> list[str]:
    made._log.close()
    return [event["event"] for event in eventreader.about(made.layout, "task_id", task_id)]


def everything(made: Tube) -> dict[str, str]:
    return {
        task_id: str(status)
        for status in Status
        for task_id, _ in scan.task_names(made.layout.folder(status))
    }


# -- the watcher ----------------------------------------------------------------------------------------------------


def test_a_follow_up_runs_after_its_cause(tube):
    made = tube()
    made.drop(
        "fix",
        "agent: ok\nprompt: Fix it\nrun: r1\npriority: high\n"
        "then: [{agent: two, prompt: 'Review {task.title}, see {task.result}; {{x}} and {\"a\": {}}'}]\n",
    )
    made.run()
    assert everything(made) == {"fix": "done", "fix.two": "done"}
    data = inbox_text(made, "fix.two")
    assert data["prompt"] == 'Review Fix it, see work/results/fix.yaml; {x} and {"a": {}}'
    assert data["chain"] == ["fix"] and data["context"] == ["work/results/fix.yaml"]
    assert data["run"] == "r1" and data["priority"] == "high" and data["agent"] == "two"
    assert made.result("fix")["follow_ups"] == [{"task": "fix.two", "on": "proven"}]
    assert [name for _, name, _ in made.started] == ["fix", "fix.two"]


@pytest.mark.parametrize(
    "end, made_ids",
    [(End(), {"a.p", "a.d", "a.w"}), (FAILS, {"a.f", "a.w"})],
)
def test_conditions(tube, end, made_ids):
    made = tube()
    made.plan("a", end)
    entries = ", ".join(
        f"{{on: {on}, title: {on[0] if on != 'always' else 'w'}, agent: ok, prompt: x}}"
        for on in CONDITIONS
    )
    made.drop(
        "a", f"agent: ok\nprompt: x\nthen: [{entries}]\n".replace("agent: ok, prompt", "prompt")
    )
    made.run(slots=1)
    assert set(everything(made)) - {"a"} == made_ids


def test_next_agent_is_one_follow_up_with_the_same_subject(tube):
    made = tube()
    made.drop("a", "agent: ok\nprompt: Look at {this}\nnext_agent: two\n")
    made.run()
    data = inbox_text(made, "a.two")
    assert data["title"] == "Look at {this}" and "Look at {this}" in data["prompt"]
    assert "work/results/a.yaml" in data["prompt"]


def test_a_role_can_have_what_follows_it_and_a_circle_ends(tube):
    made = tube()
    made.configure("limits: {depth: 3}\n")
    config = Path(made.layout.config)
    text = config.read_text().replace("  ok: {", "  ok: {then: {agent: two}, ")
    config.write_text(text.replace("  two: {", "  two: {then: {agent: ok}, "))
    made.drop("a")
    made.run()
    assert set(everything(made)) == {"a", "a.two", "a.two.ok", "a.two.ok.two"}
    last = made.result("a.two.ok.two")
    assert "limits.depth" in last["warnings"][0] and "follow_ups" not in last


@pytest.mark.parametrize("depth, count", [(0, 1), (1, 2), (9, 3)])
def test_a_task_can_only_make_its_chain_shorter(tube, depth, count):
    made = tube("limits: {depth: 2}\n")
    config = Path(made.layout.config)
    config.write_text(config.read_text().replace("  ok: {", "  ok: {then: {agent: ok}, "))
    made.drop("a", f"agent: ok\nprompt: x\ndepth: {depth}\n")
    made.run()
    assert len(everything(made)) == count


def test_a_second_end_of_the_same_task_makes_another(tube):
    made = tube()
    made.drop("a", "agent: ok\nprompt: x\nthen: {agent: two}\n")
    made.run()
    moves.retry(made.store, "a")
    made.run()
    assert set(everything(made)) == {"a", "a.two", "a.two.again2"}


def test_the_second_of_a_name_has_a_number(tube):
    made = tube()
    made.drop(
        "a", "agent: ok\nprompt: x\nthen: [{agent: two, prompt: one}, {agent: two, prompt: two}]\n"
    )
    made.run()
    assert set(everything(made)) == {"a", "a.two", "a.two.2"}


def test_a_taken_id_is_left_alone_and_told(tube):
    made = tube()
    made.drop("a.two", "agent: ok\nprompt: mine\nhold: true\n")
    made.drop("a", "agent: ok\nprompt: x\nthen: {agent: two}\n")
    made.run()
    assert inbox_text(made, "a.two")["prompt"] == "mine"
    assert "task_refused" in events(made, "a.two")


@pytest.mark.parametrize(
    "verb, expected", [(moves.approve, {"a.w", "a.d"}), (moves.reject, {"a.w", "a.f"})]
)
def test_what_follows_a_verdict_is_made_by_the_verb(tube, verb, expected):
    made = tube("on_lost: hold\n")
    made.plan("a", End(cause="lost"))
    entries = "[{on: done, title: d, prompt: x}, {on: failed, title: f, prompt: x}, {on: always, title: w, prompt: x}]"
    made.drop("a", f"agent: ok\nprompt: x\nthen: {entries}\n")
    made.run()
    assert made.where("a") == "review" and set(everything(made)) == {"a", "a.w"}
    verb(made.store, "a")
    assert set(everything(made)) - {"a"} == expected


@pytest.mark.parametrize("folder", ["done", "failed"])
@pytest.mark.parametrize("watching", [True, False])
def test_a_verdict_by_mv_makes_what_the_verb_makes(tube, folder, watching):
    """While somebody watches, and before the next watcher; once, whoever looks again."""
    made = tube("watch: {rescan: 1s}\non_lost: hold\n")
    made.plan("a", End(cause="lost"))
    entries = (
        "[{on: done, title: d, prompt: x, agent: ok}, {on: failed, title: f, prompt: x, agent: ok}]"
    )
    made.drop("a", f"agent: ok\nprompt: x\nthen: {entries}\n")

    def move() -> None:
        os.rename(made.layout.file("review", "a.yaml"), made.layout.file(folder, "a.yaml"))

    if watching:
        made.at(20, move)
        made.at(40, lambda: made.watcher.signalled(15))
    else:
        made.at(10, lambda: made.watcher.signalled(15))
    made.run(until_empty=False)
    if not watching:
        move()
        made.run()
    children = [name for name in everything(made) if name.startswith("a.")]
    assert len(children) == 1 and made.where(children[0]) == "done"
    told = "task_approved" if folder == "done" else "task_rejected"
    assert events(made, "a").count(told) == 1
    made.run()
    assert [name for name in everything(made) if name.startswith("a.")] == children


def git(root: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_next_tree_begins_with_what_the_one_before_has_made(project):
    root = project.root
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "user.email", "a@b.c")
    git(root, "config", "user.name", "a")
    (root / "a.txt").write_text("one\n")
    git(root, "add", "a.txt")
    git(root, "commit", "-qm", "one")
    project.run("init")
    script = "test ! -f b.txt && echo two > b.txt || cat b.txt"
    (project.work / "orchestrator.yaml").write_text(
        "agents:\n  coder: {tool: shell, isolation: worktree, command: [/bin/sh, -c, '"
        + script
        + "']}\n"
        "  reader: {tool: shell, command: [/bin/sh, -c, 'cat b.txt']}\n"
    )
    project.run("approve", "--settings", "-y", code=None)
    text = "agent: coder\nprompt: x\nthen: {agent: reader, on: changed, prompt: look}\n"
    (project.work / "inbox/fix.yaml").write_text(text)
    project.run("watch", "--until-empty")
    assert (project.work / "review/fix.yaml").exists()
    data = yaml.safe_load((project.work / "done/fix.reader.yaml").read_text())
    assert data["base"] == git(root, "rev-parse", "task/fix") and data["isolation"] == "worktree"
    assert (project.work / "logs/fix.reader/1/stdout.log").read_text() == "two\n"
    assert not (root / "b.txt").exists()
    shown = json.loads(project.run("show", "fix", "--json").stdout)
    assert shown["follow_ups"] == [{"id": "fix.reader", "status": "done", "on": "changed"}]


# -- needs ----------------------------------------------------------------------------------------------------------


def test_needs_can_wait_for_a_failure(tube):
    made = tube()
    made.plan("build", FAILS)
    made.drop("triage", "agent: ok\nprompt: x\nneeds: {build: failed}\n")
    made.drop("never", "agent: ok\nprompt: x\nneeds: {good: failed}\n")
    made.drop("after", "agent: ok\nprompt: x\nneeds: {build: ended, good: done}\n")
    made.drop("good")
    made.drop("build")
    made.run()
    assert everything(made) == {
        "build": "failed", "good": "done", "triage": "done", "after": "done", "never": "inbox",
    }  # fmt: skip


# -- cut off at every step ------------------------------------------------------------------------------------------

STEPS = [
    (following.atomic, "write_temporary"),
    (following.atomic, "sync_folder"),
    (following.atomic, "move"),
    (following.atomic, "remove"),
    (following.atomic.shutil, "rmtree"),
    (following.os, "rename"),
    (following.os, "mkdir"),
    (following.os, "write"),
]


def killed_at(number: int, after: bool, work: Callable[[], object]) -> bool:
    """Run in a process that is gone at this system call, counted from the beginning of the step; whether it came so far."""

    def until_cut() -> None:
        left = [0]

        def begun(*words):
            left[0] = left[0] or number
            return stage(*words)

        def cut(real):
            def call(*words, **named):
                left[0] -= left[0] > 0
                if left[0] == 1 and not after:
                    os._exit(9)
                result = real(*words, **named)
                if left[0] == 1:
                    os._exit(9)
                return result

            return call

        stage = following.stage
        following.stage = begun
        for module, name in STEPS:
            setattr(module, name, cut(getattr(module, name)))
        work()

    return apart(until_cut) == 9


THEN = "then: [{on: ON, agent: two, prompt: one}, {on: ON, agent: ok, prompt: two}]\n"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(2, 40, 2))
def test_never_two_and_never_none_wherever_it_is_cut_off(tube, tmp_path, number, after):
    made = tube()
    made.drop("a", "agent: ok\nprompt: x\n" + THEN.replace("ON", "proven"))
    killed_at(number, after, made.run)
    again = Tube(tmp_path)
    again.run()
    assert set(everything(again)) == {"a", "a.two", "a.ok"} and again.where("a") == "done"
    for child in ("a.two", "a.ok"):
        known = events(again, child)
        assert known.count("task_claimed") == 1 and "task_refused" not in known


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(2, 30))
def test_a_verdict_that_is_cut_off_makes_them_once_it_holds(tube, tmp_path, number, after):
    made = tube("on_lost: hold\n")
    made.plan("a", End(cause="lost"))
    made.drop("a", "agent: ok\nprompt: x\n" + THEN.replace("ON", "done"))
    made.run()
    killed_at(number, after, lambda: moves.approve(made.store, "a"))
    again = Tube(tmp_path)
    again.run()
    if again.where("a") == "review":
        assert set(everything(again)) == {"a"}
        moves.approve(again.store, "a")
    assert set(everything(again)) == {"a", "a.two", "a.ok"}


# -- decisions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_ids_follow_from_their_cause(seed):
    chance = random.Random(seed)
    parent = "p" * chance.randint(1, 119)
    listed = follow_ups(
        {
            "then": [
                {"agent": chance.choice(["x", "old", "ü b/ä", "z" * 60]), "prompt": "p"}
                for _ in range(4)
            ]
        }
    )
    ended = Ended(Status.DONE, Outcome.SUCCEEDED, times=chance.randint(1, 3))
    first, _ = planned(parent, {}, listed, ended, 5)
    second, _ = planned(parent, {}, listed, ended, 5)
    assert [item.id for item in first] == [item.id for item in second]
    assert len({ids.key(item.id) for item in first}) == 4
    assert not any(ids.problem(item.id) for item in first)


def test_a_condition_is_met_by_the_folder_and_the_outcome():
    good = Ended(Status.REVIEW, Outcome.SUCCEEDED, changed=True)
    lost = Ended(Status.REVIEW, Outcome.LOST)
    assert {on: moments(on, good) for on in CONDITIONS} == {
        "proven": ("review", "done"), "done": ("done",), "failed": ("failed",),
        "changed": ("review", "done"), "always": ("review", "done", "failed"),
    }  # fmt: skip
    assert moments("proven", lost) == ("done",) and moments("changed", lost) == ()


@pytest.mark.parametrize(
    "text, filled",
    [
        ("{a} {b}", "1 {b}"), ("{{a}} {{a}", "{a} {a}"), ('{"a": {}} { a } ${{ a }}', '{"a": {}} { a } ${{ a }}'),
        ("{a}{a}", "11"), ("", ""),
    ],
)  # fmt: skip
def test_filling(text, filled):
    assert filling.fill(text, {"a": "1"}) == filled
    assert filling.fill(filling.literal(text), {"a": "1"}) == text or "{{" in text


def test_a_value_is_never_looked_at_again():
    assert filling.fill("{a}", {"a": "{b}", "b": "no"}) == "{b}"


@pytest.mark.parametrize(
    "text, place, words",
    [
        ("prompt: x\nthen:\n  - agent: a\n    prompt: see {task.titel}\n", (4, 13), "nothing fills {task.titel}"),
        ("prompt: x\nthen: [{on: allways, agent: a}]\n", (2, 13), "not one of the allowed values"),
        ("prompt: x\nthen: [{title: t}]\n", (2, 8), "neither who acts"),
        ("prompt: x\nneeds: {a: faild}\n", (2, 12), "not one of the allowed values"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(text, place, words):
    found = load("t.yaml", "t", text.encode(), schemas.check).errors
    assert [(item.line, item.column) for item in found][:1] == [place] and words in found[0].message


# -- older files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more, expected",
    [
        ("next_agent: curator\n", {"agent": "curator"}),
        ("handoff: {next_agent: curator, next_task_title: Curate}\n", {"agent": "curator", "title": "Curate"}),
        ("result: {next_agent: curator, next_task_title: Curate}\n", {"agent": "curator", "title": "Curate"}),
        ("result: {followup: [{agent: curator, title: Curate}]}\n", {"agent": "curator", "title": "Curate"}),
        ("result: {handoff_to: curator, handoff_note: Look}\n", {"agent": "curator"}),
        ("handoff: {next_agent: nobody-here, next_task_title: T}\n", {"title": "T"}),
        ("result: {followup: none is needed}\n", None),
        ("result: {summary: fine}\nto_agent: x\n", None),
    ],
)  # fmt: skip
def test_handoffs_of_older_files(more, expected):
    text = "id: t1\nstatus: assigned\nagent: curator\ntitle: Old\ndescription: Do {it}\n" + more
    request = load("t.yaml", "t", text.encode(), schemas.check, ["curator"])
    assert not request.errors and request.task is not None
    assert len(request.task.then) == (expected is not None)
    for entry in request.task.then:
        kept = {key: entry.body[key] for key in ("agent", "title") if key in entry.body}
        assert kept == expected


def test_an_id_is_never_too_long():
    assert len(child_id("x" * 118, "reviewer", 1, 1).encode()) <= ids.MAX_BYTES
