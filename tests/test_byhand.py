"""What people do to task files with mv and rm while somebody watches: it counts, is told, and is in the log once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import wait_until

from orchestrator.coordination.life import Ending, Moving
from orchestrator.coordination.news import About, Moved
from orchestrator.model.status import Status
from orchestrator.model.units import timestamp
from orchestrator.queries.why import Reasons, reasons
from orchestrator.store import moves
from orchestrator.store.eventlog import EventLog
from orchestrator.store.transitions import Store
from orchestrator.testing import End, Tube


@pytest.fixture
def made(tmp_path: Path) -> Tube:
    return Tube(tmp_path)


def waits(tube: Tube) -> str:
    return f"agent: ok\nprompt: x\nnot_before: {timestamp(tube.clock.wall() + 3600)}\n"


def facts(tube: Tube, task_id: str) -> list[str]:
    return [item["event"] for item in tube.events() if item["task_id"] == task_id]


def words(tube: Tube) -> list[tuple[str, str]]:
    return [(news.id, news.word) for news in tube.of(Moved)]


def test_a_move_to_held_and_back(made):
    made.drop("a", waits(made))
    made.at(1, lambda: made.move("a", "inbox", "held"))
    made.at(2, lambda: made.move("a", "held", "inbox"))
    made.at(3, lambda: made.watcher.signalled(15))
    made.run(until_empty=False)
    assert facts(made, "a") == ["task_held", "task_released"]
    assert words(made) == [("a", "held"), ("a", "released")]


def test_a_move_to_review_is_no_hold(made):
    made.drop("a", waits(made))
    made.at(1, lambda: made.move("a", "inbox", "review"))
    made.at(2, lambda: made.watcher.signalled(15))
    made.run(until_empty=False)
    assert facts(made, "a") == ["task_moved"] and words(made) == [("a", "review")]


def test_what_was_held_before_anybody_watched(made):
    path = made.layout.file("held", "a.yaml")
    Path(path).write_text(waits(made))
    made.at(1, lambda: made.move("a", "held", "inbox"))
    made.at(2, lambda: made.watcher.signalled(15))
    made.run(until_empty=False)
    assert facts(made, "a") == ["task_released"]


def test_a_move_to_cancelled_frees_who_waits_for_its_end(made):
    made.drop("a", waits(made))
    made.drop("b", "agent: ok\nprompt: x\nneeds: {a: ended}\n")
    made.at(1, lambda: made.move("a", "inbox", "cancelled"))
    made.at(5, lambda: made.watcher.signalled(15))
    made.run(until_empty=False)
    assert facts(made, "a") == ["task_cancelled"] and words(made) == [("a", "cancelled")]
    assert made.where("b") == "done"


@pytest.mark.parametrize("verb, folder, kind", [("hold", "held", "task_held")])
def test_a_move_by_a_verb_is_one_fact(made, verb, folder, kind):
    """The verb is another process with a log of its own; both tell of the move under the same id."""
    other = Store(made.layout, EventLog(made.layout, "cli", made.clock), made.clock)

    def hold() -> None:
        moved = getattr(moves, verb)(other, "a")
        made.watcher.rooms.hints.add(moved.path, renamed=True)

    made.drop("a", waits(made))
    made.at(1, hold)
    made.at(2, lambda: made.watcher.signalled(15))
    made.run(until_empty=False)
    assert facts(made, "a") == [kind] and words(made) == [("a", folder)]


def test_a_removed_file(made):
    made.drop("a", waits(made))
    made.drop("b")
    made.at(1, lambda: os.unlink(made.layout.file("inbox", "a.yaml")))
    made.at(20, lambda: made.watcher.signalled(15))
    made.run(until_empty=False)
    assert facts(made, "a") == ["task_removed"] and words(made) == [("a", "removed")]
    assert "task_removed" not in facts(made, "b")


def test_many_removed_files_are_one_line(made):
    names = [f"t{number}" for number in range(30)]
    for name in names:
        made.drop(name, waits(made))
    made.at(1, lambda: [os.unlink(made.layout.file("inbox", f"{name}.yaml")) for name in names])
    made.at(20, lambda: made.watcher.signalled(15))
    made.run(until_empty=False)
    assert words(made) == [("", "removed")]
    assert all(facts(made, name) == ["task_removed"] for name in names)


@pytest.mark.parametrize("folder", ["held", "review", "inbox", "done", "failed"])
@pytest.mark.parametrize("hinted", [True, False])
def test_the_file_of_a_running_task_is_put_back(made, folder, hinted):
    def move() -> None:
        if hinted:
            made.move("a", "running", folder)
        else:
            os.rename(made.layout.file("running", "a.yaml"), made.layout.file(folder, "a.yaml"))

    made.plan("a", End(after=60.0))
    made.drop("a")
    made.at(1, move)
    made.at(20, lambda: where.append(made.where("a")))
    where: list[str] = []
    made.run()
    assert where == ["running"] and made.where("a") == "done"
    assert made.remarks(About.RESTORED) == ["a"]


def test_a_task_that_is_just_being_claimed_was_not_moved_by_hand(made):
    """Between its claim and our own move its file lies in the inbox still; a rescan at that moment leaves it there."""
    made.plan("a", End(after=5.0))
    made.drop("a")
    seen = []

    def look() -> None:
        watcher = made.watcher
        life = watcher.rooms.running["a"]
        made.move("a", "running", "inbox")
        stage, life.stage = life.stage, Moving()
        seen.append((watcher.rooms.byhand.missing(life), made.where("a")))
        life.stage = stage

    made.at(1, look)
    made.run()
    assert seen == [(False, "inbox")] and made.where("a") == "done"


def test_a_task_whose_work_is_over_was_not_moved_by_hand(made):
    """While it is settled, beside the loop, its file goes to its last folder; a look at that moment leaves it there."""
    made.plan("a", End(after=5.0))
    made.drop("a")
    seen = []

    def look() -> None:
        byhand, life = made.watcher.rooms.byhand, made.watcher.rooms.running["a"]
        stage, life.stage = life.stage, Ending()
        made.move("a", "running", "review")
        seen.append((byhand.missing(life), byhand.arrived(Status.REVIEW, "a.yaml")))
        seen.append(made.where("a"))
        life.stage = stage

    made.at(1, look)
    made.run()
    assert seen == [(False, False), "review"] and made.where("a") == "done"


def test_a_running_task_whose_file_was_removed_is_told_once_while_it_runs(made):
    made.plan("a", End(after=300.0))
    made.drop("a")
    made.at(1, lambda: os.unlink(made.layout.file("running", "a.yaml")))
    made.at(200, lambda: seen.append(made.remarks(About.WARNED)))
    seen: list[list[str]] = []
    made.run()
    assert seen == [["a"]] and made.remarks(About.WARNED) == ["a"]
    assert made.where("a") == "done" and made.remarks(About.RESTORED) == ["a"]


def test_a_move_of_a_running_task_to_cancelled_stops_it(made):
    made.plan("a", End(after=None))
    made.drop("a")
    made.at(1, lambda: made.move("a", "running", "cancelled"))
    made.run()
    assert made.where("a") == "cancelled"


def test_an_empty_file_is_invalid_once_and_counts_when_it_is_written(made):
    path = Path(made.layout.file("inbox", "a.yaml"))

    def write() -> None:
        path.write_text("agent: ok\nprompt: x\n")
        made.watcher.rooms.hints.add(str(path), renamed=False)

    path.touch()
    made.at(30, write)
    made.at(60, lambda: made.watcher.signalled(15))
    made.run(until_empty=False)
    assert made.remarks(About.INVALID) == ["a"] and made.where("a") == "done"


def test_only_what_could_start_is_before_another(made):
    def ask() -> None:
        now = made.clock.wall()
        asked.append(reasons(made.layout, "second", Status.INBOX, "second.yaml", now))

    asked: list[Reasons] = []
    made.plan("runs", End(after=60.0))
    made.drop("runs")
    made.drop("later", waits(made))
    made.drop("first")
    made.drop("second")
    made.at(5, ask)
    made.at(90, lambda: made.watcher.signalled(15))
    made.run(until_empty=False, slots=1)
    assert asked[0].notes == ["1 before it by priority and age"]


@pytest.mark.parametrize("moment", ["while it runs", "without a watcher", "as it ends"])
def test_a_running_task_keeps_the_name_of_its_file(project, watch, moment):
    """Under the new name it was taken for a task that git had brought, and `retry` would have done its work twice."""
    rescan = "10h" if moment == "as it ends" else "300ms"
    project.config(f"agents: {{sh: {{tool: shell, command: [sh]}}}}\nwatch: {{rescan: {rescan}}}\n")
    project.drop("a.yaml", "agent: sh\nprompt: while [ ! -e go ]; do sleep 0.05; done\n")
    watcher = watch()
    wait_until(lambda: project.events("attempt_started", "a"), "it runs")
    if moment == "without a watcher":
        watcher.process.kill()
        watcher.process.wait()
    os.rename(project.work / "running/a.yaml", project.work / "running/b.yaml")
    if moment == "without a watcher":
        watcher = watch()
    if moment != "as it ends":
        wait_until((project.work / "running/a.yaml").exists, "it has its name again")
    if moment == "while it runs":
        wait_until(lambda: "its file was renamed to b.yaml" in watcher.text(), "it is told")
    (project.root / "go").touch()
    project.settled("a", "done")
    assert project.where("b") == "" and not project.events("task_foreign")
    assert (project.work / "done/a.yaml").read_text().startswith("agent: sh")
