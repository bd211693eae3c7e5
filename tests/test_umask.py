"""Where new folders are open to the person's group (a umask of 002, as Debian 13, Fedora and Ubuntu have it), what was approved is known."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orchestrator.files import statehome, trust
from orchestrator.files.layout import Layout
from orchestrator.store import trusting


@pytest.fixture
def layout(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))
    before = os.umask(0o002)
    made = Layout(str(tmp_path / "project"))
    os.makedirs(made.state)
    yield made
    os.umask(before)


def modes(layout: Layout) -> list[int]:
    """Of the project's folder, of the one for all projects, and of ours."""
    folder = Path(trust.folder_of(layout))
    return [stat.S_IMODE(os.stat(path).st_mode) for path in (folder, *folder.parents[:2])]


def test_folders_of_ours_are_closed_whatever_the_umask_is(layout):
    assert trusting.establish(layout).state == trust.KNOWN
    assert modes(layout) == [0o700] * 3
    home = os.path.dirname(statehome.state_home())
    assert (
        stat.S_IMODE(os.stat(home).st_mode) == 0o775
    )  # it is the person's, and stays as they have it


def test_what_somebody_vouches_for_counts_with_the_next_look(layout):
    fact = ("a.reply", "00", (1, 2))
    assert trusting.vouch(trusting.establish(layout), [fact])
    assert fact in trust.Vouched(trust.of(layout).approvals)


def test_homes_that_were_made_open_are_closed(layout):
    home = statehome.state_home()
    os.makedirs(f"{home}/projects")
    assert stat.S_IMODE(os.stat(home).st_mode) == 0o775
    assert trust.of(layout).state == trust.NOWHERE
    assert trusting.establish(layout).state == trust.KNOWN
    assert modes(layout) == [0o700, 0o755, 0o755]


def test_what_others_could_have_written_is_not_believed(layout):
    folder = trust.folder_of(layout)
    os.makedirs(folder)  # open to the group: whatever lies in it may be of anybody
    found = trusting.establish(layout)
    assert found.state == trust.NOWHERE and "written by others" in found.why
    assert not found.approvals
