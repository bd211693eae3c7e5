"""A work directory of 0.1.0 must load for ever: what was done then is known now, and what was begun goes on."""

from __future__ import annotations

import shutil

import pytest
from conftest import ROOT, Project

FROZEN = ROOT / "tests" / "frozen"


@pytest.fixture
def old(tmp_path) -> Project:
    """A copy of the frozen directory; its state folder is hidden there, as it is ignored by git."""
    root = tmp_path / "old"
    shutil.copytree(FROZEN / "0.1.0", root / "work")
    (root / "work" / "state").rename(root / "work" / ".state")
    made = Project(root)
    made.run("init")
    return made


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
@pytest.mark.xfail(strict=True, reason="a journal without an instance is passed over in silence")
def test_a_retry_that_was_begun_then_is_not_forgotten(old):
    old.run("cancel", "again", code=None)
    old.run("watch", "--until-empty", code=None)
    assert old.where("again") in ("cancelled", "review", "failed")
