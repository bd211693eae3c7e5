"""Notes for agents: written, updated and removed without touching anything else."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cli.notes import BLOCK, END, START, install, remove
from orchestrator.errors import Refused
from orchestrator.files.documents import parse

FILES = [
    "AGENTS.md",
    ".agents/skills/orchestrator/SKILL.md",
    ".claude/skills/orchestrator/SKILL.md",
]


def test_init_writes_updates_and_removes_them(project):
    root = project.root
    (root / "AGENTS.md").write_text("# Ours\n\nBe kind.\n")
    os.chmod(root / "AGENTS.md", 0o640)
    assert [
        line.split()[0]
        for line in project.run("init", "--agents", "all").stdout.splitlines()
        if ".md" in line.lower()
    ] == ["updated", "created", "created"]
    text = (root / "AGENTS.md").read_text()
    assert (
        text.startswith("# Ours\n\nBe kind.\n\n" + START)
        and (root / "AGENTS.md").stat().st_mode & 0o777 == 0o640
    )
    assert text.count(START) == 1 and len(BLOCK.splitlines()) < 10
    for name in FILES[1:]:
        skill = parse((root / name).read_bytes(), markdown=True)
        assert (
            skill.data["name"] == "orchestrator" == (root / name).parent.name
            and len(skill.data["description"]) <= 1024
        )
    assert "unchanged  AGENTS.md" in project.run("init", "--agents", "all").stdout
    (root / "AGENTS.md").write_text(text.replace("Never edit", "Always edit") + "\nMore of ours.\n")
    assert "updated    AGENTS.md" in project.run("init", "--agents", "agents").stdout
    assert (root / "AGENTS.md").read_text() == text + "\nMore of ours.\n"
    project.run("init", "--agents", "none")
    assert (root / "AGENTS.md").read_text() == "# Ours\n\nBe kind.\n\nMore of ours.\n"
    assert not (root / ".agents").exists() and not (root / ".claude").exists()


def test_a_file_that_is_only_ours_goes_as_a_whole(project):
    (project.root / ".claude").mkdir()
    (project.root / ".claude/settings.json").write_text("{}")
    project.run("init", "--agents", "agents,claude")
    project.run("init", "--agents", "none")
    assert (
        not (project.root / "AGENTS.md").exists()
        and (project.root / ".claude/settings.json").exists()
    )
    assert not (project.root / ".claude/skills").exists()


@pytest.mark.parametrize(
    "text",
    [
        f"{START}\nno end\n",
        f"{END}\n{START}\n",
        f"{START}\n{END}\n{START}\n{END}\n",
        f"{START}\n{START}\n{END}\n",
        f"{START}\n{END}\n{END}\n",
    ],
)
def test_markers_that_are_no_pair_are_refused_and_nothing_is_lost(project, text):
    (project.root / "AGENTS.md").write_text(text)
    assert "are not one pair" in project.run("init", "--agents", "all", code=1).stderr
    assert (project.root / "AGENTS.md").read_text() == text


def test_an_unknown_target_is_said(project):
    assert "Did you mean 'claude'?" in project.run("init", "--agents", "cluade", code=2).stderr


@settings(max_examples=60)
@given(
    text=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="<\r"), max_size=200)
)
def test_whatever_was_in_the_file_is_there_afterwards(tmp_path_factory, text):
    root = tmp_path_factory.mktemp("notes")
    path = root / "AGENTS.md"
    path.write_bytes(text.encode())
    install(str(root), ["agents"], dry_run=False)
    assert START in path.read_text()
    remove(str(root), dry_run=False)
    left = path.read_bytes().decode() if path.exists() else ""
    assert left.rstrip("\n") == (text.rstrip("\n") if text.strip() else "")


def test_a_folder_in_its_place_or_other_bytes(tmp_path):
    (tmp_path / "AGENTS.md").write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="not UTF-8"):
        install(str(tmp_path), ["agents"], dry_run=False)
    assert (tmp_path / "AGENTS.md").read_bytes() == b"\xff\xfe"
