"""The work directory of another user is not looked at, unless a person said so in their own settings."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.errors import Unusable
from orchestrator.files import ownership
from orchestrator.files.layout import Layout

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
STRANGER = 4242


@pytest.fixture
def theirs(project, tmp_path, monkeypatch):
    """A project of another user, whose tool leaves a trace when it runs."""
    trace = tmp_path / "trace"
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools" / "evil.yaml").write_text(
        f"argv: [sh]\nversion: [touch, {trace}]\nprompt: stdin\nedits: false\n"
    )
    for path in (project.work, *project.work.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    home = tmp_path / "home"
    (home / "orchestrator").mkdir(parents=True)
    project.env["XDG_CONFIG_HOME"] = str(home)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    project.trace, project.own = trace, home / "orchestrator" / "config.yaml"
    return project


def content(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "words",
    [
        ("doctor",), ("status",), ("list",), ("report",), ("query", "select 1"), ("tools",), ("events",),
        ("watch", "--until-empty"), ("run", "x"), ("new", "x"), ("validate",), ("agents",), ("why", "x"), ("init",), ("edit", "x"),
        ("trees", "clean", "-y"), ("mcp",), ("archive", "x"), ("hold", "--all"), ("projects", "add", "."),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_nothing_of_theirs_is_read_run_or_written(theirs, words):
    before = content(theirs.root)
    done = theirs.run(*words, code=None)
    assert done.returncode != 0
    assert "belongs to another user" in done.stderr and "safe_directories" in done.stderr
    assert not theirs.trace.exists() and content(theirs.root) == before


def test_completion_says_nothing_of_theirs(theirs):
    (theirs.work / "inbox" / "theirs.yaml").write_text("prompt: x\n")
    theirs.env |= {
        "_ORCHESTRATOR_COMPLETE": "bash_complete",
        "COMP_WORDS": "orchestrator show ",
        "COMP_CWORD": "2",
    }
    assert "theirs" not in theirs.run(code=None).stdout


@pytest.mark.parametrize("entry", ["{root}", "{above}/*", "'*'"])
def test_a_person_can_say_that_it_is_safe(theirs, entry):
    theirs.own.write_text(
        f"safe_directories: [{entry.format(root=theirs.root, above=theirs.root.parent)}]\n"
    )
    assert "belongs to another user" not in theirs.run("status").stderr
    theirs.run("watch", "--until-empty")


@pytest.mark.parametrize(
    "text",
    ["safe_directories: [{root}x]", "safe_directories: [{root}/*]", "safe_directories: {root}", "safe_directories: [acme-api]",
     "safe_directories: [1, null]", "safe_directory: [{root}]", "safe_directories: [{root}", "- {root}", ""],
)  # fmt: skip
def test_anything_else_does_not_say_so(theirs, text):
    theirs.own.write_text(text.format(root=theirs.root))
    with pytest.raises(Unusable):
        ownership.find_own_layout(str(theirs.root))


def test_settings_that_others_could_write_do_not_count(theirs):
    theirs.own.write_text("safe_directories: ['*']\n")
    for others in (0o666, 0o664, 0o646):  # a umask of 002 makes the second one
        theirs.own.chmod(others)
        assert ownership.foreign(Layout(str(theirs.root))), oct(others)
    theirs.own.chmod(0o644)
    assert not ownership.foreign(Layout(str(theirs.root)))
    os.chown(theirs.own, STRANGER, STRANGER)
    assert ownership.foreign(Layout(str(theirs.root)))


def test_who_became_root_by_sudo_looks_at_their_own(theirs, monkeypatch):
    layout = Layout(str(theirs.root))
    assert ownership.foreign(layout)
    monkeypatch.setenv("SUDO_UID", str(STRANGER))
    assert not ownership.foreign(layout)
    for nobody in ("-1", "x", ""):
        monkeypatch.setenv("SUDO_UID", nobody)
        assert ownership.foreign(layout)


@pytest.mark.parametrize("name", [".", "orchestrator.yaml", ".state"])
def test_one_part_of_it_that_is_theirs_is_enough(project, name):
    """Whoever owns the settings, or what this machine remembers, says what runs here."""
    (project.work / ".state").mkdir(exist_ok=True)
    project.config("agents: {}\n")
    layout = Layout(str(project.root))
    assert not ownership.foreign(layout)
    os.chown(project.work / name, STRANGER, STRANGER)
    assert "belongs to another user" in ownership.foreign(layout)


@pytest.mark.parametrize(
    ("entry", "safe"),
    [
        ("{root}/", True), ("{root}/.", True), ("{above}/./{name}", True), ("{root}/work/..", True), ("{link}", True), ("{link}/*", False),
        ("~/{name}", True), ("~/*", True), ("{above}*", False), ("{above}/{start}*", False), ("{above}/{name}*", False), ("**", False),
        ("{above}/**", False), ("{above}/{start}", False), ("./{name}", False), ("../{name}", False), ("{root}/*", False), ("", False),
        ("{upper}", False), ("$HOME/{name}", False), ("file://{root}", False), (" {root}", False), ("{root}\n", False),
        ("/*", True), ("./*", False), ("../{up}/*", False), ("~nobody-here/*", False),
    ],
)  # fmt: skip
def test_which_words_mean_a_project(theirs, tmp_path, monkeypatch, entry, safe):
    """A prefix of its name, a word relative to wherever one is, another case: none of them is its path."""
    monkeypatch.setenv("HOME", str(theirs.root.parent))
    monkeypatch.chdir(theirs.root.parent)
    link, name = tmp_path / "link", theirs.root.name
    link.symlink_to(theirs.root)
    words = {"root": theirs.root, "above": theirs.root.parent, "up": theirs.root.parent.name, "name": name, "start": name[:-1], "link": link, "upper": str(theirs.root).upper()}  # fmt: skip
    theirs.own.write_text(json.dumps({"safe_directories": [entry.format(**words)]}))
    assert bool(ownership.foreign(Layout(str(theirs.root)))) is not safe
    assert bool(ownership.foreign(Layout(str(link)))) is not safe


def test_sudo_is_what_root_came_by(theirs, monkeypatch):
    """For anybody else the variable says nothing: everybody can set it."""
    monkeypatch.setenv("SUDO_UID", str(STRANGER))
    monkeypatch.setattr(os, "geteuid", lambda: 4243)
    assert ownership.ours() == {4243, 0} and ownership.foreign(Layout(str(theirs.root)))


def test_a_link_to_their_work_is_theirs(theirs, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "work").symlink_to(theirs.work)
    for path in theirs.work.iterdir():
        os.chown(path, 0, 0)  # what lies in it is not theirs
    with pytest.raises(Unusable, match="belongs to another user"):
        ownership.find_own_layout(str(own))


@pytest.mark.parametrize("name", ["inbox/a.yaml", "templates/t.yaml", "schedules/s.yaml"])
def test_files_of_theirs_in_a_project_of_ones_own(project, name):
    """A folder may be shared; what lies in it counts only if it is one's own."""
    project.drop("a.yaml", "agent: sh\nprompt: exit\n")
    for folder in ("templates", "schedules"):
        (project.work / folder).mkdir(exist_ok=True)
    (project.work / "templates/t.yaml").write_text("agent: sh\nprompt: exit\n")
    (project.work / "schedules/s.yaml").write_text("every: 1h\ntask: {agent: sh, prompt: exit}\n")
    os.chown(project.work / name, STRANGER, STRANGER)
    done = project.run("watch", "--until-empty", code=None)
    assert "belongs to another user" in done.stdout + done.stderr
    assert project.where("a") == "inbox"
