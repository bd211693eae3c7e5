"""The documentation cannot lie: its examples are executed on a terminal, its generated pages are compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import ROOT
from transcripts import AGAIN, Stage, perform

from orchestrator.execution.sandbox import Walls, refused

PAGES = sorted(
    path
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if "```console" in path.read_text()
)
BLOCK = re.compile(r"(```console\n)(.*?)(\n```)", re.S)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples(path, tmp_path):
    """All blocks of a page are one session in one project."""
    if path.stem == "sandbox" and (why := refused(Walls((), "/"), "/bin/sh", os.environ)):
        pytest.skip(f"no sandbox here: {why}")
    text = path.read_text()
    stage = Stage(tmp_path / "home", terminal=True)
    differences: list[str] = []

    def play(block: re.Match[str]) -> str:
        printed, wrong = perform(stage, block[2])
        differences.extend(wrong)
        return block[1] + printed + block[3]

    new = BLOCK.sub(play, text)
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        path.write_text(new)
    else:
        assert not differences, "\n\n".join([*differences, AGAIN])


@pytest.mark.fast
def test_generated_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/reference"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_pictures_are_well_formed_and_of_this_program():
    pictures = {
        path.stem: "".join(ElementTree.parse(path).getroot().itertext())
        for path in (ROOT / "docs/pictures").glob("*.svg")
    }
    assert "running" in pictures["watch"] and "did" in pictures["look"]
    for text in pictures.values():
        assert not re.search(r"/(root|tmp|home)/", text)


@pytest.mark.fast
def test_links_lead_somewhere():
    broken = []
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
            if "://" not in target and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken, f"these links lead nowhere: {broken}"


@pytest.mark.fast
def test_nothing_of_a_machine_in_the_documentation():
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = path.read_text()
        assert "/root/" not in text and "/tmp/pytest" not in text, path


@pytest.mark.fast
def test_the_index_names_every_page():
    index = (ROOT / "docs/README.md").read_text()
    missing = [
        str(path.relative_to(ROOT / "docs"))
        for path in (ROOT / "docs").rglob("*.md")
        if path.name != "README.md" and str(path.relative_to(ROOT / "docs")) not in index
    ]
    assert not missing, f"name them in docs/README.md: {missing}"


@pytest.mark.fast
def test_every_decision_is_a_paragraph_and_in_the_table():
    text = (ROOT / "docs/explanation/decisions.md").read_text()
    records = re.findall(r"\n\n\*\*(\w+)\. ", text)
    table = " ".join(re.findall(r"^\| .+ \| ([0-9b ]+) \|$", text, re.M)).split()
    assert len(records) == text.count("\n**") and len(records) > 100
    assert set(table) == set(records)


@pytest.mark.skipif(not Path("/proc").exists(), reason="Linux only")
def test_the_example_work_directory_is_valid():
    from conftest import Project

    example = Project(ROOT)
    assert "no problems" not in example.run("validate").stdout
    example.run("status")
    assert {path.name for path in (ROOT / "work").iterdir()} >= {
        "inbox",
        "done",
        "orchestrator.yaml",
        "README.md",
    }
