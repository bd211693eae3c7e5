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
from test_cli import on_a_terminal

from orchestrator.cli.app import VERBS
from orchestrator.cli.main import cli
from orchestrator.files.text import hang
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
    r"|the \w+ is told so|lies? there any more|ha(?:s|ve) it (?:plan|go on)|after a question|goes? with -|that is none"
    r"|no \w+ of ours|looks whether|whatever (?:else )?lies|whoever|tries again inside|knows no limits"
    r"|so (?:much is spent|many tokens are)|belongs? (?:to an agent|into)|is (?:no|there) already|say it more closely"
    r"|which is none|has to be told|is told (?:as|in whole|at its place))\b",
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
    (project.work / "results/late.yaml").write_text(": : [")  # how it ended, nobody can tell
    assert project.json("show", "late")["task"]["status"] == "failed"


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
    words = set(re.findall(r"[\w-]+", done.stdout))
    program = {name for name, (section, _) in VERBS.items() if section == "For programs"}
    assert set(VERBS) - program - {"why"} <= words  # the others are in `help all`
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
    hint = "say it in plain English (UNIDIOMATIC above has what readers stumbled over):"
    assert not found, "\n".join([hint, *found])


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_prose_is_broken_between_words_and_goes_on_below_itself(columns):
    text = (
        "one two three four five six seven eight nine ten " * 4 + "/a/" + "long/" * 30 + "path end"
    )
    lines = hang("head  ", text, columns)
    assert lines[0].startswith("head  one two")
    assert all(line.startswith("      ") and line[6] != " " for line in lines[1:])
    assert " ".join(line[6:] for line in lines) == text
    assert all(len(line) <= columns or " " not in line[6:] for line in lines)
    assert hang("head  ", text, 0) == ["head  " + text]


def test_a_colour_takes_no_room():
    coloured = "\x1b[31m" + "word " * 10 + "\x1b[0m"
    assert len(hang("", coloured, 60)) == 1


def test_every_verb_takes_json_and_an_option_means_one_thing(project):
    """``-n`` is a dry run wherever it is understood, ``-a`` an agent; ``--json`` is understood everywhere."""
    context = click.Context(cli, obj=None)
    meanings: dict[str, set[str]] = {}
    for name in VERBS:
        command = cli.get_command(context, name)
        taken = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in taken, f"{name}: give its command @json_option of cli/options.py"
        for parameter in command.params:
            longs = {option for option in parameter.opts if option.startswith("--")}
            for short in set(parameter.opts) - longs:
                if short.startswith("-"):
                    meanings.setdefault(short, set()).update(longs)
    assert {short: longs for short, longs in meanings.items() if len(longs) > 1} == {}
    words = "dry-run follow wait edit yes quiet short agent model timeout retries priority label interactive"
    table = {**{word[0]: word for word in words.split()}, "n": "dry-run", "T": "template"}
    del table["d"]
    assert {f"-{short}": {f"--{name}"} for short, name in table.items()}.items() <= meanings.items()


def test_every_verb_can_be_quiet(project):
    """What is for programs and what went wrong is printed, and no other word."""
    context = click.Context(cli, obj=None)
    for name in VERBS:
        taken = {option for it in cli.get_command(context, name).params for option in it.opts}
        assert {"-q", "--quiet"} <= taken, name
    assert b"no watcher" in on_a_terminal(project, "new", "x", "--id", "a")
    assert on_a_terminal(project, "new", "x", "--id", "b", "-q").split() == [b"work/inbox/b.yaml"]
    assert "there is no task" in project.run("cancel", "nobody", "-q", code=3).stderr


def test_all_of_archive_is_named_and_not_guessed(project):
    """`--label` is the nearest by its letters."""
    said = project.run("archive", "--all", code=2).stderr
    assert "--older-than 0s takes all that has ended" in said and "--label" not in said


def test_every_verb_and_every_option_says_what_it_does():
    """The page, the man page and the completion are written from these, however empty they are."""
    context = click.Context(cli, obj=None)
    silent = []
    for name in VERBS:
        command = cli.get_command(context, name)
        silent += [] if (command.help or "").strip() else [name]
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not (parameter.hidden or parameter.help):
                silent.append(f"{name} {parameter.opts[-1]}")
    assert not silent, (
        "give the command a docstring, and click.option a help=, in cli/verbs (or cli/options.py):"
        f" {silent}"
    )


