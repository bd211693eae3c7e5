"""Completion in real shells, and the man page through groff: what the package installs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPTS = ROOT / "scripts/completions"
ASK = {
    "bash": 'source "$1"; COMP_WORDS=($2 ""); COMP_WORDS[-1]="$3"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _orchestrator_completion orchestrator; printf "%s\\n" "${COMPREPLY[@]}"',
    # zsh has no way to complete without a terminal: its function is run with the two builtins that would tell the line editor.
    "zsh": "compdef() { :; }; compadd() { local -a last; last=(${(P)@[-1]}); print -l -- $last; }; _describe() { print -l -- ${(P)@[-2]}; };"
    ' words=(${=2} "$3"); CURRENT=$#words; source "$1"; _orchestrator_completion',
    "fish": 'source $argv[1]; complete -C "$argv[2] $argv[3]"',
}


@pytest.fixture
def shell(project, tmp_path):
    """Completes a line in a shell, in a project."""
    program = tmp_path / "bin/orchestrator"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; from orchestrator.cli.main import main; sys.argv[0] = \'orchestrator\'; main()" "$@"\n'
    )
    program.chmod(0o755)
    env = {
        **project.env,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
    }

    def complete(name: str, line: str, word: str) -> set[str]:
        script = (
            SCRIPTS
            / {"bash": "orchestrator", "zsh": "_orchestrator", "fish": "orchestrator.fish"}[name]
        )
        words = [
            name,
            *(["-f"] if name == "zsh" else []),
            "-c",
            ASK[name],
            *([name] if name != "fish" else []),
            str(script),
            line,
            word,
        ]
        done = subprocess.run(
            words,
            cwd=project.root,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return {
            item.split("\t")[0].split(":")[0].strip()
            for item in done.stdout.splitlines()
            if item.strip()
        }

    return complete


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_commands_options_ids_and_agents(project, shell, name):
    if not shutil.which(name):
        pytest.skip(f"there is no {name} here")
    project.drop("review-retry.yaml", "prompt: x\n")
    assert {"status", "show"} <= shell(name, "orchestrator", "s")
    assert "--agents" in shell(name, "orchestrator init", "--")
    assert shell(name, "orchestrator show", "retry") == {"review-retry"} or shell(
        name, "orchestrator show", "rev"
    ) == {"review-retry"}
    assert {"sh", "demo"} <= shell(name, "orchestrator new x --agent", "")


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_no_name_of_a_file_becomes_a_command(project, shell, name):
    """A shell inserts what is offered without quoting it, and the next Return ran ``$(id)``."""
    if not shutil.which(name):
        pytest.skip(f"there is no {name} here")
    for folder in ("templates", "schedules"):
        (project.work / folder).mkdir(exist_ok=True)
    project.drop("fix-it.yaml", "prompt: x\n")
    odd = (
        "fix$(id)",
        "fix`id`",
        "fix;id",
        "fix it",
        "-fix",
        "~fix",
        "fix*",
        "fix!1",
        "fix\x1b[31m",
    )
    for stem in (*odd, "fix\nplain,fix-not", "fix\u202e", "fix'", "fix|id", "fix<id", "fix\\"):
        project.drop(f"{stem}.yaml", "prompt: x\n")
        project.drop(f"{stem}.yaml", "prompt: x\n", folder="templates")
        project.drop(f"{stem}.yaml", "every: 1h\ntask: {prompt: x}\n", folder="schedules")
    assert shell(name, "orchestrator show", "fix") == {"fix-it"}
    for line in ("orchestrator new -T", "orchestrator schedules"):
        assert shell(name, line, "fix") <= {"fix"}, line


@pytest.mark.skipif(not shutil.which("groff"), reason="there is no groff here")
def test_the_man_page_has_no_fault():
    done = subprocess.run(
        ["groff", "-ww", "-z", "-man", str(ROOT / "docs/man/orchestrator.1")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    shown = subprocess.run(
        ["groff", "-man", "-Tutf8", str(ROOT / "docs/man/orchestrator.1")],
        capture_output=True,
        check=True,
    ).stdout.decode()
    plain = re.sub(".\b", "", shown)
    assert "orchestrator attach" in plain and "EXIT STATUS" in plain


def test_completion_prints_what_is_installed(project):
    for name, path in (
        ("bash", "orchestrator"),
        ("zsh", "_orchestrator"),
        ("fish", "orchestrator.fish"),
    ):
        assert project.run("completion", name).stdout.strip() in Path(SCRIPTS / path).read_text()
