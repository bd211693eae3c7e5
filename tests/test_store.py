"""The write side against real disks: torn files, full disks, and many claimants."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import Project, wait_until

from orchestrator.errors import StoreFault, Taken
from orchestrator.files import eventreader, scan
from orchestrator.model.journal import Phase
from orchestrator.store import atomic
from orchestrator.store.eventlog import EventLog, GroupCommit, NewFile
from orchestrator.store.transitions import Store


@pytest.fixture
def tiny(tmp_path):
    """A folder on a file system of one megabyte."""
    place = tmp_path / "tiny"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("file systems cannot be mounted here (needs root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(folder: Path) -> Path:
    """Use up every byte; the file to remove to have room again."""
    path = folder / "ballast"
    with open(path, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return path


def test_moves_never_overwrite(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        atomic.move(str(tmp_path / "a"), str(tmp_path / "b"))
    with pytest.raises(FileNotFoundError):
        atomic.move(str(tmp_path / "x"), str(tmp_path / "y"))
    assert (tmp_path / "a").read_text() == "a" and (tmp_path / "b").read_text() == "b"


def test_moves_without_renameat2(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_renameat2", lambda: None)
    test_moves_never_overwrite(tmp_path)
    atomic.move(str(tmp_path / "a"), str(tmp_path / "c"))
    assert not (tmp_path / "a").exists() and (tmp_path / "c").read_text() == "a"


def test_a_full_disk_publishes_nothing(tiny):
    fill(tiny)
    with pytest.raises(OSError):
        atomic.publish(str(tiny / "x"), b"y" * 100_000, str(tiny / "t"))
    assert sorted(path.name for path in tiny.iterdir()) == ["ballast"]


def test_group_commit_shares_and_keeps_order(project):
    log = GroupCommit(EventLog(project.layout, "watch"))
    threads = [
        threading.Thread(
            target=lambda number=number: log.commit(
                [log.event("task_claimed", f"t{number}", 1, task_id=f"t{number}")]
            ).result(10)
        )
        for number in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert len(project.events("task_claimed")) == 50


def test_a_commit_is_durable_before_it_is_acknowledged(project):
    log = GroupCommit(EventLog(project.layout, "watch"))
    temporary = project.work / ".state" / "tmp" / "r"
    atomic.write_temporary(str(temporary), b"result\n", sync=False)
    log.commit(
        [log.event("task_finished", "t", 1, task_id="t")],
        [NewFile(str(temporary), project.layout.result("t"))],
    ).result(10)
    assert (
        project.work / "results" / "t.yaml"
    ).read_text() == "result\n" and not temporary.exists()
    assert project.events("task_finished", "t")
    log.close()


def test_events_survive_a_full_disk(tiny):
    place = Project(tiny)
    place.run("init")
    log = GroupCommit(EventLog(place.layout, "watch"))
    log.commit([log.event("watcher_started", "w", 1)]).result(10)
    ballast = fill(tiny)
    with pytest.raises(StoreFault):
        log.commit(
            [log.event("task_claimed", "t", number, summary="x" * 3000) for number in range(20)]
        ).result(10)
    log.note(log.event("store_failed", "w", 1))  # nobody waits for this one: it must not be lost
    wait_until(lambda: log.unsaved == 1, "it is kept")
    ballast.unlink()
    log.commit([log.event("task_finished", "t", 1)]).result(10)
    log.close()
    found, bad = eventreader.events(place.layout)
    assert {"watcher_started", "store_failed", "task_finished"} <= {
        event["event"] for event in found
    }
    assert bad <= 1  # the line that was cut off by the full disk


@pytest.mark.process
def test_a_watcher_on_a_full_disk(tiny):
    """Claiming stops and says why; what runs goes on; everything is recorded once there is room."""
    from conftest import WatcherProcess, end_everything

    place = Project(tiny)
    place.run("init")
    place.config("agents: {sh: {tool: shell, command: [sh]}}\nwatch: {rescan: 200ms}\n")
    outside = tiny.parent
    watcher = WatcherProcess(place)
    try:
        watcher.ready()
        place.drop(
            "a.yaml",
            "agent: sh\nprompt: |\n  while ! test -e "
            + str(outside / "go")
            + "; do sleep 0.02; done; exit 3\n",
        )
        place.until("a", "running")
        wait_until(lambda: place.events("attempt_started", "a"), "a runs")
        place.drop("b.yaml", "prompt: x\nhold: true\n")
        (place.work / "inbox" / "b.yaml").read_text()
        ballast = fill(tiny)
        os.rename(place.work / "inbox" / "b.yaml", place.work / "held" / "b.yaml")
        (outside / "go").touch()
        wait_until(lambda: "fault" in watcher.text(), "it says so")
        assert place.where("a") == "running"
        ballast.unlink()
        place.settled("a", "failed")
        wait_until(lambda: "recovered" in watcher.text(), "it recovers")
        assert place.result("a")["exit_code"] == 3
        place.drop("c.yaml", "agent: sh\nprompt: 'true'\n")
        place.settled("c", "done")
        assert {event["event"] for event in place.events()} >= {
            "store_failed",
            "store_recovered",
            "task_finished",
        }
    finally:
        watcher.stop()
        end_everything(place)


CLAIM = """
import sys
from orchestrator.errors import Taken
from orchestrator.files.layout import Layout
from orchestrator.files.requests import read
from orchestrator.store.eventlog import EventLog
from orchestrator.store.claiming import Vanished
from orchestrator.store.transitions import Store
layout = Layout(sys.argv[1])
store = Store(layout, EventLog(layout, "cli"))
for number in range(int(sys.argv[2])):
    name = f"t{number}.yaml"
    try:
        content = read(f"{layout.work}/inbox/{name}")
        entry = store.claim(f"t{number}", name, content, {})
        entry.close()
        print(f"t{number}")
    except (Taken, Vanished, FileNotFoundError):
        pass
