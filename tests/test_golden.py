"""Every verb by a transcript in tests/golden: what it prints in a pipe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from transcripts import AGAIN, Stage, perform

from orchestrator.cli.app import VERBS

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.txt")), ids=lambda path: path.stem)
def test_transcript(path, tmp_path):
    text = path.read_text()
    printed, differences = perform(Stage(tmp_path / "home", terminal=False), text)
    assert "internal error" not in printed, "a bug is no transcript"
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        path.write_text(printed + "\n")
    else:
        assert not differences, "\n\n".join([*differences, AGAIN])


@pytest.mark.fast
def test_every_verb_has_a_transcript():
    shown = "".join(path.read_text() for path in GOLDEN.glob("*.txt"))
    missing = [verb for verb in VERBS if f"$ orchestrator {verb}" not in shown]
    assert not missing, (
        "write a line  $ orchestrator VERB  for them into a file of tests/golden, and run"
        f" UPDATE_TRANSCRIPTS=1 .venv/bin/python -m pytest tests/test_golden.py: {missing}"
    )
