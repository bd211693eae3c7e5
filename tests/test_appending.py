"""Appending survives torn tails, NULs, and files that are taken away; the clone's name survives a power cut."""

from __future__ import annotations

import fcntl
import json
import os
import threading

import pytest

from orchestrator.errors import StoreFault
from orchestrator.files import jsonlines
from orchestrator.files.layout import Layout
from orchestrator.store import appending
from orchestrator.store.eventlog import EventLog, clone_name


def line(number: int) -> bytes:
    return json.dumps({"n": number}).encode() + b"\n"


@pytest.mark.parametrize("tail", [b'{"n": 1', b"\0\0\0\0\0", b'{"n": 9}\n\0\0\0', b"\xff\xc3"])
def test_what_follows_a_torn_tail_is_read(tmp_path, tail):
    path = tmp_path / "x.jsonl"
    path.write_bytes(line(0) + tail)
    appending.append(str(path), line(2))
    assert jsonlines.read(str(path))[0][-1] == {"n": 2}
    assert jsonlines.read(str(path))[0][0] == {"n": 0}


@pytest.mark.parametrize("what", ["file", "events"])
def test_a_lock_that_somebody_keeps_is_told(tmp_path, monkeypatch, what):
    """An agent can lock what it may read, for as long as it runs: no verb waits for that."""
    monkeypatch.setattr(appending, "LONGEST", 0.1)
    layout = Layout(str(tmp_path))
    log = EventLog(layout, "cli")
    log.commit_and_wait([log.event("task_submitted", "a", 1, task_id="a")])
    (path,) = (tmp_path / "work/events").iterdir()
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises((OSError, StoreFault), match="another process keeps it locked"):
            if what == "file":
                appending.append(str(path), line(1))
            else:
                log.commit_and_wait([log.event("task_submitted", "b", 1, task_id="b")])
    log.commit_and_wait([log.event("task_submitted", "c", 1, task_id="c")])
    assert [event["task_id"] for event in jsonlines.read(str(path))[0]] == ["a", "c"]


def test_many_writers_lose_no_line_while_the_file_is_replaced(tmp_path):
    """git replaces a file by a rename: a line is in the file before or after, never in one that has no name."""
    path = tmp_path / "x.jsonl"

    taken, written = threading.Event(), {0: 0, 1000: 0, 2000: 0}

    def write(start: int) -> None:
        for number in range(start, start + 1000):
            appending.append(str(path), line(number))
            written[start] = number
            if number >= start + 50 and taken.is_set():
                return

    threads = [threading.Thread(target=write, args=(start,)) for start in written]
    for thread in threads:
        thread.start()
    rounds = 0
    while any(thread.is_alive() for thread in threads):
        if path.exists() and path.stat().st_size > 40:
            os.rename(path, tmp_path / f"taken{rounds}")
            rounds += 1
            taken.set()
    for thread in threads:
        thread.join()
    kept = b"".join(found.read_bytes() for found in tmp_path.iterdir())
    numbers = {record["n"] for record in jsonlines.split(kept)[0]}
    assert rounds and numbers == {
        number for first, last in written.items() for number in range(first, last + 1)
    }


def test_a_line_is_never_acknowledged_in_a_file_that_is_gone(tmp_path, monkeypatch):
    """The file is taken away between the writing and the acknowledgement: it is written once more, under the name."""
    path = tmp_path / "x.jsonl"
    sync, calls = os.fdatasync, []

    def taken(fd: int) -> None:
        sync(fd)
        if not calls:
            calls.append(os.unlink(path))

    monkeypatch.setattr(os, "fdatasync", taken)
    appending.append(str(path), line(1))
    assert calls and jsonlines.read(str(path))[0] == [{"n": 1}]


def test_a_clone_keeps_its_name_and_mends_one_that_a_power_cut_emptied(project):
    first = clone_name(project.layout)
    assert clone_name(project.layout) == first
    with open(project.layout.writer, "wb"):
        pass
    second = clone_name(project.layout)
    assert second and clone_name(project.layout) == second
