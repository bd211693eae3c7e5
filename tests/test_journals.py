"""Each journal is judged by itself: one that is not understood blocks its id, is told once, and nothing else."""

from __future__ import annotations

import json
import os

import pytest
from conftest import wait_until

from orchestrator.files import jsonlines, opening
from orchestrator.model.journal import Phase, fold
from orchestrator.store.ledger import append_record

CLAIM = {"record": "claim", "id": "x", "file": "x.yaml", "text": "prompt: x\n", "ino": 1, "v": 1}
STRANGE = {
    "a later version": [{**CLAIM, "v": 2}],
    "an unknown record": [CLAIM, {"record": "teleported", "v": 1}],
    "no claim": [{"record": "started", "attempt": 1}],
    "no attempt": [CLAIM, {"record": "started"}],
    "no id": [{"record": "claim"}],
    "other types": [{**CLAIM, "file": 7}],
    "no moment": [CLAIM, {"record": "retry", "not_before": "soon"}],
}


@pytest.mark.parametrize("records", STRANGE.values(), ids=STRANGE)
def test_what_is_not_understood_is_blocked(records):
    journal = fold(records)
    assert journal.phase is Phase.BLOCKED and journal.problem
    assert fold([CLAIM]).phase is Phase.CLAIMED and fold([]).phase is Phase.UNCLAIMED


def test_one_strange_journal_stops_nobody_else(project, watch):
    for number, records in enumerate(STRANGE.values()):
        path = project.work / f".state/active/x{number}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        project.drop(f"x{number}.yaml", "agent: sh\nprompt: echo ran\n")
        project.drop(f"y{number}.yaml", "agent: 'true'\nprompt: x\n")
    watcher = watch()
    for number in range(len(STRANGE)):
        project.until(f"y{number}", "done")
        assert project.where(f"x{number}") == "inbox" and not project.log(f"x{number}")
        assert (project.work / f".state/active/x{number}.jsonl").exists()
    wait_until(lambda: watcher.text().count("is left alone") == len(STRANGE), "each is told once")
    project.run("status")
    found = project.run("doctor", code=1).stdout
    assert found.count("is not understood") >= len(STRANGE)


def test_a_name_that_is_no_utf_8_costs_no_record(tmp_path):
    """Raw bytes of it would make the line unreadable, and what it says would be lost."""
    path = tmp_path / "t.jsonl"
    record = {"record": "saved", "files": ["a\udcff\n", "\ud800", "é"]}
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    append_record(fd, record, sync=False)
    os.close(fd)
    assert jsonlines.read(str(path)) == ([record], 0)


def test_of_a_journal_that_an_attempt_has_flooded_both_ends_are_read(tmp_path):
    """300,000 records in the middle cost little, and neither the claim nor the end is lost."""
    end = {"record": "exit", "attempt": 1, "code": 0}
    started = {"record": "started", "attempt": 1}
    path = tmp_path / "x.jsonl"
    with open(path, "wb") as file:
        file.writelines(json.dumps(record).encode() + b"\n" for record in (CLAIM, started))
        file.write(b'{"record": "told", "text": "again and again"}\n' * 300_000)
        file.write(json.dumps(end).encode() + b"\n")
    records, bad = jsonlines.read_ends(str(path))
    assert records[:2] == [CLAIM, started] and records[-1] == end
    assert len(records) <= jsonlines.MANY and bad > 280_000


def test_of_a_journal_longer_than_is_read_at_once_the_end_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "MOST", 4096)
    end = {"record": "exit", "attempt": 1, "code": 0}
    lines = [CLAIM, {"record": "told", "text": "x" * 50_000}, end]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert jsonlines.read_ends(str(path)) == ([CLAIM, end], 2)
    path.write_text("".join(json.dumps(line) + "\n" for line in (CLAIM, end)))
    assert jsonlines.read_ends(str(path)) == ([CLAIM, end], 0)
