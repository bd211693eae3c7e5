"""A power cut takes renames back and keeps later ones: the ledger leads, and nothing runs twice (`scripts/faults --kind power`)."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from sieges import power

KEPT = {  # what of the journal's records the cut left
    "final": ("claim", "started", "exit", "final"),
    "ended": ("claim", "started", "exit"),
    "claimed": ("claim",),
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("folder", ["inbox", "running"])
def test_a_task_whose_last_moves_were_undone_follows_its_journal(project, folder, kept):
    ran = project.root.parent / "ran"
    project.drop("a.yaml", f"agent: sh\nprompt: echo x >> {ran}\n")
    project.run("watch", "--until-empty")
    journal = project.work / ".state/closed/a.jsonl"
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    left = [record for record in records if record["record"] in kept]
    if "final" in kept:  # as if the rename into done/ were later than all that the disk has kept
        left[-1]["ctime"] = time.time_ns() + 10**12
    journal.write_text("".join(json.dumps(record) + "\n" for record in left))
    if "started" not in kept:
        ran.unlink()
    os.rename(project.work / "done/a.yaml", project.work / folder / "a.yaml")
    project.run("watch", "--until-empty", code=None)
    assert project.where("a") == "done"
    assert ran.read_text() == "x\n"


def test_a_file_that_was_given_back_goes_on_waiting(project, watch):
    """The requeue is known, the rename was undone."""
    project.drop("a.yaml", "agent: sh\nprompt: 'true'\n")
    project.run("watch", "--until-empty")
    project.run("retry", "a")
    os.rename(project.work / "inbox/a.yaml", project.work / "running/a.yaml")
    project.run("watch", "--until-empty")
    assert project.where("a") == "done" and len(project.result("a")["attempts"]) == 2


def test_who_moves_a_done_file_into_the_inbox_wants_it_to_run_again(project):
    project.drop("a.yaml", "agent: sh\nprompt: 'true'\n")
    project.run("watch", "--until-empty")
    time.sleep(0.02)  # older kernels tell times of change in steps of up to 10 ms
    os.rename(project.work / "done/a.yaml", project.work / "inbox/a.yaml")
    project.run("watch", "--until-empty")
    assert project.where("a") == "done" and len(project.result("a")["attempts"]) == 2


@pytest.fixture(scope="module")
def images():
    if why := power.missing():
        pytest.skip(why)


@pytest.mark.parametrize("kind", power.KINDS)
def test_nothing_is_lost_by_power_cuts(images, kind):
    if kind not in power.usable():
        pytest.skip(f"there is no {power.KINDS[kind][1][0]} here")
    seed = int.from_bytes(os.urandom(4), "big")
    counts, broken = power.siege(kind, 4, seed)
    assert not broken, f"seed {seed}: {broken}"
    assert counts["killed power"] >= 4 and counts["tasks"] > 0


def test_without_fsync_the_siege_notices(images):
    """The control: what never syncs has to lose something, or nothing was tried."""
    for seed in range(4):
        if power.siege("ext4", 8, seed, control=True)[1]:
            return
    raise AssertionError("32 power cuts without any fsync broke nothing: the siege is blind")
