"""Between the claim and the start a power cut may come: the journal is durable before the task's file moves."""

from __future__ import annotations

import errno
import os

import pytest

from orchestrator.files import bounds
from orchestrator.files.requests import read
from orchestrator.store import atomic, recovery
from orchestrator.store.claiming import Vanished
from orchestrator.store.eventlog import EventLog, GroupCommit
from orchestrator.store.transitions import Store


@pytest.fixture
def store(project):
    return Store(project.layout, EventLog(project.layout, "watch"))


def offered(project, task_id="a"):
    path = project.drop(f"{task_id}.yaml", "agent: sh\nprompt: echo x\n")
    return path, read(str(path))


def test_the_journal_and_its_name_are_on_disk_before_the_task_moves(project, store, monkeypatch):
    _, content = offered(project)
    done = []
    real_sync, real_move = os.fsync, atomic.move

    def sync(fd):
        real_sync(fd)
        done.append(("sync", os.readlink(f"/proc/self/fd/{fd}")))

    def move(source, target):
        real_move(source, target)
        done.append(("move", target))

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(atomic, "move", move)
    store.claim("a", "a.yaml", content, {}).close()
    moved = done.index(("move", f"{project.work}/running/a.yaml"))
    assert done.index(("sync", project.layout.journal("a"))) < moved
    assert done.index(("sync", project.layout.active)) < moved


@pytest.mark.parametrize("left", [b"", b"\0" * 300])
def test_a_file_in_running_beside_an_empty_journal_goes_back_to_the_queue(project, store, left):
    """btrfs and ext4 keep the renames and neither the content: it was claimed here and never started."""
    path, content = offered(project)
    entry = store.claim("a", "a.yaml", content, {})
    entry.close()
    with open(entry.path, "wb") as file:
        file.write(left)
    assert recovery.unfinished(store) == [] and recovery.foreign(store) == []
    assert path.exists() and content.sha256 in open(store.trust.approvals).read()
    assert not os.path.exists(entry.path)


def test_a_claim_that_the_disk_refuses_leaves_the_task_where_it_is(project, store, monkeypatch):
    path, content = offered(project)

    def refuse(fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError):
        store.claim("a", "a.yaml", content, {})
    monkeypatch.undo()
    assert path.exists() and not os.path.exists(project.layout.journal("a"))
    store.claim("a", "a.yaml", content, {}).close()
    assert project.where("a") == "running"


def test_a_claim_of_a_file_that_was_saved_anew_or_withdrawn_comes_to_nothing(project, store):
    path, content = offered(project)
    offered(project)  # another inode
    with pytest.raises(Vanished):
        store.claim("a", "a.yaml", content, {})
    assert path.exists()
    claim = store.begin_claim("a", "a.yaml", read(str(path)), {})
    path.unlink()
    log = GroupCommit(EventLog(project.layout, "watch"))
    assert log.commit([], claim=claim).exception() is not None
    log.close()
    claim.undo()
    assert not os.path.exists(project.layout.journal("a")) and project.where("a") == ""


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_lies_in_running_in_place_of_an_ended_task_ends_no_watcher(project, store, make):
    """An agent put it there; a watcher that begins has it looked at by a person."""
    _, content = offered(project)
    entry = store.claim("a", "a.yaml", content, {})
    os.unlink(project.work / "running/a.yaml")
    entry.append({"record": "final", "status": "done", "born": 1}, sync=True)
    store.ledger.retire(entry)
    entry.close()
    make(project.work / "running/a.yaml")
    assert recovery.foreign(store) == ["a"]
    assert os.path.lexists(project.work / "review/a.yaml")


@pytest.mark.parametrize("before", ["new", "requeued"])
def test_a_claim_that_cannot_be_undone_lets_go_of_its_journal(project, store, monkeypatch, before):
    """On a disk that had become read-only the watcher kept the lock, and told the task for good
    that it was running."""
    path, content = offered(project)
    if before == "requeued":
        with store.claim("a", "a.yaml", content, {}) as entry:
            store.requeue(entry, by="a person")
        content = read(str(path))
    claim = store.begin_claim("a", "a.yaml", content, {})

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("unlink", "write", "rename"):
        monkeypatch.setattr(os, name, refuse)
    claim.undo()
    monkeypatch.undo()
    store.begin_claim("a", "a.yaml", content, {}).entry.close()
    assert claim.entry.fd < 0


def test_the_machine_bounds_no_task(project, monkeypatch):
    """What an agent in a sandbox has dropped is bound the most where its record cannot be read; a
    disk that fails is no such record, and sent tasks of people to review."""
    opened = os.open

    def refuse(path, *more, **named):
        if "/dropped/" in str(path):
            raise OSError(errno.EIO, "Input/output error")
        return opened(path, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError):
        bounds.of_id(project.layout, "a")
