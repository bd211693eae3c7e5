"""Whose edit a change of the settings was, when nobody watched: a person's counts, an attempt's waits for a yes."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from pathlib import Path

import pytest

from orchestrator.cli.waking import has_read
from orchestrator.coordination.changes import Changes
from orchestrator.coordination.settings import Settings
from orchestrator.errors import Refused
from orchestrator.files import trust
from orchestrator.files.card import Card
from orchestrator.files.configuration import load_config
from orchestrator.files.layout import Layout
from orchestrator.store import appending
from orchestrator.store.acceptance import Acceptance, snapshot
from orchestrator.tools.specs import Toolbox


@pytest.fixture
def accepted(tmp_path) -> Acceptance:
    """Settings that were accepted, and an attempt that is alive since ten seconds."""
    layout = Layout(str(tmp_path / "p"))
    for folder in ("work/.state/active", "work/.state/closed"):
        (tmp_path / "p" / folder).mkdir(parents=True)
    (tmp_path / "p/work/orchestrator.yaml").write_text("limits: {running: 2}\n")
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    made = Acceptance(layout, trust.Trust(str(trusted), trust.KNOWN, "x", str(trusted)))
    made.accept(snapshot(layout))
    (trusted / "alive.json").write_text(json.dumps({"since": time.time() - 10}))
    return made


def journal(accepted: Acceptance, task_id: str, *ended: float, closed=False, check=0.0) -> None:
    """A journal of attempts that ended so many seconds ago, and perhaps of a check of the last one."""
    now = time.time()
    records = [{"record": "claim", "id": task_id, "file": f"{task_id}.yaml", "text": "", "ino": 1}]
    for number, ago in enumerate(ended, 1):
        records.append({"record": "started", "attempt": number, "at": now - ago - 1})
        records.append({"record": "exit", "attempt": number, "at": now - ago})
    if check:
        number = len(ended)
        records.append(
            {"record": "started", "attempt": number, "at": now - check, "check": "tests"}
        )
        records.append({"record": "exit", "attempt": number, "at": now})
    with open(accepted.layout.journal(task_id, closed), "w", encoding="utf-8") as file:
        file.write("".join(json.dumps(record) + "\n" for record in records))


def change(accepted: Acceptance) -> list[str]:
    with open(accepted.layout.config, "w", encoding="utf-8") as file:
        file.write("limits: {running: 9}\n")
    return accepted.review()


def test_what_changed_long_after_the_last_end_is_a_person_s(accepted):
    journal(accepted, "a", 5)
    assert change(accepted) == []


@pytest.mark.parametrize("when", ["before the change", "after it"])
def test_a_clock_that_was_set_back_hides_no_change(accepted, tmp_path, monkeypatch, when):
    """Times of before are later than those of after: nobody can tell what was first."""
    set_back = time.time() - 3600
    if when == "before the change":
        (tmp_path / "trusted/alive.json").write_text(json.dumps({"since": time.time() + 3600}))
        journal(accepted, "a", 0)
    else:
        journal(accepted, "a", 3600)
        monkeypatch.setattr(time, "time", lambda: set_back)
    assert change(accepted) == ["work/orchestrator.yaml changed while a task ran"]


@pytest.mark.parametrize("what", ["orchestrator.yaml", "tools"])
def test_a_link_that_came_while_an_attempt_was_alive(accepted, tmp_path, what):
    """The file that it leads to is older than the attempt."""
    old = tmp_path / "old"
    old.mkdir()
    (old / "orchestrator.yaml").write_text("limits: {running: 9}\n")
    (old / "t.yaml").write_text("argv: [touch, evil]\n")
    since = time.time()
    (tmp_path / "trusted/alive.json").write_text(json.dumps({"since": since}))
    link = tmp_path / "p/work" / what
    target = old if what == "tools" else old / what
    while not link.is_symlink() or link.lstat().st_ctime < since:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    said = accepted.review()
    assert said and all("changed while a task ran" in line for line in said), said


def test_what_a_link_leads_to_changed_while_an_attempt_was_alive(accepted, tmp_path):
    config = tmp_path / "p/work/orchestrator.yaml"
    config.rename(tmp_path / "real.yaml")
    config.symlink_to(tmp_path / "real.yaml")
    accepted.accept(snapshot(accepted.layout))
    since = time.time()
    (tmp_path / "trusted/alive.json").write_text(json.dumps({"since": since}))
    while (tmp_path / "real.yaml").stat().st_ctime < since:
        (tmp_path / "real.yaml").write_text("limits: {running: 9}\n")
    assert accepted.review() == ["work/orchestrator.yaml changed while a task ran"]


def test_an_attempt_that_is_put_away_counts_until_its_end(accepted):
    """One that waits for a retry ended long ago; the other changed the settings, ended, and was put away."""
    journal(accepted, "a", 5)
    journal(accepted, "b", 0, closed=True)
    assert change(accepted) == ["work/orchestrator.yaml changed while a task ran"]


def test_a_check_counts_until_its_end(accepted):
    """A check runs what the agent wrote."""
    journal(accepted, "a", 5, check=2)
    assert change(accepted) == ["work/orchestrator.yaml changed while a task ran"]


def test_a_journal_that_is_not_understood_may_be_alive(accepted):
    journal(accepted, "a", 5)
    with open(accepted.layout.journal("b"), "w", encoding="utf-8") as file:
        file.write('{"record": "claim", "id": "b", "v": 99}\n')
    assert change(accepted) == ["work/orchestrator.yaml changed while a task ran"]


def test_the_start_of_the_first_attempt_survives_a_power_cut(accepted, monkeypatch):
    accepted.end()
    synced = []
    monkeypatch.setattr("os.fsync", lambda fd: synced.append(fd))
    accepted.begin()
    assert synced
    synced.clear()
    accepted.begin()
    assert not synced  # the next ones cost nothing


def test_a_yes_outlasts_a_hold_at_the_same_moment(accepted):
    """A verb accepts while the watcher holds what it has just read: the yes was written over."""
    watcher = Acceptance(accepted.layout, accepted.known)
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            watcher.hold()
            watcher.release()
            time.sleep(0.002)  # who wants the lock looks for it from time to time

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        for number in range(40):
            with open(accepted.layout.config, "w", encoding="utf-8") as file:
                file.write(f"limits: {{running: {number}}}\n")
            accepted.accept(snapshot(accepted.layout))
            assert accepted.equal(), number
    finally:
        over.set()
        thread.join()


def test_who_keeps_the_record_locked_keeps_nobody_for_ever(accepted, monkeypatch):
    """An agent without a sandbox can: what it changes is held all the same, until a person's yes."""
    monkeypatch.setattr(appending, "LONGEST", 0.05)
    fd = os.open(accepted.known.folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert change(accepted)
        accepted.hold()
        assert accepted.review() == ["work/orchestrator.yaml changed while tasks ran, or later"]
        accepted.accept(snapshot(accepted.layout))
        assert not accepted.review()
    finally:
        os.close(fd)


def card(read: str, **more) -> Card:
    """What a watcher says that has read the settings at this moment."""
    return Card(1, "here", "", "1", 2, "", False, "", 0.0, True, settings_read=read, **more)


def test_a_reading_from_before_the_yes_does_not_answer_it(accepted):
    """The watcher may be reading on its own when `reload` begins; it holds what it reads, and reads again after the yes."""
    before, held = card("1"), card("2", settings_held=True)
    assert not has_read(before, before, accepted)
    assert not has_read(held, before, accepted)  # they are accepted: it does not know yet
    assert has_read(card("3"), before, accepted)
    change(accepted)
    assert has_read(held, before, accepted)  # changed once more since


class Silent:
    def hear(self, news) -> None: ...


class Written:
    """Reads the settings, and first writes what it is given: an attempt that writes between a yes and a look."""

    def __init__(self, accepted: Acceptance) -> None:
        self.layout, self.text = accepted.layout, ""

    def __call__(self):
        if self.text:
            Path(self.layout.config).write_text(self.text)
            self.text = ""
        return load_config(self.layout), Toolbox()


def test_what_counts_is_what_was_judged(accepted):
    """Equal to what was accepted when it was judged, and another when it was read."""
    load = Written(accepted)
    settings = Settings(accepted.layout, load, accepted)
    changes = Changes(accepted.layout, settings, {})
    changes.expose()
    load.text = "limits: {running: 9}\n"
    assert changes.read(Silent(), 0.0) == []
    assert settings.config.limits.running == 2 and settings.differ()
    changes.settle()
    assert changes.exposed and changes.pending  # and it is looked at once more, as theirs
    assert changes.read(Silent(), 1.0) == []
    assert settings.config.limits.running == 2 and settings.held


def test_what_changes_while_a_watcher_begins_does_not_count(accepted):
    load = Written(accepted)
    load.text = "limits: {running: 9}\n"
    with pytest.raises(Refused, match="changed while they were read"):
        Settings(accepted.layout, load, accepted)
