"""Copies that programs leave are never tasks and are told of once; ordinary names never pass for copies."""

from __future__ import annotations

import re

import pytest
from conftest import wait_until
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model import ids, names

LEFT = """
fix.sync-conflict-20261126-061500-ABCDEFG
fix (conflicted copy)
fix (Anna's conflicted copy 2026-11-26)
fix (conflicted copy 2026-11-26 061500)
fix_conflict-20261126-061500
fix-conflict-20261126
fix (SFConflict anna@example.com 2026-11-26-06-15-00)
fix (In Konflikt stehende Kopie von Anna 2026-11-26)
fix (Copie en conflit de Anna 2026-11-26)
fix (Case Conflict)
fix.Conflict
fix.conflict
fix.variant-1a2b
fix-DESKTOP-A1B2C3D
fix-LAPTOP-9K2LM3QR-2
fix-WIN-0AB1CD2EF3G
fix_BACKUP_1234
fix_REMOTE_1234
fix_BASE_99
fix_LOCAL_7
fix.LOCAL
fix.LOCAL.123
fix.orig
fix.rej
fix.bak
fix.bkp
fix.backup-20261126
fix.tmp
fix~HEAD
fix~
fix (1)
fix(2)
fix - Copy
fix - Copy (2)
fix - Kopie
Copy of fix
""".strip().split("\n")
ORDINARY = """
fix resolve-merge-conflicts resolve-conflict resolve-conflict-2 fix_conflict sync-conflicts conflict-resolution
2026-11-26T0615-fix-conflict deploy.local deploy.base release.build release.old-api merge.theirs old.x fix-DESKTOP-layout-2 fix-desktop-a1b2c3d new-WIN-button v1.2 fix-2 fix.2
a-copy copy copy-files prompt-copy backup-db db_backup add-backup save autosave fix-temp tmp local-remote REMOTE
base_local api_REMOTE P0001-fix T1 001 a.variant-b 日本語
""".split()


@pytest.mark.parametrize("stem", LEFT)
@pytest.mark.parametrize("suffix", names.SUFFIXES)
def test_copies_are_never_tasks(stem, suffix):
    assert names.is_draft(stem + suffix)
    assert names.copy_of(stem + suffix) or (suffix == ".md" and names.is_draft(stem + suffix))
    assert ids.problem(stem), "no verb makes a task that would then not be run"


def test_what_sed_writes_for_a_moment_is_no_news():
    assert names.is_draft("sed8VUxpN") and names.is_draft("4913")
    assert not names.is_draft("sedation") and not names.is_draft("sed123.yaml")


@pytest.mark.parametrize(
    "title",
    [
        "back-1 - Live-watcher-(Bun.watch)",
        "Add phase 2",
        "Make a copy",
        "x (Codex, Gemini)",
        "Resolve the conflict (again)",
    ],
)
def test_titles_with_spaces_are_no_copies(title):
    assert not names.is_copy(f"{title}.md") and ids.problem(title)


@pytest.mark.parametrize("stem", ORDINARY)
def test_ordinary_names_are_tasks(stem):
    assert not any(names.is_draft(stem + suffix) for suffix in names.SUFFIXES)
    assert not ids.problem(stem)


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True))
def test_no_slug_is_taken_for_a_copy(stem):
    if not re.search(r"-conflict(ed)?-\d{4}-?\d\d-?\d\d", stem):
        assert not names.is_draft(f"{stem}.yaml")


@given(st.sampled_from(names.COPIES), st.data())
def test_the_signs_leave_out_no_pattern(row, data):
    stem = data.draw(st.from_regex(row[0].replace("(?-i:", "(?:"), fullmatch=True))
    if "\n" not in stem and names.stem_of(f"{stem}.yaml") == stem and stem[0] not in "._#":
        assert any(sign in stem.lower() for sign in names.SIGNS), stem


def test_a_run_cannot_have_tasks_that_look_like_copies(project):
    project.drop("release.yaml", "tasks: {build: x, bak: y}\n")
    assert "looks like a copy" in project.run("validate", code=4).stdout
    assert "looks like a copy" in project.run("new", "x", "--id", "fix.orig", code=2).stderr


def test_the_watcher_runs_the_task_and_names_the_rest_once(project, watch):
    for stem in LEFT:
        if "/" not in stem:
            project.drop(f"{stem}.yaml", "prompt: x\n")
    project.drop("fix.yaml", "prompt: x\n")
    project.drop("tasks.json", "{}")
    project.drop("notes", "x")
    (project.work / "inbox" / "old").mkdir()
    watcher = watch()
    project.until("fix", "done")
    wait_until(lambda: watcher.text().count("no task") >= len(LEFT) + 3, "all are told of")
    text = watcher.text()
    assert "orchestrator import work/inbox/old" in text and "ends in .json" in text
    assert len(project.events("attempt_started")) == 1
    watcher.stop()
    assert watcher.text().count("no task") == len(LEFT) + 3


def test_doctor_and_counts_agree_that_they_are_no_tasks(project):
    for stem in LEFT[:6]:
        project.drop(f"{stem}.yaml", "prompt: x\n")
    assert project.json("status")["counts"]["waiting"] == 0
