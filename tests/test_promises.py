"""The page of promises names, for each of its headings, the tests that show it; they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/explanation/security.md").read_text()
TEXT, _, TABLE = PAGE.partition("\n## Which test shows what\n")


def test_each_heading_has_its_row():
    said = set(re.findall(r"^### (.+)$", TEXT, re.M))
    rows = set(re.findall(r"^\| ([^|]+) \| ", TABLE, re.M)) - {"promise"}
    assert said | {"Sandbox"} == rows


def test_each_test_is_there():
    named = re.findall(r"`(test_\w+)::(test_\w+)`", TABLE)
    assert len(named) > 30
    gone = [
        f"{file}::{name}"
        for file, name in named
        if f"def {name}(" not in (ROOT / f"tests/{file}.py").read_text()
    ]
    assert not gone
