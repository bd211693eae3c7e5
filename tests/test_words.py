"""One word for one thing: the words of the glossary, on the screen and in ``--json``."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from orchestrator.cli.app import VERBS
from orchestrator.cli.main import cli
from orchestrator.cli.screen import wrapping
from orchestrator.model.status import RunStatus, Status

NEVER = re.compile(r"\b(queued|pending|completed|waits|parked|succeeded)\b")
ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden"

# What a native reader stumbled over.  The page of decisions, a record, may quote it.
UNIDIOMATIC = re.compile(
    r"\b(?:(?:is|are) told of|goes? by|belongs? into|by itself|as long as nobody|takes writes"
    r"|what runs goes on|an attempt failed before|goes on without us|(?:task|those) that ha(?:s|ve) ended"
    r"|object a line|can be given again|looked at again at once|to look on:|to run it again:|this note goes"
    r"|put back as it was|there is no \w+ that|are no tasks|it is told|every so often|lay in|a further attempt"
    r"|is no retry|everybody|so long as|to take it over|cannot be told apart|collides|the former|are to be"
    r"|is no (?:absolute|regular|JSON|number|name)|(?:repository|branch|check)(?: '[^']*')? any more|(?:says?|running) any more"
    r"|the \w+ is told so|lies? there any more)\b",
    re.IGNORECASE,
)
RECORD = ROOT / "docs/explanation/decisions.md"


def test_no_state_has_two_words():
    assert {status.word for status in Status} >= {"waiting", "running", "review", "held"}
    assert "inbox" not in {status.word for status in Status}
    for word in (*(status.word for status in Status), *map(str, RunStatus)):
        assert not NEVER.search(word)


def test_rows_and_counts_say_waiting(project):
    project.drop("a.yaml", "agent: 'true'\nprompt: x\n")
    project.drop("b.yaml", "agent: 'true'\nprompt: x\nneeds: [a]\n")
    document = project.json("status")
    assert document["schema_version"] == 2
    assert document["counts"]["waiting"] == 2 and "inbox" not in document["counts"]
    assert {row["status"] for row in document["waiting"]} == {"waiting"}
    assert project.json("why", "b")["status"] == "waiting"
    assert project.json("show", "b")["task"]["status"] == "waiting"
    for name in ("waiting", "inbox"):  # the folder's name is understood, and shown nowhere
        rows = project.json("list", "--status", name)["tasks"]
        assert [row["status"] for row in rows] == ["waiting", "waiting"]


def test_an_archived_task_keeps_how_it_ended(project):
    """Archiving lost it: a cancelled task counted as done, and its run as completed."""
    project.drop(
        "r.yaml", "tasks:\n  a: {agent: 'true', prompt: x}\n  b: {agent: 'true', prompt: x}\n"
    )
    project.run("watch", "--until-empty")
    project.drop("late.yaml", "agent: 'true'\nprompt: x\n")
    project.run("cancel", "late")
    project.run("archive", "late", "r.a")
    assert project.json("show", "late")["task"]["status"] == "cancelled"
    assert project.json("show", "late")["task"]["flags"] == ["archived"]
    assert project.json("show", "r.a")["task"]["status"] == "done"


def test_show_takes_a_run_and_validate_says_that_a_file_is_empty(project):
    project.drop("r.yaml", "tasks:\n  a: {agent: 'true', prompt: x}\n")
    project.run("watch", "--until-empty")
    assert project.run("show", "r").stdout == project.run("runs", "r").stdout
    assert project.json("show", "r") == project.json("runs", "r")
    for text in ("", "# later\n"):
        project.drop("e.yaml", text)
        assert "1:1: error: there is no task in this file" in project.run("validate", code=4).stdout


def test_transcripts_use_no_other_word():
    for path in GOLDEN.glob("*.txt"):
        for line in path.read_text().splitlines():
            state = re.match(r"\S+\t(\S+)\t", line)  # a row in a pipe: id, state
            if state and not line.startswith("$"):
                assert not NEVER.fullmatch(state[1]), f"{path.name}: {line}"


def test_every_test_that_a_page_names_is_there():
    named = {
        found
        for path in (ROOT / "docs").rglob("*.md")
        for found in re.findall(r"`(test_\w+)::(test_\w+)`", path.read_text())
    }
    assert len(named) > 50
    for file, test in sorted(named):
        assert f"def {test}(" in (ROOT / "tests" / f"{file}.py").read_text(), f"{file}::{test}"


def test_the_help_fits_a_small_terminal_and_names_every_verb():
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--help"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) <= 40 and max(len(line) for line in lines) <= 80
    words = set(done.stdout.replace("\n", " ").split())
    assert set(VERBS) <= words
    for section in ("Give work", "Look", "Decide", "Steer"):
        assert section in lines
    assert not words & {"queued", "pending", "parked", "paused", "attention", "finished"}


def written(path: Path) -> str:
    """What people read of a file: of a module only its texts, and of its docstrings only a verb's, its help."""
    text = path.read_text()
    if path.suffix != ".py":
        return text
    tree = ast.parse(text)
    defined = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    internal = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, defined) and isinstance(node.body[0], ast.Expr)
        if getattr(node, "name", "") != "command"
    }
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return "\n".join(
        node.value for node in texts if isinstance(node.value, str) and id(node) not in internal
    )


