# ruff: noqa: F811 - fixtures come by their names
"""A contest: one task for several agents, of whose work a person takes one; once, whoever is cut off."""

from __future__ import annotations

import json
import random
import threading

import pytest
from conftest import wait_until
from faults import Cut, cut_off
from test_trees import Repo, repo, watcher  # noqa: F401

from orchestrator.coordination import contests
from orchestrator.errors import Refused
from orchestrator.files import schemas
from orchestrator.files.contests import known
from orchestrator.files.requests import load
from orchestrator.model.contest import Contest, step
from orchestrator.model.status import Status
from orchestrator.store import contests as records
from orchestrator.store import moves
from orchestrator.testing import Tube


def loaded(text: str):
    return load("fix.yaml", "fix", text.encode(), schemas.check)


# -- what it says ------------------------------------------------------------------------------------------------------


@pytest.mark.fast
def test_each_agent_has_the_same_task_in_a_tree_of_its_own():
    run = loaded("compete: [claude, gpt.4]\nprompt: Mend it.\nlabels: [x]\n").run
    assert run is not None and run.contest and run.members == ("fix.claude", "fix.gpt-4")
    for task, agent in zip(run.all_tasks(), ("claude", "gpt.4"), strict=True):
        assert (task.agents, task.prompt, task.run) == ((agent,), "Mend it.", "fix")
        assert (task.isolation, task.review, task.labels) == ("worktree", "always", ("x",))


