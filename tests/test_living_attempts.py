"""A living attempt is never declared lost: the lock tells, not a pid; and an upgrade on disk changes no supervisor."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest
from conftest import ROOT, end_everything, wait_until

from orchestrator.execution import processes
from orchestrator.execution.descendants import boot_id, start_time
from orchestrator.files import card
from orchestrator.files.lockstate import locked
from orchestrator.store import atomic, recovery
from orchestrator.store.eventlog import EventLog
from orchestrator.store.ledger import Ledger
from orchestrator.store.locks import WatcherLock
from orchestrator.store.transitions import Store
from orchestrator.store.waiting import when_free

UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def can_unshare() -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("records", [1, 2], ids=["handed over", "started"])
def test_who_holds_the_lock_is_at_work_whatever_the_journal_says(project, records):
    """A watcher that is killed between handing over and `started` leaves a journal without a start, and a lock."""
    store = Store(project.layout, EventLog(project.layout, "watch"))
    facts = {"record": "claim", "id": "a", "instance": store.trust.instance}
    entry = Ledger(project.layout).create("a", facts)
    if records == 2:
        entry.append({"record": "started", "attempt": 1})
    (found,) = recovery.unfinished(store)
    assert found.step is recovery.Step.ADOPT
    found.entry.close()
    waiting = when_free(entry.path)
    assert not waiting.done()
    entry.append({"record": "exit", "attempt": 1, "code": 0})
    entry.close()
    free = waiting.result(10)
    assert free is not None and free.journal.attempt.ended["code"] == 0
    other = os.open(entry.path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    free.close()


@pytest.mark.skipif(not can_unshare(), reason="PID namespaces cannot be made here")
def test_a_watcher_in_another_pid_namespace_adopts(project, watch):
    project.config(
        "retry: {delay: 50ms}\non_lost: retry\nwatch: {rescan: 300ms}\n"
        "agents: {sh: {tool: shell, command: [sh]}}\n"
    )
    first = watch()
    go = project.root.parent / "go"
    project.drop("a.yaml", f"agent: sh\nprompt: while ! test -e {go}; do sleep 0.05; done\n")
    project.drop("b.yaml", "agent: sh\nprompt: sleep 100\n")
    wait_until(lambda: len(project.events("attempt_started")) == 2, "both run")
    first.send(signal.SIGKILL)
    first.wait()
    second = subprocess.Popen(
        [*UNSHARE, sys.executable, "-m", "orchestrator", "watch", "--quiet"],
        cwd=project.root,
        env=project.env,
        stdin=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: project.events("task_adopted", "a"), "adopted")
        project.run("cancel", "--no-wait", "b")
        project.settled("b", "cancelled")
        go.touch()
        project.settled("a", "done")
        assert len(project.events("attempt_started", "a")) == 1
        assert not project.events("task_retrying")
    finally:
        second.kill()
        second.wait()
        end_everything(project)


def test_processes_are_ended_where_pidfds_are_refused(monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "pidfd_open", refused)
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    started, boot = start_time(child.pid), boot_id()
    assert not processes.send(child.pid, started + 1, boot, signal.SIGKILL)
    assert child.poll() is None
    assert processes.send(child.pid, started, boot, signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL


def test_supervisors_run_the_code_that_their_watcher_started_with(project, watch, tmp_path):
    """An upgrade under a running watcher: `supervisor.py` of another protocol drained the queue into review/."""
    copy = tmp_path / "program"
    shutil.copytree(ROOT / "orchestrator", copy / "orchestrator", symlinks=False)
    shutil.copytree(ROOT / "schemas", copy / "schemas", dirs_exist_ok=True)
    project.env["PYTHONPATH"] = str(copy)
    project.env["PYTHONSAFEPATH"] = ""
    running = watch()
    (copy / "orchestrator/execution/supervisor.py").write_text(
        "raise SystemExit('another protocol')\n"
    )
    for number in range(6):
        project.drop(f"t{number}.yaml", "agent: sh\nprompt: sleep 0.2\n")
    for number in range(6):
        project.until(f"t{number}", "done")
    assert running.process.poll() is None


def test_three_tasks_whose_supervisor_dies_stop_the_claiming_and_a_trial_resumes(monkeypatch):
    from orchestrator.distributors import direct

    async def play() -> None:
        one = direct.DirectDistributor()
        one._pool.dead.update(dict.fromkeys("ab"))
        assert one.fault() == ""
        one._pool.dead["c"] = None
        assert "a, b, c" in one.fault()
        monkeypatch.setattr(direct, "TRIAL", 0.0)
        one._next_trial = 0.0
        for _ in range(500):
            if not one.fault():
                break
            await asyncio.sleep(0.02)
        assert one.fault() == "" and not one._pool.dead
        assert stat.S_ISCHR(os.stat(os.devnull).st_mode)  # a trial run by root once moved it aside
        one._pool.refused[None] = "No space left on device"
        assert "No space left" in one.fault()
        one.close()

    asyncio.run(play())


def test_a_watcher_in_another_container_is_known_by_its_lock(project):
    """Its pid means nothing here: nobody signals it, and nobody takes it for dead."""
    store = Store(project.layout, EventLog(project.layout, "watch"))
    facts = {"pid": 2**22 + 1, "pid_start": 1, "boot": boot_id(), "host": "there"}
    facts |= {"trust": store.trust.folder}
    words = dict.fromkeys(("version", "fault", "notifications"), "") | {"settings_read": "x"}
    store.card.write(
        {**words, **facts, "started_at": "2026-11-26T12:00:00Z", "slots": 4, "draining": False}
    )
    lock = WatcherLock(project.layout)
    lock.acquire()
    found = card.read(project.layout, time.time())
    assert found is not None and found.alive and not found.here
    assert "runs in another container" in project.run("reload", code=None).stderr
    assert project.json("status")["watcher"]["alive"]
    lock.release()
    assert not card.read(project.layout, time.time()).alive
    assert not locked(f"{project.root}/nothing")


def test_a_card_that_could_not_be_written_says_so_by_its_mode(project, monkeypatch):
    """A file system that copies on write refuses to change a file as it refuses to make one."""
    store = Store(project.layout, EventLog(project.layout, "watch"))
    facts = {"pid": os.getpid(), "pid_start": 1, "boot": "", "host": "here", "fault": ""}
    words = dict.fromkeys(("version", "notifications", "started_at"), "")
    whole = {**words, **facts, "slots": 4, "draining": False}
    store.card.write(whole)
    assert card.read(project.layout, time.time()).fault == ""

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "publish", full)
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError):
            store.card.write({**whole, "fault": "Disk quota exceeded"})
        assert card.read(project.layout, time.time()).fault == card.UNWRITTEN
    store.card.write(whole)
    assert card.read(project.layout, time.time()).fault == ""
