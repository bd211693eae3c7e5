"""What an attempt can put in place of our own files and folders, and what becomes of it: each gives way, nothing of it is lost."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
from pathlib import Path

import pytest
from test_walls import odd

from orchestrator.coordination.health import takes_writes
from orchestrator.coordination.nontasks import MANY, NonTasks
from orchestrator.errors import StoreFault, Unusable
from orchestrator.files import (
    eventreader,
    journals,
    jsonlines,
    logreader,
    logtimes,
    opening,
    owners,
    scan,
    templates,
)
from orchestrator.files.configuration import load_config
from orchestrator.files.layout import FOLDER_NAMES, STATE_FOLDERS, Layout
from orchestrator.files.opening import is_folder
from orchestrator.model.journal import Journal
from orchestrator.model.status import Status
from orchestrator.store import folders, places, placing, recovery, replying, smallfiles
from orchestrator.store.eventlog import EventLog
from orchestrator.testing import End, Tube

KINDS = ("fifo", "hole", "link", "dangling", "circle")
OURS = tuple(f".state/{name}" for name in STATE_FOLDERS)


@pytest.fixture
def layout(tmp_path) -> Layout:
    made = Layout(str(tmp_path))
    folders.make(made)
    return made


def replaced(path, kind: str) -> None:
    """Something else than what lay there."""
    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    odd(path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_where_a_folder_of_ours_belongs_gives_way(layout, tmp_path, kind):
    persons = () if kind in ("link", "dangling", "circle") else (*FOLDER_NAMES, ".state")
    for name in (*OURS, *persons):
        folders.make(layout)
        replaced(tmp_path / "work" / name, kind)
        assert places.spoilt(layout)
        made = folders.make(layout)
        assert name in made, made
        assert is_folder(layout.folder(name)) and not places.spoilt(layout)
    kept = [*(tmp_path / "work").glob("*/.displaced/*")]
    assert kept and not folders.make(layout)


def test_what_lies_where_things_are_moved_aside_gives_way(layout, tmp_path):
    (tmp_path / "work/logs/.displaced").write_text("mine\n")
    replaced(tmp_path / "work/.state/active", "fifo")
    assert ".state/active" in folders.make(layout)
    assert len(list((tmp_path / "work/logs/.displaced").iterdir())) == 1
    (before,) = (tmp_path / "work/logs").glob(".displaced-*")
    assert before.read_text() == "mine\n"


def test_a_link_where_a_folder_of_ours_is_made_is_not_followed(layout, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work/logs/a").symlink_to(tmp_path / "elsewhere")
    places.make_folder(layout, layout.logs("a"))
    assert is_folder(layout.logs("a"))


@pytest.mark.parametrize("name", ["inbox", "running", "done", "results", "events", "logs"])
def test_a_folder_that_takes_no_file_is_a_disk_that_takes_none(tmp_path, monkeypatch, name):
    """Else every look finds the fault over, and every step finds it again, twice a second."""
    store = Tube(tmp_path).store
    assert takes_writes(store)
    monkeypatch.setattr(os, "urandom", bytes)  # the next name is known, and something lies there
    (tmp_path / "work" / name / f".probe.{owners.fresh()}").mkdir()
    assert not takes_writes(store)


FORESEEN = (
    "a",
    "b",
    "reply",
    "told",
    "words",
    "ask",
    "b.plan",
    "b.restored",
    "run",
    "expand",
    "follow.b",
)


@pytest.mark.parametrize("kind", ("folder", "fifo", "link"))
def test_nothing_can_be_put_where_a_temporary_file_will_be(tmp_path, kind):
    """A folder where the claim of a task was written first kept it from ever starting."""
    tube = Tube(tmp_path)
    tube.plan("a", End(after=10.0))

    def spoil() -> None:
        for name in FORESEEN:
            odd(tmp_path / f"work/.state/tmp/{os.getpid()}-{owners.namespace()}.{name}", kind)
        odd(tmp_path / f"work/done/.a.yaml.{os.getpid()}-{owners.namespace()}.tmp", kind)
        replying.place(tube.store, "a", Status.RUNNING, "and one thing more")
        tube.drop("b")
        tube.watcher.rooms.hints.add(tube.layout.file("running", "a.reply"), renamed=True)

    tube.drop("a")
    tube.at(1.0, spoil)
    tube.run()
    assert tube.where("a") == tube.where("b") == "done"
    assert [record["text"] for record in journals.of(tube.layout, "a").replies] == [
        "and one thing more\n"
    ]


def test_who_begins_removes_nothing_that_it_writes_itself(tmp_path):
    """A thread of the watcher may have begun to write before it tidies; who had its pid before has not."""
    store = Tube(tmp_path).store
    store.prepare()
    mine = smallfiles.scratch(store.layout, "x")
    hidden = store.layout.file("inbox", f".x.yaml.{owners.fresh()}.tmp")
    left = f"{store.layout.state}/tmp/{os.getpid()}-{owners.namespace()}.x"
    dead = store.layout.file("inbox", f".x.yaml.{os.getpid()}-{owners.namespace()}.{'0' * 12}.tmp")
    for path in (mine, hidden, left, dead):
        Path(path).touch()
    assert len(recovery.tidy(store)) == 2
    assert [os.path.exists(path) for path in (mine, hidden, left, dead)] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("token", ("369802717172", "00000000000a", "f" * 12))
def test_no_random_part_of_a_name_is_taken_for_a_process(tmp_path, monkeypatch, token):
    """What a living process was about to submit was removed, one time in 280."""
    monkeypatch.setattr(owners, "_OURS", token[:4])
    store = Tube(tmp_path).store
    store.prepare()
    owner = f"{os.getpid()}-{owners.namespace()}.{token}"
    Path(store.layout.file("inbox", f".x.yaml.{owner}.tmp")).touch()
    assert recovery.tidy(store) == []


@pytest.mark.parametrize("kind", ("fifo", "link", "gone"))
def test_the_folder_of_temporary_files_is_made_again(layout, tmp_path, kind):
    place = tmp_path / "work/.state/tmp"
    place.rmdir() if kind == "gone" else replaced(place, kind)
    Path(smallfiles.scratch(layout, "x")).touch()
    assert is_folder(str(place)) and len(list(place.iterdir())) == 1


@pytest.mark.parametrize("code", (errno.EACCES, errno.EPERM))
def test_a_file_that_keeps_us_out_is_none(tmp_path, monkeypatch, code):
    """It concerns itself alone, as a pipe in its place does, and is no fault of the disk."""

    def refused(path, *_: object) -> int:
        raise PermissionError(code, os.strerror(code), path)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(opening.NotAFile):
        opening.descriptor(str(tmp_path / "x"))


@pytest.mark.parametrize("name", ("x" * 255, "\u00e9" * 127))
def test_what_gives_way_may_have_any_name(tmp_path, name):
    """A pipe with the longest name beside the second names of event files kept the log from being written."""
    deep = tmp_path / "/".join(["d" * 50] * 5)
    deep.mkdir(parents=True)
    made = Layout(str(deep))
    folders.make(made)
    for number in (1, 2):
        odd(deep / "work/.state/log" / name, "fifo")
        log = EventLog(made, "watch")
        log.append([log.event("watcher_started", "w", number)])
        log.close()
    assert len(list((deep / "work/logs/.displaced").iterdir())) == 2
    assert len(eventreader.events(made)[0]) == 2


@pytest.mark.parametrize("name", (*FOLDER_NAMES, ".state"))
def test_a_link_in_place_of_a_folder_of_work_stays_and_stops_everything(layout, tmp_path, name):
    shutil.rmtree(layout.folder(name))
    (tmp_path / "work" / name).symlink_to(tmp_path)
    with pytest.raises(StoreFault, match=f"work/{name} is a link"):
        folders.make(layout)
    assert os.path.islink(layout.folder(name))


@pytest.mark.parametrize("kind", (*KINDS, "folder"))
@pytest.mark.parametrize("which", ("events", ".state/log"))
def test_the_log_goes_on_whatever_lies_in_its_place(layout, tmp_path, which, kind):
    """The second name of the file has what the first one had: no event is lost unless both names are."""
    log = EventLog(layout, "watch")
    log.append([log.event("watcher_started", "w", 1)])
    (path,) = (tmp_path / "work" / which).iterdir()
    replaced(path, kind)
    for step in (2, 3):
        log.append([log.event("watcher_started", "w", step)])
    log.close()
    again = EventLog(layout, "watch")
    again.append([again.event("watcher_started", "w", 4)])
    again.close()
    found = sorted(event["event_id"] for event in eventreader.events(layout)[0])
    assert found == [f"w/{step}/watcher_started" for step in (1, 2, 3, 4)]


def test_the_log_is_written_through_no_link(layout, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    os.rmdir(layout.events)
    os.symlink(tmp_path / "elsewhere", layout.events)
    log = EventLog(layout, "watch")
    with pytest.raises(OSError):
        log.append([log.event("watcher_started", "w", 1)])
    assert not list((tmp_path / "elsewhere").iterdir())


def claimed(layout: Layout, text: str = "prompt: x\n") -> tuple[Journal, str]:
    """A claimed task whose file lies in running/, and the path of the file."""
    path = layout.file(Status.RUNNING, "t.yaml")
    with open(path, "w") as file:
        file.write(text)
    info = os.stat(path)
    digest = hashlib.sha256(text.encode()).hexdigest()
    claim = {"id": "t", "text": text, "sha256": digest, "mtime_ns": 1, "inode": info.st_ino}
    return Journal("t", claim={"record": "claim", **claim}), path


@pytest.mark.parametrize("kind", (*KINDS, "folder", "grown"))
def test_the_file_of_a_task_is_put_back_whatever_lies_in_its_place(layout, kind):
    journal, path = claimed(layout)
    if kind == "grown":
        os.truncate(path, 60 << 30)
    else:
        os.unlink(path)
        odd(Path(path), kind)
        journal.claim["inode"] = os.lstat(path).st_ino  # file systems give it to the next file
    oddities = placing.put(layout, journal, "t.yaml", Status.DONE)
    final = layout.file(Status.DONE, "t.yaml")
    assert oddities and os.path.isfile(final) and not os.path.islink(final)
    with open(final) as file:
        assert file.read() == "prompt: x\n"


def test_names_that_are_no_tasks_are_told_one_by_one_only_while_they_are_few(tmp_path):
    strangers = NonTasks(Layout(str(tmp_path)))
    (tmp_path / "work/inbox").mkdir(parents=True)
    names = [f"j{n}.txt" for n in range(MANY + 50)]
    for name in names:
        (tmp_path / "work/inbox" / name).touch()
    assert len(list(strangers.news([*names, "a.yaml", ".draft", "a.error.md"]))) == MANY
    assert strangers.more == 50
    strangers.more = 0
    assert not list(strangers.news(names)) and not strangers.more


@pytest.mark.parametrize("folder, ending", [("held", ".yaml"), ("running", ".cancel")])
def test_a_folder_is_listed_once_however_many_of_its_files_are_told_of(
    tmp_path, monkeypatch, folder, ending
):
    """20,000 files that an agent wrote into held/ kept the watcher from everything else for minutes."""
    tube = Tube(tmp_path)
    tube.plan("a", End(after=60.0))
    tube.drop("a")
    place, listed = tube.layout.folder(folder), []
    for n in range(500):
        with open(f"{place}/zz{n}{ending}", "w"):
            pass

    def many() -> None:
        listed.clear()
        for n in range(500):
            tube.watcher.rooms.hints.add(f"{place}/zz{n}{ending}", renamed=False)

    def listdir(path=".", real=os.listdir):
        listed.append(str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    tube.at(20.0, many)
    tube.at(20.5, lambda: listed.append("later"))
    tube.run()
    assert 0 < listed[: listed.index("later")].count(place) < 10


@pytest.mark.parametrize("folder", ["tools", "agents", "templates", "schedules"])
def test_more_settings_than_anybody_has_are_refused_and_not_read(layout, folder):
    Path(layout.config).write_text("{}\n")
    os.makedirs(layout.folder(folder))
    for n in range(scan.MOST_SETTINGS):
        Path(layout.folder(folder), f"note-{n}.txt").touch()
    load_config(layout)
    Path(layout.folder(folder), "x.yaml").touch()
    with pytest.raises(Unusable, match=f"work/{folder} has 1001 files, and at most 1000 are read"):
        load_config(layout)
    assert len(scan.settings_names(layout.folder(folder))) == scan.MOST_SETTINGS
    assert len(templates.listed(layout.templates)) <= scan.MOST_SETTINGS


def test_a_log_that_is_a_hole_is_not_shown(tmp_path):
    path = tmp_path / "stdout.log"
    path.write_text("hello\n")
    os.truncate(path, 60 << 30)
    assert not list(logreader.LogReader(str(path)).pieces())
    assert logreader.no_log(str(path)) == "most of it is a hole"


class Counted(io.BytesIO):
    """Counts what is read of it."""

    count = 0

    def read(self, size=-1):
        self.count += len(data := super().read(size))
        return data

    def readline(self, size=-1):
        self.count += len(line := super().readline(size))
        return line


@pytest.mark.parametrize("place", [0, 4000, 7999, 8000])
@pytest.mark.parametrize("length", [100_000, 4_000_000])
def test_a_line_longer_than_any_of_ours_costs_no_search_its_length(monkeypatch, place, length):
    monkeypatch.setattr(jsonlines, "LONGEST", 1 << 17)
    lines = [b'{"ts":"%05d","x":"%s"}\n' % (n, b"y" * 300) for n in range(8000)]
    lines.insert(place, b'{"ts":"99999","x":"%s"}\n' % (b"z" * length))
    file = Counted(b"".join(lines))
    size = len(file.getvalue())
    for moment in (b"00000", b"03000", b"05000", b"07990"):
        wanted = file.getvalue().find(b'{"ts":"' + moment)
        assert logtimes._place(file, size, moment.decode(), unknown=True) <= wanted
        end = logtimes._place(file, size, moment.decode(), unknown=False) + 2 * logtimes.STEP
        assert end >= min(size, wanted)
    assert file.count < 8 * 25 * (1 << 18)
    assert jsonlines.parse_line(b'{"x":"%s"}' % (b"z" * (1 << 17))) is None