"""


def test_many_claimants_every_claim_once(project):
    count = 100
    for number in range(count):
        (project.work / "inbox" / f"t{number}.yaml").write_text("prompt: x\n")
    claimants = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(project.root), str(count)],
            stdout=subprocess.PIPE,
            text=True,
            env={**project.env, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        for _ in range(4)
    ]
    claimed = [line for claimant in claimants for line in claimant.communicate()[0].split()]
    assert sorted(claimed) == sorted(f"t{number}" for number in range(count))
    assert len(list((project.work / "running").glob("*.yaml"))) == count


def test_ledger_refuses_a_second_claim(project):
    store = Store(project.layout, EventLog(project.layout, "watch"))
    ledger, named = store.ledger, store.trust.instance
    entry = ledger.create("Task", {"record": "claim", "id": "Task", "instance": named})
    with pytest.raises(Taken):
        ledger.create("TASK", {"record": "claim", "id": "TASK"})
    other = ledger.open("task")
    assert not other.lock()  # the claimant is at it
    entry.close()
    assert other.lock()
    ledger.retire(other)
    with pytest.raises(Taken):
        ledger.create("task", {"record": "claim", "id": "task"})


@pytest.mark.parametrize("keep", range(0, 180, 7))
def test_a_torn_journal_is_read_and_continued(project, keep):
    store = Store(project.layout, EventLog(project.layout, "watch"))
    ledger, named = store.ledger, store.trust.instance
    claim = {"record": "claim", "id": "t", "text": "prompt: x\n", "instance": named}
    entry = ledger.create("t", claim)
    entry.append({"record": "started", "attempt": 1, "at": 1.0})
    entry.close()
    path = Path(project.layout.journal("t"))
    data = path.read_bytes()
    path.write_bytes(data[:keep])
    again = ledger.open("t")
    again.append({"record": "exit", "attempt": 1, "at": 2.0})
    again.close()
    lines = [line for line in path.read_bytes().split(b"\n") if line]
    assert json.loads(lines[-1])["record"] == "exit"
    journal = ledger.open("t").journal
    if keep >= data.index(b"\n"):
        assert journal.last["record"] == "exit"
    else:  # the claim is durable before the task moves: without it nothing is understood
        assert journal.phase is Phase.BLOCKED


def test_submit_refuses_taken_ids(project):
    store = Store(project.layout, EventLog(project.layout, "cli"))
    store.submit("t", "prompt: x\n")
    with pytest.raises(Taken):
        store.submit("t", "prompt: y\n")
    assert (project.work / "inbox" / "t.yaml").read_text() == "prompt: x\n"
    assert [
        path.name for path in (project.work / "inbox").iterdir() if path.name != ".gitkeep"
    ] == ["t.yaml"]


def test_a_task_that_is_being_claimed_is_somewhere(project):
    """Looked for in running/ before and in the inbox after its claim, it was nowhere: a contest went to review without
    it, and who needs it was told that it does not exist."""
    layout, name = project.layout, "t.yaml"
    place, target = layout.file("inbox", name), layout.file("running", name)
    for _ in range(400):
        Path(place).write_text("prompt: x\n")
        claim = threading.Thread(target=os.rename, args=(place, target))
        claim.start()
        while (found := scan.locate(layout, "t")) and found[0] != "running":
            pass
        claim.join()
        assert found is not None
        os.unlink(target)
