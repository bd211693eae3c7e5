"""What show, logs, list and report say of a task, beside the cases of other files."""

from __future__ import annotations

import subprocess

import pytest

from orchestrator.files.text import clean, last_states

FALLS = "import sys\nprint('401 unauthorized', file=sys.stderr)\nsys.exit(1)\n"


def tool(project, name: str, program: str, more: str = "") -> None:
    """A tool that runs a Python program."""
    script = project.root.parent / f"{name}.py"
    script.write_text(program)
    (project.work / "tools").mkdir(exist_ok=True)
    path = project.work / f"tools/{name}.yaml"
    path.write_text(f"argv: [python3, {script}]\nedits: false\n{more}")


def test_show_names_the_tool_that_acted(project):
    tool(project, "first", FALLS, "failures: [{class: auth, pattern: 401 unauthorized}]\n")
    tool(project, "second", "print('hi')\n")
    project.config("agents:\n  builder: {tool: [first, second]}\n")
    project.drop("a.yaml", "agent: builder\nprompt: x\n")
    project.run("watch", "--until-empty")
    shown = project.run("show", "a").stdout
    assert "agent     builder (second)" in shown and "in 2 attempts" in shown


def test_an_unknown_cost_is_not_zero():
    from orchestrator.cli.verbs.show import _cost

    assert _cost({"cost_usd": 0.0, "cost_source": "unknown"}) == "unknown"
    assert _cost({"cost_usd": 0.4, "cost_source": "unknown"}) == "$0.40 in part unknown"
    assert _cost({"cost_usd": 0.0, "cost_source": "reported"}) == "$0.00 reported"


def test_what_all_attempts_changed(project):
    (project.root / "old").write_text("x\n")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "begin")):
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(project.root))
        subprocess.run(["git", *who, *words], check=True, capture_output=True)
    tool(
        project,
        "edits",
        "import os, sys\nfirst = not os.path.exists('one')\n"
        "open('one' if first else 'two', 'w').write('x')\nsys.exit(first)\n",
        "parse: {text: '[0].text'}\n",
    )
    project.drop("a.yaml", "agent: edits\nprompt: x\nretries: 1\n")
    project.run("watch", "--until-empty")
    assert project.result("a")["files_changed"] == ["one", "two"]


def test_said_is_cut(project):
    tool(
        project,
        "talks",
        "import json\nprint(json.dumps({'done': 1, 'text': 'word ' * 2000}))\n",
        "parse: {done: '[?done]', text: '[0].text'}\n",
    )
    project.drop("a.yaml", "agent: talks\nprompt: x\n")
    project.run("watch", "--until-empty")
    said = next(
        line for line in project.run("show", "a").stdout.splitlines() if line.startswith("said")
    )
    assert len(said) < 450
    assert "word " * 1900 in project.run("show", "a", "--full").stdout


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ("10%\r50%\rdone\nnext\r\n", "done\nnext\n"),
        ("Welcome\x1b[9Gto\x1b[12GClaude\n", "Welcome to Claude\n"),
        ("above\r\x1b[1B\x1b[2Cbelow\n", "above\nbelow\n"),
        ("a\x1b[31mb\x1b[0m\n", "ab\n"),
    ],
)
def test_progress_and_screens_become_lines(log, shown):
    assert clean(last_states(log)) == shown


def test_progress_in_logs(project):
    tool(project, "bar", "print('10%\\r50%\\rall of it')\n")
    project.drop("a.yaml", "agent: bar\nprompt: x\n")
    project.run("watch", "--until-empty")
    assert project.run("logs", "a").stdout == "all of it\n"
    assert '"all of it"' in project.run("logs", "a", "--json").stdout


def test_list_by_label(project):
    project.drop("a.yaml", "prompt: x\nlabels: [docs, urgent]\n")
    project.drop("b.yaml", "prompt: x\nlabels: [docs]\n")
    project.drop("c.yaml", "prompt: x\n")
    project.run("run", "b")

    def listed(*words: str) -> list[str]:
        return [line.split("\t")[0] for line in project.run("list", *words).stdout.splitlines()]

    assert listed("--label", "docs") == ["a", "b"]
    assert listed("-l", "docs", "-l", "urgent") == ["a"]
    assert listed("-l", "none") == []
    assert "there is no agent 'nosuch'" in project.run("list", "--agent", "nosuch", code=3).stderr


def test_init_makes_the_folder_for_tools(project):
    project.run("init")
    assert (project.work / "tools").is_dir()
