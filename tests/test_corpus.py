"""Real task files that others wrote.  They lie beside the project and are not part of it."""

from __future__ import annotations

import shutil

import pytest
from conftest import ROOT, wait_until

from orchestrator.files import schemas
from orchestrator.files.documents import parse
from orchestrator.files.requests import load
from orchestrator.model import legacy

CORPUS = next(
    (
        folder / "shared" / "corpus"
        for folder in ROOT.parents
        if (folder / "shared/corpus").is_dir()
    ),
    ROOT.parent / "shared" / "corpus",
)
FILES = (
    sorted(path for path in CORPUS.rglob("*") if path.suffix in (".yaml", ".yml"))
    if CORPUS.is_dir()
    else []
)
GOOD = [path for path in FILES if path.parent.name != "malformed"]
BAD = [path for path in FILES if path.parent.name == "malformed"]

pytestmark = pytest.mark.skipif(not FILES, reason="the corpus is not beside the project")


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name)
def test_understood_and_nothing_lost(path):
    raw = path.read_bytes()
    request = load(str(path), "t", raw, schemas.check)
    assert not request.errors and request.task is not None
    document = parse(raw)
    data, body = document.data, document.body
    if request.legacy is None:
        assert request.task.prompt == data["prompt"]
        return
    out, prompt = request.legacy.data, request.task.prompt
    for text in leaves({key: data[key] for key, _ in legacy._SECTIONS if key in data}):
        assert all(line.strip() in prompt for line in text.splitlines()), (
            f"{text!r} is not in the prompt"
        )
    assert body.strip() in prompt
    for key, value in data.items():  # every other key is mapped or kept
        if key in dict(legacy._SECTIONS) or value in (None, "", []):
            continue
        mapped = {
            "title": "title",
            "tags": "labels",
            "agent": "agent",
            "assignee": "agent",
            "to_agent": "agent",
            "priority": "priority",
            "dependencies": "needs",
            "blocked_by": "needs",
            "depends_on": "needs",
        }.get(key)
        assert (
            out.get(f"x-{key}") == value
            or (mapped in out and value)
            or key in out
            or all(part in prompt for part in leaves(value))
        ), key


def leaves(value) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in leaves(item)]
    if isinstance(value, list):
        return [text for item in value for text in leaves(item)]
    return [] if value in (None, "") else [str(value)]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name)
def test_malformed_ones_say_where(path):
    request = load(str(path), "t", path.read_bytes(), schemas.check)
    first = request.errors[0]
    assert first.line > 1 and first.message.startswith("not valid YAML") and first.hint


def test_import_accounts_for_every_file(project):
    done = project.run("import", str(CORPUS), code=4)
    everything = [path for path in CORPUS.rglob("*") if path.is_file()]
    for path in everything:
        assert path.name in done.stdout, path
    placed = [
        path
        for folder in ("inbox", "held", "done", "failed", "cancelled", "archive")
        for path in (project.work / folder).glob("*.y*ml")
    ]
    assert len(placed) == len(GOOD)
    assert (
        f"{len(everything)} files: {len(GOOD)} imported, {len(BAD)} invalid, 1 skipped"
        in done.stderr
    )
    assert project.run("validate", code=None).returncode == 0
    again = project.run("import", str(CORPUS), code=4)
    assert f"{len(GOOD)} unchanged" in again.stderr or "unchanged" in again.stderr
    assert len(project.events("task_imported")) == len(GOOD)


def test_status_that_disagrees_with_the_folder_is_reported(project):
    done = project.run("import", str(CORPUS), "--dry-run", code=4)
    assert "its status says 'assigned', its folder says 'fridge'" in done.stdout
    assert not list((project.work / "inbox").glob("*.y*ml"))


def test_dropped_into_the_inbox(project, watch):
    for path in FILES:
        shutil.copy(path, project.work / "inbox" / path.name)
    watch()

    def accounted() -> bool:
        done = len(list((project.work / "done").glob("*.y*ml")))
        notes = len(list((project.work / "inbox").glob("*.error.md")))
        waiting = project.json("status")["counts"]["waiting"]
        return notes == len(BAD) and done + waiting == len(GOOD) and done > len(GOOD) // 2

    wait_until(accounted, "every file has run, waits or has a note")
