"""Schedules: the times of cron against a model that tries every minute, and a watcher whose clock is set, stopped and killed."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from conftest import WatcherProcess, apart, end_everything, wait_until

from orchestrator import testing
from orchestrator.coordination import timetable
from orchestrator.coordination.news import About
from orchestrator.files import scan, schemas
from orchestrator.files.layout import Layout
from orchestrator.files.schedules import load_schedules
from orchestrator.model.cron import cron_from, moment_of, times
from orchestrator.model.schedule import Schedule, turn
from orchestrator.model.status import Status
from orchestrator.testing import End

BERLIN, YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
HOUR, DAY = 3600.0, 86400.0


def at(text: str, zone=UTC) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def clock(moment: float, zone=UTC) -> str:
    return datetime.fromtimestamp(moment, zone).strftime("%Y-%m-%d %H:%M")


# -- expressions ----------------------------------------------------------------------------------------------------


def naive(text: str, when: datetime) -> bool:
    """Whether a minute is named, by the words of cron(8) alone."""
    ranges = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
    values = [when.minute, when.hour, when.day, when.month, when.isoweekday() % 7]

    def one(part: str, low: int, high: int, value: int, week: bool) -> bool:
        body, _, step = part.partition("/")
        first, last = (
            (low, high) if body == "*" else (int(body.split("-")[0]), int(body.split("-")[-1]))
        )
        if step and "-" not in body and body != "*":
            last = high
        named = set(range(first, last + 1, int(step or 1)))
        return value in named or (week and value == 0 and 7 in named)

    hits = [
        any(one(part, *ranges[n], values[n], n == 4) for part in word.split(","))
        for n, word in enumerate(text.split())
    ]
    words = text.split()
    if words[2][0] != "*" and words[4][0] != "*":
        return hits[0] and hits[1] and hits[3] and (hits[2] or hits[4])
    return all(hits)


def made_up(chance: random.Random) -> str:
    fields = []
    for low, high in [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]:
        parts = []
        for _ in range(chance.choice([1, 1, 2])):
            first = chance.randint(low, high)
            last = chance.randint(first, high)
            forms = ["*", f"*/{chance.randint(1, high)}", str(first), f"{first}-{last}"]
            parts.append(
                chance.choice([*forms, f"{first}-{last}/{chance.randint(1, 9)}", f"{first}/7"])
            )
        fields.append(",".join(parts) if "*" not in parts else "*")
    return " ".join(fields)


@pytest.mark.parametrize("seed", range(60))
def test_the_next_times_are_those_of_a_model_that_tries_every_minute(seed):
    chance = random.Random(seed)
    text = made_up(chance)
    try:
        cron = cron_from(text)
    except ValueError:
        return  # a day that never comes: test_what_is_no_expression
    start = at("2026-01-01T00:00") + chance.randint(0, 3 * 365 * 1440) * 60.0
    end = start + 2 * DAY
    model = [
        start + 60.0 * n for n in range(1, 2 * 1440 + 1)
        if naive(text, datetime.fromtimestamp(start + 60.0 * n, UTC))
    ]  # fmt: skip
    found = []
    for moment, _ in times(cron, start, UTC):
        if moment > end:
            break
        found.append(moment)
    assert found == model, text


@pytest.mark.parametrize("zone", [UTC, BERLIN, YORK])
def test_the_next_times_are_those_of_a_well_kept_library(zone):
    """Made-up expressions; in a zone with summer time at hours that no change of it touches, for there the rules differ."""
    cronsim = pytest.importorskip("cronsim")
    chance = random.Random(str(zone))
    compared = 0
    while compared < 100:
        text = made_up(chance)
        minute, _, *rest = text.split()
        if zone is not UTC:
            text = " ".join([minute, f"{chance.randint(4, 23)}", *rest])
        if re.search(r"(?<![-\d])\d+/|\b(\d+)-\1/|\*[^ ]*,", text):
            # cron(8) does not say what 3/7 is, the library takes 5-5/2 for 5/2, and a list that begins with a star for a restriction.
            continue
        try:
            cron = cron_from(text)
        except ValueError:
            continue  # a day that never comes: test_what_is_no_expression
        start = at("2026-01-01T00:00") + chance.randint(0, 3 * 365 * 1440) * 60.0
        begin = datetime.fromtimestamp(start, zone)
        theirs = [moment.timestamp() for moment in islice(cronsim.CronSim(text, begin), 8)]
        ours = [moment for moment, _ in islice(times(cron, start, zone), 8)]
        assert ours == theirs[: len(ours)] and (ours or not theirs), text
        compared += 1


@pytest.mark.parametrize(
    "text, start, expected",
    [
        ("0 3 * * 1-5", "2026-11-27T03:00", ["2026-11-30 03:00", "2026-12-01 03:00"]),
        ("0 0 29 2 *", "2026-01-01T00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 12 13 * fri", "2026-11-01T00:00", ["2026-11-06 12:00", "2026-11-13 12:00"]),
        ("*/40 * * * *", "2026-01-01T00:00", ["2026-01-01 00:40", "2026-01-01 01:00"]),
        ("0 0 * jan,mar sun", "2026-01-30T00:00", ["2026-03-01 00:00", "2026-03-08 00:00"]),
        ("@daily", "2026-01-01T12:00", ["2026-01-02 00:00", "2026-01-03 00:00"]),
        ("59 23 31 12 7", "2026-12-30T00:00", ["2026-12-31 23:59", "2027-12-05 23:59"]),
        ("0 0 29 2 *", "2096-03-01T00:00", ["2104-02-29 00:00"]),
    ],
)  # fmt: skip
def test_real_expressions(text, start, expected):
    found = [
        clock(moment) for moment, _ in islice(times(cron_from(text), at(start), UTC), len(expected))
    ]
    assert found == expected


@pytest.mark.parametrize(
    "text, words",
    [
        ("* * * *", "has 4 fields"), ("60 * * * *", "not a valid minute"), ("* 24 * * *", "not a valid hour"), ("* * 0 * *", "not a valid day of the month"),
        ("* * * 13 *", "not a valid month"), ("* * * * 8", "not a valid day of the week"), ("*/0 * * * *", "empty"), ("5-1 * * * *", "empty"),
        ("* * * foo *", "not a valid month"), ("0 0 31 2 *", "never comes"), ("a * * * *", "not a valid minute"), ("1,,2 * * * *", "not a valid minute"),
        ("@often", "has 1 field,"), ("*-5 * * * *", "not a valid minute"), ("", "has 0 fields"),
    ],
)  # fmt: skip
def test_what_is_no_expression(text, words):
    with pytest.raises(ValueError, match=words):
        cron_from(text)


@pytest.mark.parametrize(
    "zone, text, start, expected",
    [
        # summer time begins: half past two never is
        (BERLIN, "30 2 * * *", "2026-03-28T12:00", ["2026-03-29 03:00", "2026-03-30 02:30"]),
        (
            BERLIN,
            "*/30 * * * *",
            "2026-03-29T01:15",
            ["2026-03-29 01:30", "2026-03-29 03:00", "2026-03-29 03:30"],
        ),
        # it ends: half past two is twice, and counts once
        (BERLIN, "30 2 * * *", "2026-10-24T12:00", ["2026-10-25 02:30", "2026-10-26 02:30"]),
        (YORK, "30 2 * * *", "2026-03-07T12:00", ["2026-03-08 03:00", "2026-03-09 02:30"]),
        (YORK, "30 1 * * *", "2026-10-31T12:00", ["2026-11-01 01:30", "2026-11-02 01:30"]),
    ],
)
def test_a_time_that_is_twice_or_never(zone, text, start, expected):
    found = [
        moment for moment, _ in islice(times(cron_from(text), at(start, zone), zone), len(expected))
    ]
    assert [clock(moment, zone) for moment in found] == expected
    assert found == sorted(set(found))
    assert moment_of(datetime(2026, 10, 25, 2, 30), BERLIN) == at("2026-10-25T00:30")


def test_what_is_made_of_missed_times():
    def made(missed: str, overlap: str = "queue", busy: str = "") -> tuple[int, int]:
        found = turn(
            Schedule("s", missed=missed, overlap=overlap), [0.0, 100.0, 1000.0], 1010.0, busy
        )
        return len(found.make), len(found.leave)

    assert made("once") == (1, 2) and made("all") == (3, 0) and made("skip") == (1, 2)
    assert made("all", "skip") == (1, 2) and made("all", "skip", "x") == (0, 3)
    late = turn(Schedule("s", missed="skip"), [0.0], 1000.0, "")
    assert late.make == () and late.leave == ((0.0, "it was missed"),)


# -- the watcher ----------------------------------------------------------------------------------------------------


class Tube(testing.Tube):
    """No listing of folders, which the usual watcher does every five seconds, hides that a moment was forgotten."""

    def __init__(self, root: Path, config: str = "watch: {rescan: 10h}\n", **named) -> None:
        super().__init__(root, config, **named)


@pytest.fixture
def tube(tmp_path: Path) -> Callable[..., Tube]:
    return lambda *words, **named: Tube(tmp_path, *words, **named)


def schedule(made: Tube, text: str, name: str = "nightly") -> None:
    folder = Path(made.layout.schedules)
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(text)


def all_ids(layout: Layout) -> list[str]:
    return sorted(name for status in Status for name, _ in scan.task_names(layout.folder(status)))


def events(made: Tube) -> list[dict]:
    return [
        json.loads(line)
        for path in sorted(Path(made.layout.events).glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def stop_at(made: Tube, seconds: float) -> None:
    made.at(seconds, lambda: made.watcher.signalled(15))
    made.run(until_empty=False)


BODY = "task: {agent: ok, prompt: x}\n"
HOURLY = "cron: '0 * * * *'\ntz: UTC\n"


def test_what_is_due_is_made_at_its_time_and_named_by_it(tube):
    made = tube(start=at("2026-11-27T02:30"))
    schedule(made, HOURLY + BODY)
    stop_at(made, 2 * HOUR)
    assert all_ids(made.layout) == ["nightly-20261127T0300", "nightly-20261127T0400"]
    assert [round(moment) for moment, *_ in made.started] == [1800, 5400]


def test_every_counts_from_when_it_was_first_seen(tube):
    made = tube(start=at("2026-11-27T02:30"))
    schedule(made, "every: 45m\n" + BODY)
    stop_at(made, 2 * HOUR)
    assert all_ids(made.layout) == ["nightly-20261127T0315Z", "nightly-20261127T0400Z"]


@pytest.mark.parametrize("missed, count", [("once", 1), ("skip", 0), ("all", 5)])
def test_a_watcher_that_was_away(tube, tmp_path, missed, count):
    text = HOURLY + f"missed: {missed}\noverlap: queue\n" + BODY
    first = tube(start=at("2026-11-27T02:30"))
    schedule(first, text)
    first.run()
    later = Tube(tmp_path, start=at("2026-11-27T07:30"))
    later.run()
    ids = all_ids(later.layout)
    assert len(ids) == count and (count != 1 or ids == ["nightly-20261127T0700"])
    later._log.close()
    known = [e["task_id"] for e in events(later) if e["event"] == "schedule_skipped"]
    assert len(known) == 5 - count


def test_overlap_leaves_a_time_out_and_says_so(tube):
    made = tube(start=at("2026-11-27T02:30"))
    made.plan("nightly-20261127T0300", End(after=90 * 60.0))
    schedule(made, HOURLY + BODY)
    stop_at(made, 3 * HOUR)
    assert all_ids(made.layout) == ["nightly-20261127T0300", "nightly-20261127T0500"]


def test_a_run_can_be_made_again_and_again(tube):
    made = tube(start=at("2026-11-27T02:30"))
    schedule(
        made, HOURLY + "task: {tasks: {a: {agent: ok, prompt: 'do {n}', matrix: {n: [1, 2]}}}}\n"
    )
    stop_at(made, HOUR)
    assert all_ids(made.layout) == ["nightly-20261127T0300.a-1", "nightly-20261127T0300.a-2"]


@pytest.mark.parametrize("jump", [-5 * DAY, -HOUR, -90.0, 90.0, HOUR, 5 * DAY])
def test_a_clock_that_is_set_makes_neither_two_nor_none(tube, tmp_path, jump):
    first = tube(start=at("2026-11-27T02:30"))
    schedule(first, HOURLY + "overlap: queue\n" + BODY)
    stop_at(first, 2 * HOUR)
    before = all_ids(first.layout)
    second = Tube(tmp_path, start=at("2026-11-27T04:30") + jump)
    stop_at(second, 2 * HOUR)
    third = Tube(tmp_path, start=at("2026-11-28T00:30"))
    stop_at(third, 2 * HOUR)
    ids = all_ids(third.layout)
    assert set(before) <= set(ids) and {"nightly-20261128T0100", "nightly-20261128T0200"} <= set(
        ids
    )
    runs = [name for made in (first, second, third) for _, name, _ in made.started]
    assert len(runs) == len(set(runs))


def test_a_schedule_that_was_held_has_missed_nothing(tube, tmp_path):
    first = tube(start=at("2026-11-27T02:30"))
    schedule(first, HOURLY + BODY)
    first.run()
    folder = Path(first.layout.schedules)
    (folder / "held").mkdir()
    (folder / "nightly.yaml").rename(folder / "held/nightly.yaml")
    Tube(tmp_path, start=at("2026-11-27T05:30")).run()
    (folder / "held/nightly.yaml").rename(folder / "nightly.yaml")
    Tube(tmp_path, start=at("2026-11-27T07:30")).run()
    assert all_ids(first.layout) == []


def made_until_cut(folder: Path, hour: int, left: list[int]) -> None:
    """Make what is due at this hour, until so many system calls were begun; then this process is gone."""

    def cut(real):
        def call(*words, **named):
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
            return real(*words, **named)

        return call

    for module, name in [
        (timetable.atomic, "write_temporary"), (timetable.atomic, "move"), (timetable.atomic, "remove"),
        (timetable.atomic, "sync_folder"), (timetable.os, "makedirs"), (timetable.os, "mkdir"), (timetable.os, "rename"),
    ]:  # fmt: skip
        setattr(module, name, cut(getattr(module, name)))
    made = Tube(folder, start=at(f"2026-11-27T{hour:02}:00") + 1)
    table = timetable.Timetable(made.layout, made.store, made.clock)
    table.look({item.name: item.schedule for item in load_schedules(made.layout)})


def calls_of_one(folder: Path, hour: int) -> int:
    """How many system calls it takes to make what is due at this hour."""
    left = [1 << 20]
    made_until_cut(folder, hour, left)
    return (1 << 20) - left[0]


@pytest.mark.parametrize("seed", range(50))
def test_killed_while_times_pass_it_makes_each_once(tube, tmp_path, seed):
    """Each watcher is gone at some system call of the step that makes what is due, twelve of them one after the other: six
    hundred in all seeds."""
    chance = random.Random(seed)
    killed = 0
    made = tube(start=at("2026-11-27T02:59"))
    schedule(made, HOURLY + "missed: all\noverlap: queue\n" + BODY)
    made.run()
    calls = apart(lambda: os._exit(calls_of_one(tmp_path, 3)))
    assert 10 <= calls < 70
    for hour in range(4, 16):
        left = [chance.randint(1, calls)]
        killed += apart(lambda hour=hour, left=left: made_until_cut(tmp_path, hour, left)) == 9
    assert killed == 12
    last = Tube(tmp_path, start=at("2026-11-27T15:01"))
    last.run()
    assert all_ids(last.layout) == [f"nightly-20261127T{hour:02}00" for hour in range(3, 16)]
    last._log.close()
    claims = [e["task_id"] for e in events(last) if e["event"] == "task_claimed"]
    assert sorted(claims) == all_ids(last.layout)


# -- a real watcher whose clock is set ---------------------------------------------------------------------------------

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
FAKE = ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE", "FAKETIME_NO_CACHE", "DONT_FAKE_MONOTONIC", "NO_FAKE_STAT", "TZ")  # fmt: skip


class Wall:
    """The wall clock of one watcher, in one zone: libfaketime reads a file, and the test writes it."""

    def __init__(self, project, zone: ZoneInfo) -> None:
        self.project, self.zone = project, zone
        self.file = project.root.parent / "clock"

    def set(self, text: str, fold: int = 0) -> None:
        """To this time of its wall clock; ``fold`` 1: the second of two."""
        wall = datetime.fromisoformat(text).replace(tzinfo=self.zone, fold=fold)
        hidden = self.file.with_suffix(".new")
        hidden.write_text(f"{wall.timestamp() - time.time():+.3f}\n")
        hidden.replace(self.file)

    def begin(self, text: str) -> WatcherProcess:
        self.set(text)
        values = (str(LIBRARIES[0]), str(self.file), "1", "1", "1", str(self.zone))
        self.project.env.update(dict(zip(FAKE, values, strict=True)))
        watcher = WatcherProcess(self.project).ready()
        for name in FAKE:
            self.project.env.pop(name)
        seen = self.project.work / ".state/schedules"
        wait_until(lambda: len(list(seen.glob("*.json"))) == 2, "it has seen both schedules")
        return watcher

    def made(self, name: str) -> list[str]:
        """What a schedule has made, by its time."""
        return sorted(id for id in all_ids(Layout(str(self.project.root))) if id.startswith(name))


SPRING = [
    ("2026-03-29T03:00:01", 0, "tick-20260329T0100"),  # half past two never was
    ("2026-03-29T02:59:59", 0, ""),  # that is 03:59:59: nothing new
    ("2026-03-30T02:30:01", 0, "tick-20260330T0030"),
]
AUTUMN = [
    ("2026-10-25T02:30:01", 0, "tick-20261025T0030"),
    ("2026-10-25T02:30:01", 1, "tick-20261025T0130"),  # an hour later it is half past two again
    ("2026-10-25T02:10:00", 0, ""),  # set back by more than an hour, and forward
    ("2026-10-25T02:30:02", 0, ""),
    ("2026-10-26T02:30:01", 0, "tick-20261026T0130"),
]
JUMPS = [
    ("2026-06-10T02:30:01", 0, "tick-20260610T0030"),
    ("2026-06-09T01:00:00", 0, ""),  # set back by a day
    ("2026-06-10T02:30:02", 0, ""),  # and forward: made already
    ("2026-06-14T02:35:00", 0, "tick-20260614T0030"),  # four days at once: one for all of them
]


@pytest.mark.skipif(not LIBRARIES, reason="there is no libfaketime here")
@pytest.mark.parametrize(
    "start, steps, expected",
    [
        ("2026-03-29T01:45:00", SPRING, ["20260329T0300", "20260330T0230"]),
        ("2026-10-25T02:15:00", AUTUMN, ["20261025T0230", "20261026T0230"]),
        ("2026-06-10T02:15:00", JUMPS, ["20260610T0230", "20260614T0230"]),
    ],
)
def test_a_watcher_through_summer_time_and_clocks_that_are_set(project, start, steps, expected):
    """``tick`` goes by UTC and shows that the watcher has looked at each moment; ``nightly`` by this machine's zone."""
    project.config("watch: {rescan: 100ms}\nagents: {ok: {tool: shell, command: ['true']}}\n")
    (project.work / "schedules").mkdir(exist_ok=True)
    task = "overlap: queue\ntask: {agent: ok, prompt: x}\n"
    (project.work / "schedules/nightly.yaml").write_text("cron: '30 2 * * *'\n" + task)
    (project.work / "schedules/tick.yaml").write_text("cron: '*/30 * * * *'\ntz: UTC\n" + task)
    wall = Wall(project, BERLIN)
    watcher = wall.begin(start)
    try:
        for moment, fold, tick in steps:
            wall.set(moment, fold)
            if tick:
                wait_until(lambda tick=tick: tick in wall.made("tick"), tick)
        ids = [f"nightly-{stamp}" for stamp in expected]
        wait_until(lambda: wall.made("nightly") == ids, "each night has its task")
        for task_id in ids:
            project.settled(task_id, "done")
    finally:
        watcher.stop()
        end_everything(project)
    assert wall.made("nightly") == ids
    claims = [event["task_id"] for event in project.events("task_claimed")]
    assert len(claims) == len(set(claims))


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, place, words",
    [
        ("cron: '61 * * * *'\n" + BODY, (1, 7), "'61' is not a valid minute"),
        ("cron: '@daily'\ntz: Mars/Olympus\n" + BODY, (2, 5), "no time zone"),
        ("every: 10s\n" + BODY, (1, 8), "every minute"),
        ("cron: '@dayly'\n" + BODY, (1, 7), "did you mean '@daily'?"),
        ("cron: nightly\n" + BODY, (1, 7), "has 1 field, and a schedule has five: minute"),
        ("every: day\n" + BODY, (1, 8), "write 1d"),
        ("timezone: UTC\nevery: 1d\n" + BODY, (1, 1), "here it is called 'tz'"),
        (BODY, (1, 1), "either cron or every"),
        ("cron: '@daily'\nevery: 1h\n" + BODY, (2, 1), "either cron or every"),
        ("every: 1h\ntask: {promt: x}\n", (2, 8), "unknown key 'promt'"),
        ("every: 1h\ntask:\n  tasks: {a: {prompt: '{x}', matrix: {y: [1]}}}\n", (3, 23), "nothing fills {x}"),
        ("every: 1h\nmised: once\n" + BODY, (2, 1), "unknown key"),
        ("every: 1h\n", (1, 1), "'task' is missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, place, words):
    layout = Layout(str(tmp_path))
    Path(layout.schedules).mkdir(parents=True)
    Path(layout.schedules, "s.yaml").write_text(text)
    (item,) = load_schedules(layout, schemas.check)
    told = f"{item.problems[0].message}; {item.problems[0].hint}"
    assert item.schedule is None and words in told, item.problems
    assert (item.problems[0].line, item.problems[0].column) == place


def test_one_that_is_wrong_is_left_out_alone(tube):
    made = tube(start=at("2026-11-27T02:30"))
    schedule(made, HOURLY + BODY)
    schedule(made, "cron: never\n" + BODY, "broken")
    stop_at(made, HOUR)
    assert all_ids(made.layout) == ["nightly-20261127T0300"]
    assert made.remarks(About.MISCONFIGURED)


def test_ids_of_a_schedule_are_known_by_their_form():
    item = Schedule("a.b")
    good = ["a.b-20261127T0300", "a.b-20261127T0300Z", "a.b-20261127T0300.x"]
    assert all(item.made(name) for name in good)
    assert not any(item.made(name) for name in ("a.b-x", "axb-20261127T0300", "a.b-20261127T0300x"))