def test_what_the_program_takes_every_verb_takes(project):
    """``status --plain`` is ``--plain status``, for every verb and what is below it."""
    context = click.Context(cli, obj=None)
    for name in VERBS:
        command = cli.get_command(context, name)
        for each in (command, *getattr(command, "commands", {}).values()):
            taken = {option for parameter in each.params for option in parameter.opts}
            assert {"-C", "--color", "--plain", "-V", "--version"} <= taken, (name, each.name)
    project.run("new", "x", "--id", "a")
    project.run("cancel", "a")
    assert "\x1b[" in project.run("list", "--color", "always", "-C", str(project.root)).stdout
    assert "\x1b[" not in project.run("--color", "always", "list", "--color=never").stdout
    assert project.run("list", "-V").stdout.startswith("orchestrator ")
    assert "no work directory" in project.run("status", "-C", "/", code=None).stderr


def test_what_people_read_says_it_in_plain_english():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "schemas").glob("*.json")]
    found = []
    for path in sorted({*pages, *(ROOT / "orchestrator").rglob("*.py")} - {RECORD}):
        text = " ".join(written(path).split())
        found += [f"{path.relative_to(ROOT)}: {hit[0]}" for hit in UNIDIOMATIC.finditer(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_prose_is_broken_between_words_and_goes_on_below_itself(columns):
    text = (
        "one two three four five six seven eight nine ten " * 4 + "/a/" + "long/" * 30 + "path end"
    )
    lines = wrapping.hang("head  ", text, columns)
    assert lines[0].startswith("head  one two")
    assert all(line.startswith("      ") and line[6] != " " for line in lines[1:])
    assert " ".join(line[6:] for line in lines) == text
    assert all(len(line) <= columns or " " not in line[6:] for line in lines)
    assert wrapping.hang("head  ", text, 0) == ["head  " + text]


def test_a_colour_takes_no_room():
    coloured = "\x1b[31m" + "word " * 10 + "\x1b[0m"
    assert len(wrapping.hang("", coloured, 60)) == 1


def test_every_verb_that_answers_does_so_in_json(project):
    made = project.json("new", "x", "--id", "j", "-a", "demo")
    assert made["kind"] == "change" and made["changed"] == [{"id": "j", "from": None, "to": "waiting"}]  # fmt: skip
    project.run("cancel", "j")
    waited = json.loads(project.run("wait", "j", "--json", code=1).stdout)
    assert waited["tasks"] == [{"id": "j", "status": "cancelled"}] and waited["exit_code"] == 1
    assert project.json("validate")["problems"] == []
    rows = project.json("events", "--sql", "SELECT event FROM events WHERE task_id = 'j'")["rows"]
    assert ["task_cancelled"] in rows, rows
    refused = project.run("events", "--sql", "SELECT 1", "--last", "3", code=2).stderr
    assert "--sql chooses in its WHERE" in refused
    assert "demo" in project.run("agents", "check", "demo").stdout