@pytest.mark.fast
@pytest.mark.parametrize(
    "text, place, words",
    [
        ("compete: [a]\nprompt: x\n", (1, 10), "has 1 of at least 2 entries"),
        ("compete: [a, a]\nprompt: x\n", (1, 10), "twice"),
        ("compete: [a.b, a-b]\nprompt: x\n", (1, 16), "the same id"),
        ("compete: [a, b]\nprompt: x\nagent: c\n", (3, 1), "compete: names the agents"),
        ("compete: [a, b]\nprompt: x\nrun: r\n", (3, 1), "a run of its own"),
        ("compete: [a, b]\nprompt: x\ncwd: /etc\n", (3, 6), "absolute path"),
        ("compete: [a, b]\n", (1, 1), "there is no prompt"),
        ("compete: a\nprompt: x\n", (1, 10), "must be a list"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, place, words):
    found = loaded(text).errors
    assert found and words in found[0].message, found
    assert (found[0].line, found[0].column) == place and len(found) == 1


# -- what follows from where its tasks are -----------------------------------------------------------------------------


@pytest.mark.fast
@pytest.mark.parametrize("seed", range(200))
def test_however_it_goes_at_most_one_is_taken_and_nothing_is_left_open(seed):
    """A person, agents and a watcher that act in any order, against what must be true after each step."""
    chance = random.Random(seed)
    names = tuple(f"c.{number}" for number in range(chance.randint(2, 5)))
    where: dict[str, Status | None] = dict.fromkeys(names, Status.INBOX)
    contest, folder = Contest("c", names), "runs"
    for _ in range(60):
        name = chance.choice(names)
        moves = {
            Status.INBOX: [Status.RUNNING, Status.HELD, Status.CANCELLED, None],
            Status.HELD: [Status.INBOX],
            Status.RUNNING: [Status.REVIEW, Status.FAILED, Status.REVIEW],
            Status.REVIEW: [Status.FAILED, Status.INBOX, *([Status.DONE] * (not contest.winner))],
            Status.FAILED: [Status.INBOX],
        }
        if chance.random() < 0.5 and where[name] in moves:
            where[name] = chance.choice(moves[where[name]])
            continue
        wanted = step(contest, where.get)
        if wanted.taken:
            contest = contest.won_by(wanted.taken)
        for other in (*wanted.withdraw, *wanted.stop):
            where[other] = Status.CANCELLED
        for other in wanted.put_away:
            where[other] = Status.ARCHIVE
        folder = str(wanted.folder or folder)
    for _ in range(2):
        wanted = step(contest, where.get)
        for other in (*wanted.withdraw, *wanted.stop):
            where[other] = Status.CANCELLED
        for other in wanted.put_away:
            where[other] = Status.ARCHIVE
        folder = str(wanted.folder or folder)
    done = [name for name in names if where[name] is Status.DONE]
    assert len(done) <= 1
    if done:
        assert folder == "done"
        assert {where[name] for name in names} <= {
            Status.DONE, Status.FAILED, Status.CANCELLED, Status.ARCHIVE, None,
        }  # fmt: skip


@pytest.mark.fast
def test_of_two_that_are_taken_at_once_one_is(tmp_path):
    """Two terminals: whoever holds the lock first wins, and the other is told."""
    made = Tube(tmp_path)
    for name in ("c.a", "c.b"):
        made.drop(name, "agent: ok\nprompt: x\nrun: c\n")
    made.run()
    records.write(made.layout, Contest("c", ("c.a", "c.b")))
    told: list[str] = []
    inside = threading.Barrier(2, timeout=20)

    def take(name: str) -> None:
        inside.wait()
        try:
            with records.taking(made.layout, name):
                told.append(name)
        except Refused as error:
            told.append(str(error))

    threads = [threading.Thread(target=take, args=(name,)) for name in ("c.a", "c.b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = known(made.layout, "c").winner
    assert sorted(told) == sorted([winner, f"{winner} has already been taken"])


# -- with git ----------------------------------------------------------------------------------------------------------


def drop(repo: Repo, script: str, **keys) -> None:
    body = {"title": "Mend it", "prompt": f"{script}\nexit\n", "compete": ["builder", "fake"]}
    repo.drop("fix.yaml", json.dumps(body | keys))


def test_one_is_taken_and_the_others_are_kept_and_put_away(repo: Repo):
    drop(repo, "echo $ORCHESTRATOR_TASK_ID > who")
    repo.run("watch", "--until-empty")
    assert repo.where("fix") == "review" and not (repo.work / "runs/fix.yaml").exists()
    result = repo.result("fix")
    assert result["reason"] == "2 of 2 can be taken: fix.builder, fix.fake"
    needs = json.loads(repo.run("review", "--json", code=7).stdout)["needs"]
    assert [item["id"] for item in needs] == ["fix.builder", "fix.fake"]
    refused = repo.run("approve", "fix", code=1).stderr
    assert "fix is a contest" in refused and "approve fix.builder" in refused
    assert repo.git("branch", "--list", "run/*") == "" and not (repo.root / "who").exists()
    repo.run("approve", "fix.fake")
    assert (repo.root / "who").read_text() == "fix.fake\n"
    assert [repo.where(name) for name in ("fix", "fix.fake", "fix.builder")] == [
        "done", "done", "archive",
    ]  # fmt: skip
    assert repo.git("show", "task/fix.builder:who") == "fix.builder"
    assert repo.result("fix")["reason"] == "fix.fake was taken, the others are put away"
    (lost,) = [row for row in repo.json("runs", "fix")["run"]["tasks"] if row["agent"] == "builder"]
    assert (lost["status"], lost["flags"]) == ("cancelled", ["archived"])
    assert repo.run("approve", "fix.builder", code=1)
    repo.run("watch", "--until-empty")
    repo.run("trees", "clean", "-y")
    assert "task/fix.builder" in repo.git("branch", "--list", "task/*")
    assert repo.run("review", "--list").returncode == 0
    assert "fix.builder" in repo.run("runs", "fix").stdout


def test_none_is_good_enough_and_one_that_is_run_again_brings_it_back(repo: Repo):
    drop(repo, 'test "$ORCHESTRATOR_TASK_ID" = fix.fake && exit 1; echo x > x')
    repo.run("watch", "--until-empty", code=None)
    assert repo.where("fix") == "review" and repo.where("fix.fake") == "failed"
    repo.run("reject", "fix", "neither of them")
    assert repo.where("fix") == "failed" and repo.where("fix.builder") == "failed"
    repo.run("retry", "fix.builder")
    repo.run("watch", "--until-empty", code=None)
    assert repo.where("fix") == "review" and repo.where("fix.builder") == "review"
    repo.run("reject", "fix.builder")
    assert repo.where("fix") == "failed" and not (repo.root / "x").exists()


def test_taking_one_early_withdraws_and_stops_the_others(repo: Repo, watcher):
    repo.config(
        (repo.work / "orchestrator.yaml").read_text()
        + "limits: {running: 2}\nwatch: {rescan: 200ms}\n"
    )
    script = 'test "$ORCHESTRATOR_TASK_ID" = fix.builder && echo x > x || sleep 60'
    drop(repo, script, compete=["builder", "fake", "demo"])
    watcher()
    repo.until("fix.builder", "review")
    repo.until("fix.fake", "running")
    (repo.work / "review/fix.builder.yaml").rename(repo.work / "done/fix.builder.yaml")
    wait_until(lambda: repo.where("fix") == "done", "the contest is over")
    assert (repo.root / "x").read_text() == "x\n" and repo.where("fix.builder") == "done"
    assert repo.where("fix.fake") == "cancelled"
    assert repo.where("fix.demo") in ("archive", "cancelled")


@pytest.mark.parametrize("after", range(1, 9, 2))
def test_cut_off_while_it_is_settled_the_next_look_goes_on(tmp_path, after):
    made = Tube(tmp_path)
    text = "agent: ok\nprompt: x\nrun: c\nreview: always\n"
    for name in ("c.a", "c.b", "c.c"):
        made.drop(name, text)
    made.drop("later", text)
    made.run()
    with open(made.layout.file("runs", "c.yaml"), "w") as file:
        file.write("compete: [a, b, c]\nprompt: x\n")
    records.write(made.layout, Contest("c", ("c.a", "c.b", "c.c")))
    moves.approve(made.store, "c.b")
    steps = ("move", "publish", "sync_folder")
    with cut_off(contests.atomic, steps, after), pytest.raises(Cut):
        contests.settle(made.store, "c")
    contests.settle(made.store, "c")
    assert [made.where(name) for name in ("c.a", "c.b", "c.c", "c")] == [
        "archive", "done", "archive", "done",
    ]  # fmt: skip
    assert contests.settle(made.store, "c") == ""


def test_one_that_can_be_taken_later_is_told_of_and_why_names_what_works(repo: Repo):
    """The result went on to say "1 of 2", and `why` named `approve fix`, which refuses."""
    repo.config("isolation: worktree\nagents: {a: {tool: fake}, b: {tool: fake}}\n")
    script = "[ $ORCHESTRATOR_ATTEMPT$ORCHESTRATOR_TASK_ID != 1fix.a ] || exit 3; echo x > x.txt"
    repo.do("fix", script, code=1, compete=["a", "b"])
    assert repo.result("fix")["reason"] == "1 of 2 can be taken: fix.b"
    repo.run("retry", "fix.a")
    repo.run("watch", "--until-empty", code=None)
    assert repo.result("fix")["reason"] == "2 of 2 can be taken: fix.a, fix.b"
    hint = next(
        gate["hint"] for gate in repo.json("why", "fix")["gates"] if "contest" in gate["why"]
    )
    assert hint == "orchestrator approve fix.a   takes that one"
    repo.run(*hint.partition("   ")[0].split()[1:])
    assert repo.where("fix") == "done"
