"""Thousands of files in the inbox: what is done in a pass, and what is told, does not grow with them."""

from __future__ import annotations

import cProfile
import errno
import os
import pstats
import random
import resource
import subprocess
import threading
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.cli import main
from orchestrator.cli.main import cli
from orchestrator.cli.screen import newslines
from orchestrator.cli.screen.console import Console
from orchestrator.coordination import spending as spending_room
from orchestrator.coordination.calm import MOST
from orchestrator.coordination.later import Later
from orchestrator.coordination.moments import Moments
from orchestrator.coordination.news import About, News, Remark, Stuck
from orchestrator.coordination.replies import Replies
from orchestrator.coordination.settings import Fixed
from orchestrator.coordination.waitingruns import WaitingRuns
from orchestrator.errors import StoreFault
from orchestrator.files import opening, replies, schemas, spending
from orchestrator.files.aside import Aside, Busy
from orchestrator.files.configuration import load_config
from orchestrator.files.layout import Layout
from orchestrator.model.choice import Candidate, Ready
from orchestrator.model.gates import Gate, GateName, Lane
from orchestrator.model.status import Status
from orchestrator.queries import checking, needs, runs
from orchestrator.queries.rows import waiting_row
from orchestrator.queries.world import Known
from orchestrator.store import trusting
from orchestrator.store.submitting import Submission, submit_all
from orchestrator.testing import FakeClock, Tube


def counts(profile: cProfile.Profile) -> dict[str, int]:
    """Calls by ``module:function``."""
    found: dict[str, int] = {}
    for (path, _, name), row in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        step = f"{os.path.basename(path)}:{name}"
        found[step] = found.get(step, 0) + row[0]
    return found


