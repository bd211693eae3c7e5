"""Counting names as one text says what asking each name says; a part of a log has what was written then."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from conftest import wait_until
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import StoreFault
from orchestrator.files import collections, documents, jsonlines, logtimes, replies, scan
from orchestrator.files import foldercounts as foldercounts_read
from orchestrator.files.eventreader import about
from orchestrator.files.layout import Layout
from orchestrator.model import quota
from orchestrator.model.status import Status
from orchestrator.store import foldercounts, folders, ledger, places
from orchestrator.store.ledger import Ledger
from orchestrator.tools import changes, queries, when

ROOT = Path(__file__).parent.parent

PARTS = ["a", "t1", ".", "_", "#", "@", "~", " ", "(1)", ".tmp", ".bak", "-conflict-", "conflict", ".reply", ".error", "base", "\n", "."]  # fmt: skip
ENDS = [".yaml", ".yml", ".md", "", ".txt", ".yaml~", ".error.md", ".gitkeep"]
NAMES = st.builds(lambda parts, end: "".join(parts) + end, st.lists(st.sampled_from(PARTS), max_size=4), st.sampled_from(ENDS)).filter(bool)  # fmt: skip


@given(st.lists(NAMES, unique=True, max_size=12))
def test_names_are_counted_as_they_are_judged(names):
    assert scan.count(names) == sum(map(scan._counts, names))


def line(second: int, task: str = "x") -> str:
    moment = f"2026-11-22T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.000Z"
    more = {"schema_version": 1, "event": "task_note", "task_id": task, "pad": "x" * 100}
    return json.dumps({"ts": moment, "event_id": f"e{second}", **more}, separators=(",", ":")) + "\n"  # fmt: skip


def test_a_part_of_a_log_has_what_was_written_then(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [line(second) for second in range(20_000)]
    path.write_text("".join(lines))
    for since, until in ((0, 19_999), (5_000, 5_003), (12_345, 12_345), (19_990, 19_999), (0, 0)):
        moments = [json.loads(lines[place])["ts"] for place in (since, until)]
        data = logtimes.between(str(path), *moments)
        found = [event["event_id"] for event in jsonlines.split(data)[0]]
        assert {f"e{second}" for second in range(since, until + 1)} <= set(found)
        if until - since < 10:
            assert len(data) < 1 << 19
    assert logtimes.between(str(path), "", "") == path.read_bytes()
    assert logtimes.between(str(tmp_path / "none"), "", "") == b""


def test_events_of_a_task_are_found_in_the_middle_of_a_long_log(tmp_path):
    layout = Layout(str(tmp_path))
    (tmp_path / "work/events").mkdir(parents=True)
    lines = [line(second, "mine" if second in (9_000, 9_007) else "x") for second in range(18_000)]
    (tmp_path / "work/events/2026-11-22.w.jsonl").write_text("".join(lines))
    span = ("2026-11-22T02:29:00.000Z", "2026-11-22T02:31:00.000Z")
    found = about(layout, "task_id", "mine", "2026-11-21", *span)
    assert [event["event_id"] for event in found] == ["e9000", "e9007"]
    assert about(layout, "task_id", "mine") == found


def test_folders_are_looked_at_again_once_one_was_put_there(tmp_path):
    """All is as it was as long as the work directory has its time; a link in a folder's place changes that."""
    layout = Layout(str(tmp_path))
    folders.make(layout)
    wait_until(lambda: places.check_folders(layout) or layout.work in places._checked, "kept")
    (tmp_path / "elsewhere").mkdir()
    os.rename(layout.folder("results"), tmp_path / "moved")
    os.symlink(tmp_path / "elsewhere", layout.folder("results"))
    with pytest.raises(StoreFault, match="work/results is a link"):
        places.check_folders(layout)
    with pytest.raises(StoreFault, match="work/results is a link"):
        places.check_folders(layout)


def test_a_journal_that_is_locked_first_is_read_once(tmp_path, monkeypatch):
    layout = Layout(str(tmp_path))
    folders.make(layout)
    with Ledger(layout).create("a", {"record": "claim", "v": 1, "id": "a"}) as made:
        made.append({"record": "started", "attempt": 1})
    reads = []
    monkeypatch.setattr(ledger, "_read", lambda fd, read=ledger._read: reads.append(fd) or read(fd))
    entry = Ledger(layout).unread("a")
    assert entry.lock() and entry.journal.attempt.number == 1
    assert len(reads) == 1
    entry.close()


