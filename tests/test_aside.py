"""Git that does not answer keeps nobody waiting but the file that it is asked about."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import wait_until

from orchestrator.files import git, origin
from orchestrator.files.aside import Aside, Busy


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "work/inbox").mkdir(parents=True)
    (tmp_path / "work/inbox/a.yaml").write_text("prompt: x\n")
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize(
    "place", ["index", "HEAD", "config", "packed-refs", "shallow", "commondir", "included"]
)
@pytest.mark.parametrize("kind", ["fifo", "folder", "hole"])
def test_what_is_no_file_of_a_repository_keeps_nobody_waiting(repository, place, kind):
    path = repository / ".git" / place
    if place == "included":
        words = ["git", "config", "include.path", "included"]
        subprocess.run(words, cwd=repository, check=True)
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
        os.truncate(path, 1 << 40)
    began = time.monotonic()
    try:
        assert origin.Origins().tracked(f"{repository}/work/inbox", "a.yaml", time.time())
        assert place in ("included", "config")
    except git.Unclear:
        assert place != "included"
    assert time.monotonic() - began < 10  # git itself would wait for 20 seconds, or for ever


def test_one_late_answer_is_waited_for_once():
    late = threading.Event()
    aside = Aside(patience=0.05)
    with pytest.raises(Busy):
        aside.ask("a", late.wait)
    began = time.monotonic()
    for number in range(100):
        with pytest.raises(Busy):
            aside.ask(number, lambda: "soon")
        with pytest.raises(Busy):
            aside.ask("a", late.wait)
    assert time.monotonic() - began < 0.05 * 100
    late.set()
    wait_until(lambda: answered(aside, 99, lambda: "soon") == "soon")
    assert answered(aside, "a", late.wait) is True


def answered(aside: Aside, key, question):
    try:
        return aside.ask(key, question)
    except Busy:
        return None


def test_what_a_question_raises_is_raised_where_it_was_asked():
    def fails() -> None:
        raise git.Unclear("no answer")

    aside = Aside(patience=60)
    for _ in range(2):
        with pytest.raises(git.Unclear):
            aside.ask("a", fails)
    assert aside.ask("a", lambda: 1) == 1
