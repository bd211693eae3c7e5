"""Real task files that others wrote.  They lie beside the project and are not part of it."""

from __future__ import annotations

import re
import shutil

import pytest
from conftest import ROOT, wait_until

from orchestrator.files import schemas
from orchestrator.files.documents import parse
from orchestrator.files.requests import load
from orchestrator.model import legacy
from orchestrator.model.meanings import plain

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


def words(text: object) -> set[str]:
    return set(re.findall(r"\w+", str(text).lower()))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name)
def test_understood_and_nothing_lost(path):
    raw = path.read_bytes()
    request = load(str(path), "t", raw, schemas.check, offered=False)
    assert not request.errors and request.task is not None
    document = parse(raw)
    if request.legacy is None:
        assert request.task.prompt == document.data["prompt"]
        return
    assert document.body.strip() in request.task.prompt
    order = " ".join(re.findall(r"\w+", request.task.prompt.lower()))
    kept = words(request.task.prompt) | words(request.legacy.data)
    for key, value in document.data.items():
        for text in leaves(value):
            if plain(key) not in legacy.BOOKKEEPING and key != "title":
                told = " ".join(re.findall(r"\w+", text.lower()))
                assert told in order or len(told) < 60, f"{key}: words moved"
            where = kept if plain(key) in legacy.BOOKKEEPING else words(request.task.prompt)
            missing = words(text) - where - words(request.legacy.data.get("needs"))
            assert not missing or key == "title" or key in ("agent", "assignee", "priority"), (
                key,
                missing,
            )


def leaves(value) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in leaves(item)]
    if isinstance(value, list):
        return [text for item in value for text in leaves(item)]
    return (
        []
        if value in (None, "")
        else [str(value).lower() if value in (True, False) else str(value)]
    )


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
    ended = [
        path for path in GOOD if re.search(r"^status: *['\"]?(done|error)", path.read_text(), re.M)
    ]
    watch()

    def accounted() -> bool:
        # Some name artifacts, which the stand-in does not make: those fail.
        done = sum(len(list((project.work / end).glob("*.y*ml"))) for end in ("done", "failed"))
        notes = len(list((project.work / "inbox").glob("*.error.md")))
        waiting = project.json("status")["counts"]["waiting"]
        return notes == len(BAD) + len(ended) and done + waiting == len(GOOD) - len(ended)

    wait_until(accounted, "every file has run, waits or has a note")
    for path in ended:
        note = (project.work / "inbox" / f"{path.stem}.error.md").read_text()
        assert "it says 'status: " in note and "orchestrator import" in note


def test_import_keeps_order_and_shelf(project):
    project.run("import", str(CORPUS), code=4)
    shelf = {
        "archive": "archive",
        "done": "done",
        "fridge": "held",
        "assigned": "inbox",
        "inbox": "inbox",
    }
    times = {}
    for path in GOOD:
        folder = path.relative_to(CORPUS).parts[0]
        if folder in shelf:
            place = project.work / shelf[folder] / path.name.replace(".yml", ".yml")
            found = [place, place.with_suffix(".yaml")]
            assert any(item.exists() for item in found), path
            if shelf[folder] in ("archive", "done"):
                assert place.read_bytes() == path.read_bytes()
            if folder == "assigned":
                times[path] = next(item for item in found if item.exists()).stat().st_mtime_ns
    assert [times[path] for path in times] == sorted(times.values()), "in the order of their names"


def test_import_twice_changes_nothing(project):
    project.run("import", str(CORPUS), code=4)
    before = {path: path.read_bytes() for path in project.work.rglob("*.y*ml")}
    project.run("import", str(CORPUS), code=4)
    assert {path: path.read_bytes() for path in project.work.rglob("*.y*ml")} == before