def run_git(root, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", *words], cwd=root, check=True)  # fmt: skip


@pytest.mark.parametrize("waiting", [20, 80])
def test_a_start_asks_git_nothing_about_what_waits(tmp_path, waiting):
    """A task that counts is vouched for; the ones that git brought are not looked at again for that."""
    tube = Tube(tmp_path)
    for number in range(waiting):
        tube.drop(f"pulled{number}")
    run_git(tmp_path, "init", "-q")
    run_git(tmp_path, "add", "-f", "work/inbox")
    run_git(tmp_path, "commit", "-qm", "x")
    for number in range(12):
        tube.at(5 + number, lambda number=number: tube.drop(f"own{number}"))
    tube.at(30, lambda: tube.watcher.signalled(15))
    profile = cProfile.Profile()
    profile.runcall(tube.run, until_empty=False)
    assert [tube.where(f"own{number}") for number in range(12)] == ["done"] * 12
    assert tube.where("pulled3") == "inbox"
    assert counts(profile)["aside.py:_begin"] <= waiting * 1.1 + 4 * 12


def test_an_approval_is_still_noticed(tmp_path):
    tube = Tube(tmp_path)
    tube.drop("a")
    tube.drop("b")
    run_git(tmp_path, "init", "-q")
    run_git(tmp_path, "add", "-f", "work/inbox")
    run_git(tmp_path, "commit", "-qm", "x")
    tube.drop("keep", "agent: ok\nprompt: x\nnot_before: '2099-01-01T00:00:00Z'\n")

    def approve() -> None:
        path = Layout(str(tmp_path)).file("inbox", "b.yaml")
        trusting.vouch(tube.store.trust, [trusting.fact_of("b", path)])

    tube.at(3, approve)
    tube.at(30, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    assert (tube.where("a"), tube.where("b")) == ("inbox", "done")


@pytest.mark.parametrize("gate", ["hold: true", "needs: [nothing]", "not_before: '2099-01-01T00:00:00Z'"])  # fmt: skip
def test_a_pass_looks_at_nothing_that_waits(tmp_path, gate):
    """As many calls for ten tasks beside 20 that wait as beside 120, but for one look at each of those."""

    def calls(count: int) -> int:
        root = tmp_path / str(count)
        root.mkdir()
        tube = Tube(root)
        for number in range(count):
            tube.drop(f"w{number}", f"agent: ok\nprompt: x\n{gate}\n")
        for number in range(10):
            tube.at(5 + number, lambda number=number: tube.drop(f"t{number}"))
        tube.at(20, lambda: tube.watcher.signalled(15))
        profile = cProfile.Profile()
        profile.runcall(tube.run, until_empty=False)
        found = counts(profile)
        return found["waitingtasks.py:asks_git"] + found.get("waitingtasks.py:due", 0)

    assert calls(120) - calls(20) <= 100 * 3 * 2


def test_many_answers_that_are_waited_for_cost_nothing_for_each_question():
    open_, profile = threading.Event(), cProfile.Profile()
    aside = Aside(patience=0.0)
    for number in range(300):
        with pytest.raises(Busy):
            aside.ask(number, open_.wait)
    profile.enable()
    for number in range(300):
        with pytest.raises(Busy):
            aside.ask(number, open_.wait)
    profile.disable()
    open_.set()
    assert counts(profile)["threading.py:is_set"] <= 3 * 300


def test_moments_come_in_their_order():
    moments, want, rng = Moments(), dict[str, float](), random.Random(7)
    for _ in range(2000):
        name, when = str(rng.randrange(50)), rng.choice([None, float(rng.randrange(100))])
        moments.put(name, when)
        want[name] = when  # type: ignore[assignment]
    want = {name: when for name, when in want.items() if when is not None}
    assert moments.next() == [min(want.values())]
    early = {name for name, when in want.items() if when <= 40}
    assert set(moments.due(40)) == early
    assert moments.due(40) == [] and sorted(moments.due(100)) == sorted(set(want) - early)
    assert moments.next() == [] and len(moments._heap) < 200


def test_what_is_taken_away_is_found_without_a_search():
    lane, ready, seen = Lane("t", "a", ""), Ready(), []

    class Id(str):
        def __eq__(self, other):
            seen.append(1)
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    candidates = [Candidate(1, number, Id(f"t{number}"), lane) for number in range(500)]
    for candidate in candidates:
        ready.add(candidate)
    seen.clear()
    for candidate in reversed(candidates):
        ready.remove(candidate.id)
    assert not len(ready) and not ready.lanes
    assert len(seen) <= 500 * 30


def test_a_flood_of_invalid_files_is_summed_up(tmp_path):
    tube = Tube(tmp_path)
    for number in range(300):
        tube.drop(f"w{number}", "promt: x\n")
    tube.at(40, lambda: tube.drop("late", "promt: x\n"))
    tube.at(60, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    assert len(tube.remarks(About.INVALID)) == MOST + 1
    assert tube.remarks(About.INVALID)[-1] == "late"
    (more,) = [item.text for item in tube.news if isinstance(item, Remark) and item.about is About.MORE]  # fmt: skip
    assert more.startswith(f"{300 - MOST} more files are invalid")
    assert len([event for event in tube.events() if event["event"] == "task_invalid"]) == 301


def test_a_flood_of_replies_and_of_tasks_of_others_is_summed_up(tmp_path):
    tube = Tube(tmp_path)
    for number in range(100):
        Path(tube.layout.file(Status.INBOX, f"none{number}.reply")).write_text("go on")
        Path(tube.layout.file(Status.RUNNING, f"theirs{number}.yaml")).write_text("prompt: x\n")
    tube.at(60, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    assert [len(tube.remarks(about)) for about in (About.WARNED, About.FOREIGN)] == [MOST, MOST]
    more = [
        item.text for item in tube.news if isinstance(item, Remark) and item.about is About.MORE
    ]
    assert sorted(text.split(" ")[2] for text in more) == ["tasks", "warnings;"]


def test_a_task_is_read_once_however_many_runs_are_listed(tmp_path):
    layout = Tube(tmp_path).layout
    for number in range(12):
        Path(layout.file("runs", f"r{number}.yaml")).write_text("tasks: {a: {prompt: x}}\n")
        Path(layout.file(Status.HELD, f"t{number}.yaml")).write_text("prompt: x\nrun: r3\n")
    profile = cProfile.Profile()
    found = {view.id: len(view.rows) for view in profile.runcall(runs.all_runs, layout, 0.0)}
    assert found == {f"r{number}": 1 for number in range(12)} | {"r3": 13}
    assert counts(profile)["world.py:request_of"] <= 12 * 4


def test_a_flood_of_tasks_that_wait_is_summed_up(tmp_path):
    tube = Tube(tmp_path)
    for number in range(100):
        tube.drop(f"w{number}", "agent: ok\nprompt: x\nneeds: [nothing]\n")
    tube.at(3, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    assert len(tube.of(Stuck)) == MOST
    (more,) = [item.text for item in tube.news if isinstance(item, Remark) and item.about is About.MORE]  # fmt: skip
    assert more.startswith(f"{100 - MOST} more tasks wait")


def test_a_note_that_says_the_same_is_not_written_again(tmp_path):
    """A pipe in the inbox is looked at in every full listing: its note stays the very file it is."""
    tube = Tube(tmp_path)
    os.mkfifo(tube.layout.file("inbox", "pipe.yaml"))
    inodes: list[int] = []
    for moment in (2, 200):
        tube.at(moment, lambda: inodes.append(os.stat(tube.layout.note("pipe")).st_mtime_ns))
    tube.at(201, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    assert len(set(inodes)) == 1


@pytest.mark.parametrize("count", [40, 400])
def test_many_files_that_come_later_have_one_next_moment(tmp_path, count):
    """Files that somebody is at, and runs that wait: the loop looks at those that are due."""
    clock = FakeClock(1e9)
    later, runs = Later(clock), WaitingRuns()
    for number in range(count):
        later.put(f"l{number}", 5.0 + number, "open in an editor" * (number % 2))
        runs.enter(f"r{number}", (1, 2, 3), Gate(GateName.NOT_BEFORE, "x", until=1e9 + number))
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(100):
        assert len(later.moments()) == len(runs.moments()) == 1 and not later.due()
    profile.disable()
    assert sum(row[0] for row in pstats.Stats(profile).stats.values()) <= 100 * 20  # type: ignore[attr-defined]
    assert len(later.open) == count // 2 and later.resting
    clock.move(5.5)
    assert later.due() == ["l0"] and later.due() == []  # and once more if nobody took it
    clock.move(1.0)
    assert later.due() == ["l1", "l0"] and runs.due(1e9 + 1.5) == ["r0", "r1"]
    for number in range(count):
        later.take(f"l{number}")
        runs.leave(f"r{number}")
    assert later.moments() == runs.moments() == [] and not later.resting and not later.open


def test_a_look_reads_each_waiting_file_once(tmp_path):
    """Once, and its note: whatever ``list`` wants to know of it."""

    def opened(count: int) -> tuple[int, int]:
        root = tmp_path / str(count)
        root.mkdir()
        tube = Tube(root)
        for number in range(count):
            tube.drop(f"w{number}", "agent: ok\nprompt: x\nneeds: [nothing]\n")
        profile = cProfile.Profile()
        profile.runcall(rows_of, tube.layout, tube.clock.wall())
        found = counts(profile)
        return found["opening.py:descriptor"], found["judging.py:judged"]

    (few, judged), (many, all_judged) = opened(20), opened(120)
    assert many - few <= 100 * 2 and all_judged - judged == 100


def rows_of(layout: Layout, now: float) -> None:
    known = Known(layout, now)
    assert known.invalid == {}
    names = [name for _, name in known.tasks_in(Status.INBOX)]
    found = [waiting_row(layout, Status.INBOX, name, now, known) for name in names]
    assert {row.status for row in found} == {"waiting"}


def test_a_waiting_task_is_read_and_routed_once_as_it_comes(tmp_path):
    tube = Tube(tmp_path)
    for number in range(50):
        tube.drop(f"w{number}", "agent: ok\nprompt: x\nneeds: [nothing]\n")
    profile = cProfile.Profile()
    profile.runcall(tube.run)
    found = counts(profile)
    assert found["documents.py:parse"] - 50 <= 5 and found["routing.py:_route"] <= 50


@pytest.mark.parametrize("count", [60, 120])
def test_a_folder_of_unknown_needs_is_compared_with_all_names_a_few_times(project, count):
    """Each hint looks at every name: one for every file was the square of the inbox."""
    for number in range(count):
        project.drop(f"t{number:03}.yaml", f"prompt: x\nneeds: [nothing{number}]\n")
    said = project.run("validate", code=None).stdout
    assert said.count("needs: there is no task") == count
    assert said.count("hint: ") == checking.HINTS


def test_many_new_tasks_wait_for_the_disk_a_few_times(tmp_path):
    """An import of thousands waited four times for each of its tasks."""

    def waits(count: int) -> int:
        root = tmp_path / str(count)
        root.mkdir()
        tube = Tube(root)
        coming = [
            Submission(f"t{number}", b"agent: ok\nprompt: x\n", ".yaml", Status.INBOX, "from x")
            for number in range(count)
        ]
        profile = cProfile.Profile()
        profile.runcall(submit_all, tube.store, coming, "task_imported")
        tube.run()
        assert {tube.where(item.task_id) for item in coming} == {"done"}
        told = [event for event in tube.events() if event["event"] == "task_imported"]
        assert [event["task_id"] for event in told] == [item.task_id for item in coming]
        return sum(n for step, n in counts(profile).items() if "sync>" in step)

    assert waits(300) <= waits(80) <= 16


def test_of_many_new_tasks_each_that_may_not_be_is_told(tmp_path):
    tube = Tube(tmp_path)
    tube.drop("here", "agent: ok\nprompt: x\nhold: true\n")
    names = ("a", "here", "a", "A", "b c", "b")
    coming = [Submission(n, b"agent: ok\nprompt: x\n", ".yaml", Status.HELD, "") for n in names]
    submit_all(tube.store, coming, "task_imported")
    assert [item.task_id for item in coming if item.refused is None] == ["a", "b"]
    assert sorted(os.listdir(tube.layout.folder("held"))) == ["a.yaml", "b.yaml"]
    assert len(tube.events()) == 2


def test_many_new_tasks_that_the_disk_refuses_are_none(tmp_path):
    """They were there already when what is to be said of them could not be written."""
    tube = Tube(tmp_path)
    coming = [Submission(n, b"prompt: x\n", ".yaml", Status.HELD, "") for n in "abc"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (100, hard)
    )  # bytes of a file, as if a disk were full
    try:
        with pytest.raises(StoreFault, match="work/held/ could not be written"):
            submit_all(tube.store, coming, "task_imported")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tube.layout.folder("held")) == []
    submit_all(tube.store, coming, "task_imported")
    assert len(os.listdir(tube.layout.folder("held"))) == len(tube.events()) == 3


class Ticking(FakeClock):
    """Each look at it takes a moment."""

    def monotonic(self) -> float:
        self.move(0.001)
        return super().monotonic()


def test_a_flood_of_replies_is_seen_to_in_slices(tmp_path):
    """Files beside tasks that are none: nothing that is to start waits for all of them."""
    tube = Tube(tmp_path)
    for number in range(500):
        Path(tube.layout.file("done", f"x{number}.reply")).write_text("go on")
    tube.store.clock = Ticking(tube.clock.wall())
    found = Replies(tube.layout, Fixed(load_config(tube.layout, schemas.check)), tube.store)
    found.scan()
    heard: list[News] = []
    listener = SimpleNamespace(hear=heard.append)
    sizes, passes = [0], 0
    while found.next_look():
        assert len(found.next_look()) == 1
        found.look(listener)
        sizes.append(len(heard))
        passes += 1
        assert passes <= 500
    told = [after - before for before, after in zip(sizes, sizes[1:], strict=False)]
    assert 0 < max(told) <= 21 and sum(told) == 500


def test_a_step_that_is_refused_for_good_is_tried_ever_more_seldom(tmp_path, monkeypatch):
    """A result that nobody can replace (`chattr +i`), then a journal, while the disk takes all else:
    told twice a second, for ever."""
    tube, rename = Tube(tmp_path), os.rename
    places = [tube.layout.result("a"), tube.layout.journal("a", closed=True)]

    both = tuple(places)

    def refused(source, target, **more) -> None:
        if target in places:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), source, None, target)
        rename(source, target, **more)

    monkeypatch.setattr(os, "rename", refused)
    tube.drop("a")
    tube.at(300, lambda: tube.drop("b"))
    tube.at(500, lambda: places.pop(0))
    tube.at(1000, lambda: places.pop())
    tube.at(1100, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    told = [
        news.text for news in tube.news if isinstance(news, Remark) and news.about is About.FAULT
    ]
    assert 5 < len(told) < 60
    assert set(told) == {f"Operation not permitted ({place})" for place in both}
    assert tube.where("a") == tube.where("b") == "done"
    assert tube.watcher is None or not tube.watcher.rooms.health.fault
    started = next(at for at, task_id, _ in tube.started if task_id == "b")
    assert started - tube.started[0][0] < 350, tube.started


def test_no_task_is_to_blame_for_a_folder_that_takes_nothing(tmp_path, monkeypatch):
    """`chmod 500 work/.state/active`: each new task was told to be invalid, and to rename itself."""
    tube, opened = Tube(tmp_path), os.open

    def refused(path, *more, **named):
        if ".state/tmp/" in os.fsdecode(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return opened(path, *more, **named)

    tube.at(2, lambda: monkeypatch.setattr(os, "open", refused))
    tube.at(3, lambda: tube.drop("a"))
    tube.at(50, lambda: monkeypatch.setattr(os, "open", opened))
    tube.at(200, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    assert tube.where("a") == "done" and not tube.remarks(About.INVALID)
    told = [
        news.text for news in tube.news if isinstance(news, Remark) and news.about is About.FAULT
    ]
    assert len(told) == 1 and told[0].startswith("Permission denied (work/.state/tmp/"), told


def test_status_looks_at_few_replies_however_many_there_are(tmp_path, monkeypatch):
    """20,000 beside tasks that are none cost 8 seconds of processor time, each time it was asked."""
    tube, looked = Tube(tmp_path), []
    look = replies.look

    def counted(*words: object) -> object:
        looked.append(words)
        return look(*words)

    monkeypatch.setattr(replies, "look", counted)
    for number in range(1000):
        Path(tube.layout.file("done", f"x{number}.reply")).write_text("go on")
    found = [
        need for need in needs.needs_you(tube.layout, tube.clock.wall()) if need.kind == "invalid"
    ]
    assert len(looked) == needs.MOST and len(found) == needs.MOST + 1
    assert found[0].why == "there are 1,000 replies beside tasks, and 200 are looked at here"


def test_a_note_that_a_full_disk_refused_comes_later(tmp_path, monkeypatch):
    tube, write = Tube(tmp_path), os.write

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tube.at(2, lambda: tube.drop("a", "promt: x\n"))
    tube.at(2, lambda: monkeypatch.setattr(os, "write", full))
    tube.at(20, lambda: monkeypatch.setattr(os, "write", write))
    tube.at(200, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    assert os.path.exists(tube.layout.note("a"))
    assert tube.remarks(About.INVALID) == ["a"]


def test_a_machine_that_cannot_read_what_a_day_has_cost_is_asked_again(tmp_path, monkeypatch):
    """The pane showed a traceback, and then a sum without what was spent before the start."""
    tube, asked = Tube(tmp_path), []
    monkeypatch.setattr(spending_room, "AGAIN", 0.0)

    def totals(*_):
        asked.append(1)
        if len(asked) < 3:
            raise OSError(errno.EIO, "Input/output error")
        return 2.5, 7

    monkeypatch.setattr(spending, "totals", totals)
    tube.at(50, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    assert (tube.watcher.rooms.today.cost, len(asked)) == (2.5, 3)


def test_a_small_file_is_read_with_little_memory(tmp_path):
    """Room for 64 MiB was taken for each, which a watcher with little of it did not get."""
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    tracemalloc.start()
    assert len(opening.read_bytes(str(tmp_path / "a"))) == 100_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    with pytest.raises(opening.TooLarge):
        opening.read_bytes(str(tmp_path / "a"), 99_999)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "error: there is not enough memory"),
        (RuntimeError("can't start new thread"), "error: can't start new thread"),
        (RuntimeError("else"), "internal error: RuntimeError: else"),
    ],
)
def test_a_machine_without_memory_is_no_internal_error(monkeypatch, capsys, error, words):
    monkeypatch.setattr(cli, "main", lambda **_: exec("raise error", {"error": error}))
    with pytest.raises(SystemExit) as ended:
        main.main([])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(words)


def test_what_ends_work_beside_the_loop_is_told(tmp_path):
    """It said of every fault that work/ could not be written, and then that it could again."""
    tube = Tube(tmp_path)

    async def refused() -> None:
        raise RuntimeError("can't start new thread")

    tube.at(2, lambda: tube.watcher.rooms.background.send(refused()))
    tube.at(50, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    kinds = (About.FAULT, About.FAULT_OVER)
    told = [news for news in tube.news if isinstance(news, Remark) and news.about in kinds]
    lines = [newslines.said(news, tube.watcher.rooms.layout, Console("never")) for news in told]
    assert [line.text for line in lines] == [
        "can't start new thread: nothing new starts; running tasks go on",
        "tasks start again",
    ]