def test_the_reference_names_the_limits_of_a_file():
    text = (ROOT / "docs/reference/on-disk-format.md").read_text()
    (said,) = re.findall(r"\*\*Limits of a file\*\*: (.*?)\n\n", text, re.DOTALL)
    assert f"{documents.MAX_BYTES >> 20} MiB;" in said
    assert f"{documents.MAX_DEPTH} levels of nesting" in said
    assert f"{documents.MAX_NODES:,} values" in said
    assert f"{documents.MAX_TASKS:,} tasks in a run" in said
    assert f"at most {changes.MOST} files" in said


HUGE = "1" + "0" * 400


def test_a_number_that_nobody_can_calculate_with_is_null():
    """Whatever a tool prints, what is made of it (a cost, a moment, a share) is a number or missing."""
    line = f'{{"a": [{HUGE}, -{HUGE}, {"9" * 5000}, 7], "b": {2**80}}}'.encode()
    for found in (
        jsonlines.parse_line(line),
        *queries.events_of(line),
        collections.read_json(line),
    ):
        assert found == {"a": [None, None, None, 7], "b": 2**80}
    assert when.moment(float(HUGE), 0.0) is None


def test_windows_of_a_plan_that_are_no_numbers_are_left_out():
    (said,) = queries.events_of(f'{{"used": {HUGE}, "resets": {HUGE}, "window": "5 h"}}'.encode())
    assert quota.window_from(said, 0.0) is None


@pytest.mark.parametrize(
    "said, counts",
    [({"used": 1.2, "resets": 7200.0}, 7200.0), ({"used": 0.9, "resets": 9e9}, None)],
)
def test_a_window_ends_within_months_whatever_an_agent_prints(said, counts):
    """Else one line would keep its tool's less urgent tasks waiting for a century."""
    found = quota.window_from({"window": "5 h", **said}, 0.0)
    assert found is not None and found.resets == counts
    assert quota.window_from({"window": "5 h", **said, "used": 1e22}, 0.0) is None


def resting(folder: Path) -> None:
    """Wait until the last change of a folder is old enough to be told from the next."""
    wait_until(lambda: time.time_ns() - os.lstat(folder).st_ctime_ns > 2 * foldercounts.RESTS)


def test_what_was_counted_counts_until_the_folder_changes(project, monkeypatch):
    """Large folders of ended tasks are listed by a watcher, not by every verb."""
    done = project.work / "done"
    for number in range(foldercounts.LEAST):
        (done / f"t{number}.yaml").write_text("prompt: x\n")
    resting(done)
    project.run("watch", "--until-empty")
    assert "done" in foldercounts_read.written(project.layout)
    (done / "t1.reply.md").write_text("More, please.\n")
    resting(done)
    foldercounts.keep(project.layout)
    listed: list[str] = []
    names = lambda folder: listed.append(os.path.basename(folder)) or scan.names(folder)  # noqa: E731
    assert scan.counts(project.layout, names=names)[Status.DONE] == foldercounts.LEAST
    assert [name for _, _, name in replies.listed(project.layout, names=names)] == ["t1.reply.md"]
    assert "done" not in listed and "failed" in listed
    (done / "one-more.yaml").write_text("prompt: x\n")
    (done / "t2.reply").write_text("More, please.\n")
    assert scan.counts(project.layout, names=names)[Status.DONE] == foldercounts.LEAST + 1
    assert len(replies.listed(project.layout)) == 2
    resting(done)
    foldercounts.keep(project.layout)
    listed.clear()
    assert scan.counts(project.layout, names=names)[Status.DONE] == foldercounts.LEAST + 1
    assert "done" not in listed


@pytest.mark.parametrize(
    "text", ["", "[", "[]", '{"done": 1}', '{"done": {"tasks": 3}}', '{"done": null}', "[" * 5000]
)
def test_counts_that_nobody_understands_count_nothing(project, text):
    (project.work / "done/a.yaml").write_text("prompt: x\n")
    (project.work / ".state").mkdir(exist_ok=True)
    Path(foldercounts_read.path(project.layout)).write_text(text)
    assert scan.counts(project.layout)[Status.DONE] == 1
    state = foldercounts_read.state_of(project.layout.folder(Status.DONE))
    for more in ({}, {"tasks": -1, "others": []}, {"tasks": True, "others": []}, {"tasks": 7}):
        text = json.dumps({"done": {**(state or {}), **more}})
        Path(foldercounts_read.path(project.layout)).write_text(text)
        assert scan.counts(project.layout)[Status.DONE] == 1