def test_what_prints_a_page_or_moves_much_does_so_in_json(project):
    assert project.json("init")["changed"] == []  # nothing is new
    assert project.json("service")["unit"].startswith("# ~/.config")
    assert "_ORCHESTRATOR_COMPLETE" in project.json("completion", "bash")["script"]
    assert "inbox" in project.json("help", "guide")["text"]
    for name in "ab":
        project.drop(f"{name}.yaml", f"agent: demo\nprompt: {name}\n")
    moved = [{"id": name, "from": "waiting", "to": "done"} for name in "ab"]
    done = project.run("run", "a", "--json")
    assert json.loads(done.stdout)["changed"] == moved[:1] and "==> done" in done.stderr
    done = project.run("watch", "--until-empty", "--json")
    assert json.loads(done.stdout)["changed"] == moved[1:] and "b" in done.stderr
    several = project.json("show", "a", "b")["found"]
    assert [(each["kind"], each["task"]["id"]) for each in several] == [
        ("task", "a"),
        ("task", "b"),
    ]
    assert [each["task"] for each in project.json("logs", "a", "b")["found"]] == ["a", "b"]
    old = project.root.parent / "old"
    old.mkdir()
    (old / "c.yaml").write_text("prompt: x\n")
    assert project.json("import", str(old / "c.yaml"))["changed"][0]["id"] == "c"
    assert project.json("agents", "check", "demo")["checks"][0]["status"] == "ok"


def test_former_words_work_and_are_told_of_on_a_terminal_only(project):
    project.run("new", "x", "--id", "a", "-a", "demo")
    assert "note:" not in project.run("query", "SELECT 1 AS n").stderr
    assert project.json("query", "SELECT 1 AS n")["rows"] == [[1]]
    assert (
        project.run("tools", "check", "demo").stdout
        == project.run("agents", "check", "demo").stdout
    )
    assert project.run("guide").stdout == project.run("help", "guide").stdout
    assert project.run("plan").stdout.startswith("1	a	demo	at ")
    assert len(project.run("events", "-n", "1").stdout.splitlines()) == 1
    assert len(project.run("events", "-n1").stdout.splitlines()) == 1
    assert json.loads(project.run("validate", "--format", "json").stdout)["kind"]
    for words, told in (
        (("query", "SELECT 1"), "note: 'query' is now 'events --sql'"),
        (("list", "-n", "3"), "note: '-n' is now '--last'"),
        (("list", "--status", "inbox"), "note: '--status inbox' is now '--status waiting'"),
    ):
        assert told in on_a_terminal(project, *words).decode(), words
    assert "is now" not in on_a_terminal(project, "ls").decode()
    assert "is now" not in on_a_terminal(project, "init", "-q").decode()


def test_resume_of_what_has_ended_names_what_may_be_meant(project):
    project.drop("a.yaml", "agent: demo\nprompt: x\n")
    project.run("watch", "--until-empty")
    said = project.run("resume", "a", code=1).stderr
    assert "a is done, not held" in said
    assert 'reply a "..."   continues its session' in said and "retry a   runs it again" in said
    assert project.where("a") == "done"


def test_a_mistyped_verb_is_suggested_by_its_letters(project):
    for typed, meant in (
        ("stauts", "status"),
        ("shwo", "show"),
        ("lgos", "logs"),
        ("canel", "cancel"),
    ):
        assert f"Did you mean '{meant}'?" in project.run(typed, code=2).stderr
    for typed, said in (
        (
            "halt",
            "'cancel' stops a task",
        ),  # two letters from 'hold', and in no case from what starts one
        ("unhold", "'release' lets held"),
        ("zzzz", "no such command 'zzzz'\n"),
    ):
        assert said in project.run(typed, code=2).stderr
    assert "Ctrl-C in its pane stops the watcher" in project.run("stop", code=2).stderr


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
    assert "--sql selects in its WHERE" in refused
    assert "demo" in project.run("agents", "check", "demo").stdout
