"""Whose edit a change of the settings was, when nobody watched: a person's counts, an attempt's waits for a yes."""

from __future__ import annotations

import json
import time

import pytest

from orchestrator.files import trust
from orchestrator.files.layout import Layout
from orchestrator.store.acceptance import Acceptance, snapshot


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
