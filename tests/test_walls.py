"""Nothing in the inbox stops the watcher: every file has its own fate, whatever it is and whatever it says."""

from __future__ import annotations

import os
import time

import pytest
from conftest import wait_until

from orchestrator.files import schemas
from orchestrator.files.documents import parse
from orchestrator.files.requests import load
from orchestrator.model.units import duration, timestamp, when


def goes_on(project, watch, watcher=None) -> None:
    """A task that is dropped now is done soon: nothing keeps the watcher busy, and it lives."""
    watcher = watcher or watch()
    began = time.monotonic()
    project.drop("after.yaml", "prompt: x\nagent: 'true'\n")
    project.until("after", "done")
    assert watcher.process.poll() is None, watcher.text()
    assert time.monotonic() - began < 15


MOMENTS = (
    "9999-12-31T23:59:59-14:00",
    "9999-12-31",
    "0001-01-01",
    "0001-01-01T00:00:00+14:00",
    "1000-01-01",
    "2200-01-01",
)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_that_no_clock_can_tell_is_an_error_of_the_file(moment):
    with pytest.raises(ValueError):
        when(moment)
    raw = f'prompt: x\nnot_before: "{moment}"\n'.encode()
    assert load("x.yaml", "x", raw, schemas.check).errors
    assert load("x.yaml", "x", raw).errors  # what reading verbs see, without the schema


@pytest.mark.parametrize("seconds", (1e308, -1e308, float("inf"), float("-inf"), float("nan")))
def test_a_moment_from_a_spoilt_file_can_be_shown(seconds):
    assert timestamp(seconds)[4] == "-"


@pytest.mark.parametrize("text", ("9" * 400 + "d", "99999999999d", "9" * 25 + "s"))
def test_a_duration_that_no_clock_can_tell_is_none(text):
    with pytest.raises(ValueError):
        duration(text)


def test_moments_that_no_clock_can_tell_do_not_stop_the_watcher(project, watch):
    for number, moment in enumerate(MOMENTS):
        project.drop(f"m{number}.yaml", f'prompt: x\nagent: sh\nnot_before: "{moment}"\n')
    project.drop("t.yaml", f"prompt: x\nagent: sh\ntimeout: {'9' * 300}d\n")
    goes_on(project, watch)
    for number in range(len(MOMENTS)):
        wait_until(lambda n=number: (project.work / f"inbox/m{n}.error.md").exists())
    assert "m0" in project.run("list").stdout
    assert "m0" in project.run("status").stdout


def odd(path, kind: str) -> None:
    """Something that is no file, in a file's place."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        (path / "inside").write_text("x")
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(path.parent / "nowhere" / "x")


ODD = ("fifo", "folder", "link", "dangling")
PLACES = (
    "inbox/x.error.md",
    "results/after.yaml",
    "results/old.yaml",
    "events/2026-11-20.abcd-watch.jsonl",
    "tools/own.yaml",
    "parked/own.yaml",
    "runs/r.yaml",
    "held/h.yaml",
    "done/d.yaml",
    "archive/a.yaml",
    "review/v.yaml",
    "logs/after",
    "running/q.yaml",
    "running/q.cancel",
)


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_stops_neither_the_watcher_nor_a_reader(project, watch, kind):
    project.drop("x.yaml", "promt: x\n")
    project.drop("old.yaml", "prompt: x\n", folder="done")
    for place in PLACES:
        if kind in ("link", "dangling") and place.startswith("tools/"):
            continue  # the settings may be links; that one leads to what everybody can write
        path = project.work / place
        path.parent.mkdir(exist_ok=True)
        odd(path, kind)
    watcher = watch()
    goes_on(project, watch, watcher)
    for words in (
        ["status"],
        ["list", "--all"],
        ["why", "x"],
        ["show", "old"],
        ["show", "d"],
        ["events"],
        ["runs"],
        ["tools"],
        ["agents"],
        ["doctor"],
        ["query", "SELECT count(*) FROM events"],
    ):
        done = project.run(*words, code=None, patience=30)
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, words
    assert "fault" not in project.run("status").stdout
    text = watcher.text()
    assert text.count("recovered") < 3 and "internal error" not in text, text


HEAVY = {
    "unhashable-twins": b"prompt: x\nlabels: [{}, "
    + b", ".join(b"%d" % n for n in range(19_000))
    + b"]\n",
    "lists-of-lists": b"prompt: x\nlabels: ["
    + b", ".join(b"[%d]" % n for n in range(9_000))
    + b"]\n",
    "unknown-keys": b"prompt: x\n" + b"".join(b"promp%d: 1\n" % n for n in range(9_900)),
    "unknown-needs": b"prompt: x\nneeds: ["
    + b", ".join(b"n%d" % n for n in range(19_000))
    + b"]\n",
    "bad-needs": b"prompt: x\nneeds: [" + b", ".join(b"'a b%d'" % n for n in range(9_000)) + b"]\n",
    "run-of-unknown-needs": b"tasks:\n"
    + b"".join(b"  task%d: {prompt: x, needs: [tusk%d]}\n" % (n, n) for n in range(400)),
    "run-of-bad-tasks": b"tasks:\n" + b"".join(b"  t%d: {promt: x}\n" % n for n in range(4_000)),
    "run-of-bad-keys": b"tasks:\n" + b"".join(b"  'a b%d': x\n" % n for n in range(9_000)),
    "run-of-bad-defaults": b"defaults: {labels: [" + b"{}, " * 9_000 + b"]}\ntasks: {a: x}\n",
    "bad-members": b"tasks: [" + b", ".join(b"'a b%d'" % n for n in range(19_000)) + b"]\n",
    "bad-env": b"prompt: x\nenv: {" + b", ".join(b"'a-%d': 1" % n for n in range(9_000)) + b"}\n",
    "bad-agents": b"prompt: x\nagent: [" + b", ".join(b"a%d" % n for n in range(19_000)) + b"]\n",
    "bad-contexts": b"prompt: x\ncontext: ["
    + b", ".join(b"/a%d" % n for n in range(19_000))
    + b"]\n",
}


@pytest.mark.parametrize("name", HEAVY)
def test_a_file_is_judged_in_time_that_grows_with_its_size(name):
    """Half the file in no less than a fifth of the time: a quadratic way would take a quarter, and minutes for the whole."""
    raw = HEAVY[name]
    began = time.process_time()
    request = load("x.yaml", "x", raw, schemas.check)
    took = time.process_time() - began
    baseline = time.process_time()
    parse(raw)
    baseline = time.process_time() - baseline
    assert took < 1.0 + 12 * baseline, (took, baseline)
    assert len(request.problems) <= 2000


def test_keys_of_a_run_that_differ_by_case_only_are_an_error(project, watch):
    project.drop("r.yaml", "tasks: {A: hello, a: there}\n")
    watcher = watch()
    wait_until(lambda: (project.work / "inbox/r.error.md").exists(), "a note")
    assert "same id" in (project.work / "inbox/r.error.md").read_text()
    goes_on(project, watch, watcher)


@pytest.mark.parametrize(
    "text", ("42\n", "text\n", "[]\n", "null\n", "true\n", "- prompt: x\n", "1.5\n")
)
def test_why_of_a_file_that_is_no_task_says_so(project, text):
    project.drop("n.yaml", text)
    for words in (["why", "n"], ["show", "n"], ["list"], ["status"]):
        done = project.run(*words, code=None)
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, words
