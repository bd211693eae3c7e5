"""The tests' own promise: they see neither the programs nor the home of whoever runs them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import hermetic
import pytest


def test_no_agent_is_on_the_path_and_home_is_ours():
    assert not [name for name in hermetic.agent_programs() if shutil.which(name)]
    assert "orchestrator-test-home-" in os.environ["HOME"]
    assert shutil.which("git") and shutil.which("sh")


def test_an_installed_agent_is_shut_out(tmp_path):
    """A folder that holds an agent's program keeps all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("claude", "git"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    before = hermetic.FOLDERS
    try:
        hermetic.FOLDERS = (str(folder),)
        path = hermetic._path(tmp_path, {"claude"})
    finally:
        hermetic.FOLDERS = before
    assert shutil.which("git", path=path) and not shutil.which("claude", path=path)


def test_signals_that_were_ignored_are_not_inherited():
    """As under nohup or ``./scripts/test &``: a shell has SIGINT ignored, and so has all that it starts."""
    code = (
        "import signal, sys; sys.path[:0] = ['tests', '.']; import hermetic; hermetic.shut_out()\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    done = subprocess.run(
        ["sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh", sys.executable, "-c", code],
        cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "True", done.stderr
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


@pytest.mark.parametrize(("first", "second", "code"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (3, 0, 3)])
def test_two_halves_succeed_if_both_do(first, second, code):
    """The exit code that people and continuous integration see, in the shell that scripts/test runs in."""
    script = f". scripts/halves; half() {{ echo half $1; [ $1 = 1 ] && return {first}; return {second}; }}; in_halves"
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "half 1\nhalf 2\n")
