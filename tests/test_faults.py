"""A short siege of every kind: random kills, and then every promise is checked.  ``scripts/faults`` is the long one."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil

import pytest
from conftest import ROOT

os.environ["ORCHESTRATOR_SCRIPT"] = "1"  # the script need not look for its own interpreter
LOADER = importlib.machinery.SourceFileLoader("faults", str(ROOT / "scripts/faults"))
SPEC = importlib.util.spec_from_loader("faults", LOADER)
faults = importlib.util.module_from_spec(SPEC)
LOADER.exec_module(faults)


@pytest.mark.parametrize("kind", faults.SIEGES)
def test_promises_hold_under_kills(kind):
    seed = int.from_bytes(os.urandom(4), "big")
    counts, broken = faults.siege(kind, 10, seed)
    assert not broken, f"seed {seed}: {broken}"
    assert counts[f"killed {kind}"] >= 10 and counts["starts"] > 0


def test_no_question_is_lost_or_asked_twice_under_kills():
    seed = int.from_bytes(os.urandom(4), "big")
    counts, broken = faults.run("asks", 5, seed)
    assert not broken, f"seed {seed}: {broken}"
    assert counts["killed asks"] >= 5 and counts["answers"] > 0


@pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace here")
def test_promises_hold_at_every_early_call(monkeypatch):
    monkeypatch.setattr(faults, "CALLS", ("fdatasync", "renameat2"))
    counts, broken = faults.calls(8)
    assert not broken, broken
    assert counts["killed calls"] >= 6


@pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace here")
@pytest.mark.parametrize("call", ["write", "fdatasync", "renameat2", "openat"])
def test_the_watcher_lives_through_calls_that_fail(call):
    counts, broken = faults.errors(3, (call,))
    assert not broken, broken
    assert counts["killed errors"] >= 4


@pytest.mark.skipif(not shutil.which("strace"), reason="there is no strace here")
def test_verbs_that_are_killed_or_refused_can_be_said_again(monkeypatch):
    monkeypatch.setattr(faults, "SMALL", ("fsync", "renameat2"))
    monkeypatch.setattr(
        faults, "VERBS", {name: faults.VERBS[name] for name in ("new", "cancel", "retry")}
    )
    counts, broken = faults.verbs(2)
    assert not broken, broken
    assert counts["killed verbs"] >= 12


def test_the_check_notices_broken_promises(tmp_path):
    """The judge is judged: a task started twice, one that is nowhere, one in two folders, one without an end."""
    field = faults.Field(1)
    field.drop(4)
    field.asked.update({"t00000": 0})
    (field.root / "work/inbox/t00001.yaml").unlink()
    (field.root / "work/done/t00002.yaml").write_text("x")
    field.starts.write_text("t00003 1 1\nt00003 1 2\nt00000 1 3\n")
    text = "\n".join(field.check())
    assert "t00001 is in no folder" in text and "t00002 is in ['done', 'inbox']" in text
    assert "t00003 attempt 1 was started 2 times" in text and "t00000 attempt 1, and no end" in text


QUICK = [kind for kind in faults.WORLDS if kind != "systems"]  # that one takes ten minutes


@pytest.mark.parametrize("kind", QUICK)
def test_promises_hold_while_the_world_moves(kind):
    """git under eight running tasks, other PID namespaces, a quota, older and newer code."""
    if why := faults.missing(kind):
        pytest.skip(why)
    counts, broken = faults.run(kind, 1, 0)
    assert not broken, broken
    assert counts[f"killed {kind}"] >= 1 and counts["starts"] > 0
