"""A work directory of 0.1.0 must load for ever: what was done then is known now, and what was begun goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, Project

from orchestrator.files.identity import identity_of
from orchestrator.model.status import FOLDERS

FROZEN = ROOT / "tests" / "frozen"


@pytest.fixture
def copy(tmp_path) -> Project:
    """A copy of the frozen directory; its state folder is hidden there, as it is ignored by git."""
    root = tmp_path / "old"
    shutil.copytree(FROZEN / "0.1.0", root / "work")
    (root / "work" / "state").rename(root / "work" / ".state")
    return Project(root)


@pytest.fixture
def old(copy) -> Project:
    """The frozen directory as if it had lain here all the time: a claim knows the inode and birth of the task's file."""
    for path in (copy.work / ".state").glob("*/*.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        places = [copy.work / status / str(records[0].get("file")) for status in FOLDERS]
        for file in filter(Path.exists, places):
            ino, born = identity_of(str(file))
            records = [it | {"ino": ino, "born": born} if "ino" in it else it for it in records]
        path.write_text("".join(f"{json.dumps(it)}\n" for it in records))
    copy.run("init")
    return copy


@pytest.mark.process
def test_it_is_read(old):
    rows = {row["id"]: row for row in old.json("list")["tasks"]}
    assert set(rows) >= {"fine", "broken", "after", "kept", "wrong", "again", "r.a", "r.b"}
    assert old.json("show", "fine")["result"]["outcome"] == "succeeded"
    assert "broken" in old.run("why", "after").stdout
    assert "2 of 2" in old.run("runs").stdout or "2/2" in old.run("runs").stdout
    assert len(old.events("task_finished")) == 4
    old.run("status")


@pytest.mark.process
def test_its_tasks_go_on(old):
    old.run("retry", "broken")
    old.drop("new.yaml", "agent: ok\nprompt: x\nneeds: [fine]\n")
    old.run("watch", "--until-empty", code=1)
    assert old.where("new") == "done" and old.where("fine") == "done"
    assert len(old.result("broken")["attempts"]) == 2


@pytest.mark.process
def test_a_retry_that_was_begun_then_goes_on(old):
    old.run("cancel", "again", code=None)
    old.run("watch", "--until-empty", code=None)
    assert old.where("again") == "cancelled"


@pytest.mark.process
def test_what_was_begun_elsewhere_is_for_a_person_to_decide(copy):
    """Nobody knows whether it ran: neither the claim nor the file of a copy was made here."""
    assert "came as a copy" in copy.run("watch", "--until-empty", code=1).stderr
    copy.run("approve", "--settings")
    copy.run("watch", "--until-empty", code=None)
    assert copy.where("again") == "review"
    assert "never claimed on this machine" in copy.events("task_foreign")[0]["summary"]
    copy.run("retry", "again")
    assert copy.where("again") == "inbox"


@pytest.mark.process
def test_one_journal_that_was_not_begun_here_goes_aside_alone(old):
    """Another's journal, unpacked beside one's own, starts and stops nothing."""
    shutil.copy(old.work / ".state/active/again.jsonl", old.work / ".state/active/other.jsonl")
    text = (old.work / ".state/active/other.jsonl").read_text().replace("again", "other")
    (old.work / ".state/active/other.jsonl").write_text(text)
    old.run("cancel", "again", code=None)
    old.run("watch", "--until-empty", code=None)
    (aside,) = (old.work / ".state/aside").iterdir()
    assert aside.name.startswith("other.jsonl.")
