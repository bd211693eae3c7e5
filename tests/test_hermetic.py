"""The tests' own promise: they see neither the programs nor the home of whoever runs them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import hermetic
import pytest
from conftest import taken


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
def test_lanes_succeed_if_all_do(first, second, code):
    """The exit code that people and continuous integration see, in the shell that scripts/test runs in."""
    lane = f"lane() {{ echo lane $1; case $1 in 1) return {first};; 2) return {second};; esac; }}"
    script = f". scripts/lanes; lanes=3; {lane}; in_lanes"
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "lane 1\nlane 2\nlane 3\n")


def test_each_test_is_taken_by_exactly_one_lane(request, tmp_path):
    """In whatever order they come, and all tests of a file that starts processes by the same one."""
    items = request.session.items
    chance, lanes = random.Random(1), {n: taken(items, tmp_path) for n in range(3)}
    by: dict[str, list[int]] = {item.nodeid: [] for item in items}
    files: dict[str, set[int]] = {}
    while lanes:
        lane = chance.choice([*lanes])
        item = next(lanes[lane], None)
        if item is None:
            del lanes[lane]
            continue
        by[item.nodeid].append(lane)
        if item.get_closest_marker("fast") is None:
            files.setdefault(item.path.stem, set()).add(lane)
    assert {len(who) for who in by.values()} == {1}
    assert all(len(who) == 1 for who in files.values())
