"""The forecast against what really happens, and the past against snapshots of it."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from pathlib import Path

import pytest

from orchestrator.errors import OrchestratorError
from orchestrator.model.choice import Candidate
from orchestrator.model.forecast import Coming, forecast
from orchestrator.model.status import Status
from orchestrator.model.units import timestamp
from orchestrator.queries import ahead as ahead_queries
from orchestrator.queries import past
from orchestrator.queries.world import Known
from orchestrator.store import holding, moves
from orchestrator.testing import End, Tube


def made_up(tube: Tube, chance: random.Random) -> dict[str, float]:
    """A random project: needs, priorities, moments, locks, limits and holds; how long each task takes."""
    takes: dict[str, float] = {}
    names = [f"t{number:02}" for number in range(chance.randint(3, 14))]
    chance.shuffle(names)
    for place, name in enumerate(names):
        takes[name] = round(chance.uniform(1, 400), 3)
        lines = [f"agent: {chance.choice(['ok', 'two'])}", "prompt: x"]
        if place and chance.random() < 0.4:
            needs = chance.sample(names[:place], min(place, chance.randint(1, 2)))
            lines.append(f"needs: [{', '.join(needs)}]")
        if chance.random() < 0.5:
            lines.append(f"priority: {chance.choice(['high', 'low'])}")
        if chance.random() < 0.2:
            moment = timestamp(tube.clock.wall() + chance.randint(1, 900))
            lines.append(f"not_before: '{moment}'")
        if chance.random() < 0.2:
            lines.append(f"locks: [{chance.choice('ab')}]")
        if chance.random() < 0.1:
            lines.append("hold: true")
        tube.plan(name, End(after=takes[name]))
        tube.drop(name, "\n".join(lines) + "\n")
    if chance.random() < 0.4:
        scope = chance.choice([("agent", "ok"), ("agent", "two"), ("", "")])
        now = tube.clock.wall()
        holding.place(tube.layout, scope, now, now + chance.randint(1, 600), "a while")
    return takes


@pytest.mark.parametrize("seed", range(50))
def test_the_order_foreseen_is_the_real_one(tmp_path, seed):
    chance = random.Random(seed)
    limits = [f"running: {chance.randint(1, 4)}"]
    if chance.random() < 0.5:
        limits.append(f"per_agent: {{{chance.choice(['ok', 'two'])}: {chance.randint(0, 2)}}}")
    tube = Tube(tmp_path, f"watch: {{rescan: 10m}}\nlimits: {{{', '.join(limits)}}}\n")
    takes = made_up(tube, chance)
    known = Known(tube.layout, tube.clock.wall())
    found = list(ahead_queries._waiting(known, tube.layout))
    world = ahead_queries._world(known, {}, None, ())
    coming = [
        Coming(Candidate(ask.task.rank, at, ask.task.id, ask.lane), ask, takes[ask.task.id])
        for ask, at in found
    ]
    foreseen = forecast(coming, [], world)
    tube.at(20_000, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    assert [item.id for item in foreseen.starts] == [name for _, name, _ in tube.started]
    for item, (passed, _, _) in zip(foreseen.starts, tube.started, strict=True):
        assert abs(item.at - world.now - passed) < 2.0, (item, passed)
    left = {name for name in takes if tube.where(name) == "inbox"}
    assert set(foreseen.never) == left and all(foreseen.never[name] for name in left)


def test_what_a_change_would_mean(tmp_path):
    tube = Tube(tmp_path, "limits: {running: 1}\n")
    for name, agent in (("a", "ok"), ("b", "two"), ("c", "ok")):
        tube.drop(name, f"agent: {agent}\nprompt: x\n")
    now = tube.clock.wall()
    one = ahead_queries.ahead(tube.layout, now)
    assert [item.id for item in one.starts] == ["a", "b", "c"] and one.end is None
    many = ahead_queries.ahead(tube.layout, now, slots=8)
    assert {item.start for item in many.starts} == {now}
    without = ahead_queries.ahead(tube.layout, now, without=["two"])
    assert [item.id for item in without.starts] == ["a", "c"]
    assert "without two" in without.never["b"][0].why
    tube.run()
    tube.drop("d", "agent: ok\nprompt: x\n")
    later = ahead_queries.ahead(tube.layout, tube.clock.wall())
    assert later.end is not None and later.late >= later.end


# -- the past -----------------------------------------------------------------------------------------------------------


def snapshot(tube: Tube) -> dict[str, Status]:
    return {
        name.rpartition(".")[0]: status
        for status in Status
        for name in os.listdir(tube.layout.folder(status))
        if name.endswith(".yaml") and name[0] not in "@."
    }


def test_the_state_at_any_moment_is_a_snapshot_taken_then(tmp_path):
    """Tasks that verbs make, hold, cancel and archive, and that run, retry, fail and are reviewed."""
    tube = Tube(tmp_path, "limits: {running: 2}\nretry: {delay: 40s}\n")
    text = "agent: ok\nprompt: x\n"
    ends = [
        End(after=30),
        End(after=50, code=1),
        End(after=20),
        End(after=70, code=1),
        End(after=9),
    ]
    for number, end in enumerate(ends):
        tube.plan(f"t{number}", end, End(after=5))
        more = "retries: 1\n" if number == 3 else "review: always\n" if number == 2 else ""
        tube.store.submit(f"t{number}", text + more)
    store = tube.store
    tube.store.submit("h", text)
    tube.at(3, lambda: moves.hold(store, "h"))
    tube.at(60, lambda: moves.release(store, "h"))
    tube.at(61, lambda: store.submit("late", text))
    tube.at(61.5, lambda: moves.cancel(store, "late"))
    tube.at(200, lambda: moves.approve(store, "t2"))
    taken: list[tuple[float, dict[str, Status]]] = []
    for moment in (1, 10, 33.3, 45, 62, 80, 120, 150, 199, 201):
        tube.at(moment, lambda: taken.append((tube.clock.wall(), snapshot(tube))))
    tube.at(300, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    assert len(taken) == 10
    for moment, state in taken:
        assert past.at_moment(tube.layout, moment) == state, moment - taken[0][0]


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_the_state_at_any_moment_is_a_snapshot_taken_then(tmp_path, seed):
    """Random tasks that run, fail, retry and are reviewed, and a person who does anything to any of them at any time."""
    chance = random.Random(seed)
    tube = Tube(tmp_path, f"limits: {{running: {chance.randint(1, 3)}}}\nretry: {{delay: 7s}}\n")
    names = [f"t{number}" for number in range(6)]
    for name in names:
        more = chance.choice(["", "review: always\n", "retries: 1\n", "hold: true\n"])
        ends = [End(after=chance.randint(1, 60), code=chance.choice([0, 0, 1])) for _ in range(9)]
        tube.plan(name, *ends)
        text = f"agent: ok\nprompt: x\n{more}"
        tube.at(chance.randint(0, 90), lambda name=name, text=text: tube.store.submit(name, text))
    verbs = (
        moves.hold,
        moves.release,
        moves.cancel,
        moves.approve,
        moves.reject,
        moves.retry,
        moves.archive,
    )

    def act() -> None:
        with contextlib.suppress(OrchestratorError):
            chance.choice(verbs)(tube.store, chance.choice(names))

    for _ in range(40):
        tube.at(chance.randint(1, 290), act)
    taken: list[tuple[float, dict[str, Status]]] = []
    for moment in sorted(chance.sample(range(300), 30)):
        tube.at(moment + 0.5, lambda: taken.append((tube.clock.wall(), snapshot(tube))))
    tube.at(301, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    assert len(taken) == 30 and len({str(state) for _, state in taken}) > 5
    for moment, state in taken:
        assert past.at_moment(tube.layout, moment) == state, moment - taken[0][0]


def test_what_people_do_by_hand_is_part_of_the_past(tmp_path):
    """Files that are moved, removed, replied to, broken and put back; and every event that tells of no folder."""
    tube = Tube(tmp_path, "limits: {running: 3}\n")
    layout, ok = tube.layout, "agent: ok\nprompt: x\n"
    Path(layout.file("running", "foreign.yaml")).write_text(ok)
    for name, end in (("a", End(after=20)), ("b", End(after=500)), ("c", End(after=10, code=1))):
        tube.plan(name, end, End(after=5))
        tube.store.submit(name, ok)
    for name in ("gone", "held", "stop", "wrong"):
        tube.store.submit(name, f"{ok}not_before: 2198-01-01\n")

    def write(folder: str, name: str, text: str) -> None:
        path = Path(layout.file(folder, name))
        path.with_name(f".{name}").write_text(text)
        os.utime(path.with_name(f".{name}"), (1, 1))  # nobody is still at it
        path.with_name(f".{name}").rename(path)
        tube.watcher.rooms.hints.add(str(path), renamed=True)

    def remove(folder: str, name: str) -> None:
        os.unlink(layout.file(folder, f"{name}.yaml"))
        tube.watcher.rooms.hints.add(layout.file(folder, f"{name}.yaml"), renamed=False)

    tube.at(5, lambda: remove("inbox", "gone"))
    tube.at(6, lambda: tube.move("held", "inbox", "held"))
    tube.at(7, lambda: tube.move("stop", "inbox", "cancelled"))
    tube.at(8, lambda: remove("running", "b"))  # it goes on, and its file comes back
    tube.at(9, lambda: write("inbox", "wrong.yaml", "promt: x\n"))
    tube.at(42, lambda: tube.move("held", "held", "inbox"))
    tube.at(50, lambda: write("failed", "c.reply", "once more\n"))
    tube.at(60, lambda: write("inbox", "a.yaml", ok))  # an id that has run
    tube.at(70, lambda: moves.archive(tube.store, "c"))
    taken: list[tuple[float, dict[str, Status]]] = []
    for moment in (2, 15, 45, 58, 75):
        tube.at(moment, lambda: taken.append((tube.clock.wall(), snapshot(tube))))
    tube.at(90, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    kinds = {event["event"] for event in tube.events()}
    assert kinds >= set(
        "task_removed task_held task_cancelled task_invalid task_requeued task_released task_replied task_refused"
        " task_archived task_foreign task_claimed".split()
    )
    for moment, state in taken:
        told = past.at_moment(layout, moment)
        state["b"] = Status.RUNNING  # wherever its file is
        if moment - taken[0][0] > 55:  # a file of an id that has run is none of that task
            state["a"] = Status.DONE
        assert told == state, moment - taken[0][0]


def test_status_goes_ahead_and_back(project):
    def git(*words: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", *who, *words], cwd=project.root, check=True, capture_output=True)

    project.config("agents: {ok: {tool: shell, command: ['true']}}\n")
    project.run("new", "First", "--id", "a", "-a", "ok")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "one")
    document = project.json("status", "--ahead")
    assert [item["id"] for item in document["starts"]] == ["a"]
    assert "1 task to start" in project.run("status", "--ahead").stdout
    assert "never a: without ok" in project.run("status", "--ahead", "--without", "ok").stdout
    project.run("watch", "--until-empty")
    git("add", "-A")
    git("commit", "-qm", "two")
    for word, status in (("HEAD~1", "waiting"), ("HEAD", "done"), ("0s", "done")):
        (row,) = project.json("status", "--at", word)["tasks"]
        assert row == {"id": "a", "status": status}, word
    assert project.json("status", "--at", "1h")["tasks"] == []
    assert "no commit 'nix'" in project.run("status", "--at", "nix", code=3).stderr
    assert "need --ahead" in project.run("status", "--slots", "3", code=2).stderr
    assert Path(project.work, "done/a.yaml").exists()
