"""What a task names is judged before it starts; what comes from standard input is always text that can be run."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml
from conftest import wait_until
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.files import documents, encodings
from orchestrator.store import yamltext

PROMPTS = {
    "latin": ("caf\xe9".encode("latin-1"), "byte 0xe9 in line 1 is not UTF-8", "iconv -f LATIN1"),
    "utf16": ("do it\n".encode("utf-16"), "is not UTF-8", "iconv -f UTF-16"),
    "utf16le": ("do it now\n".encode("utf-16-le"), "NUL character", "iconv -f UTF-16LE"),
    "empty": (b"\n", "it is empty", "what to do"),
    "missing": (None, "there is no file", "correct the path"),
    "huge": (b"x" * (1 << 20) + b"y", "larger than 1024 KiB", "text file"),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_file_that_cannot_be_one_is_told_before_it_starts(project, name):
    raw, words, hint = PROMPTS[name]
    if raw is not None:
        (project.root / "ask.md").write_bytes(raw)
    project.drop("a.yaml", "prompt_file: ask.md\n")
    out = project.run("validate", code=4).stdout
    assert "work/inbox/a.yaml:1:14" in out and words in out and hint in out


def test_the_watcher_waits_for_it_and_runs_it_when_it_is_right(project, watch):
    (project.root / "ask.md").write_bytes("caf\xe9".encode("latin-1"))
    project.config("watch: {rescan: 200ms}\n")
    project.drop("a.yaml", "prompt_file: ask.md\n")
    watcher = watch()
    note = project.work / "inbox" / "a.error.md"
    wait_until(note.exists, "a note")
    assert "is not UTF-8" in note.read_text() and "iconv" in note.read_text()
    wait_until(lambda: "is not UTF-8" in watcher.text(), "it is told")
    (project.root / "ask.md").write_text("café")
    project.until("a", "done")
    assert watcher.text().count("is not UTF-8") == 1


def test_context_that_is_not_there_is_warned_of_and_does_not_stop_it(project, watch):
    project.drop("a.yaml", "prompt: x\ncontext: [src/no.py]\n")
    assert (
        "a.yaml:2:11: warning: context: there is no file src/no.py"
        in project.run("validate").stdout
    )
    watcher = watch()
    project.until("a", "done")
    assert "context: there is no file src/no.py" in watcher.text()
    done = project.run("new", "x", "--context", "gone.md", "--id", "n")
    assert "warning: context: there is no file gone.md" in done.stderr


def test_what_a_needed_task_is_to_write_may_be_missing(project):
    project.drop("a.yaml", "prompt: x\n")
    project.drop("b.yaml", "prompt_file: plan.md\ncwd: out\nneeds: [a]\n")
    out = project.run("validate").stdout
    assert out.count("warning") == 2
    project.drop("c.yaml", "prompt: x\ncwd: out\n")
    assert "there is no folder out" in project.run("validate", code=4).stdout


def test_a_cut_prompt_is_told_in_the_pane(project, watch):
    project.drop("a.yaml", "prompt: fix #12 now\n")
    watcher = watch()
    project.until("a", "done")
    assert "the text after # is a comment" in watcher.text()


def new(project, *words: str | bytes, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [project.python, "-m", "orchestrator", "new", *words],
        cwd=project.root,
        env=project.env,
        input=stdin,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "stdin",
    [
        b"+caf\xe9\n",
        b"\xff\xfe\x00",
        b"a\0b",
        b"\xed\xa0\x80",
        bytes(range(256)),
    ],
)
def test_standard_input_of_any_bytes_is_queued_as_text(project, stdin):
    done = new(project, "Review:", "-", "--id", "d", stdin=stdin)
    assert done.returncode == 0 and b"not entirely UTF-8" in done.stderr
    project.run("validate")
    assert (
        "\ufffd" in (project.work / "inbox" / "d.yaml").read_text()
        or "\\uFFFD" in (project.work / "inbox" / "d.yaml").read_text()
    )


def test_arguments_of_any_bytes_are_text(project):
    done = new(project, b"caf\xe9", "--title", b"t\xff", "--id", "d")
    assert done.returncode == 0, done.stderr
    project.run("validate")


def test_what_is_too_long_to_be_run_is_not_queued(project):
    done = new(project, "Explain", "-", "--id", "d", stdin=b"x" * 1_200_000)
    assert (
        done.returncode == 4
        and b"the limit is 1 MiB" in done.stderr
        and b"--context" in done.stderr
    )
    assert not list((project.work / "inbox").glob("d*"))


@given(st.binary(max_size=200))
def test_readable_text_can_always_be_written(raw):
    text = encodings.readable(raw)
    assert "\0" not in text.encode().decode()  # that it has no half of a character, too
    assert encodings.readable(text) == text


def test_tasks_of_several_files_that_wait_for_each_other_are_told_of(project):
    project.drop("a.yaml", "agent: 'true'\nprompt: x\nneeds: [b]\n")
    project.drop("b.yaml", "agent: 'true'\nprompt: x\nneeds: [c]\n")
    project.drop("c.yaml", "agent: 'true'\nprompt: x\nneeds: [a]\n")
    project.drop("d.yaml", "agent: 'true'\nprompt: x\nneeds: [a]\n")
    done = project.run("validate", "--format", "concise", code=0).stdout.splitlines()
    assert [line.partition(":")[0] for line in done] == [f"work/inbox/{n}.yaml" for n in "abc"]
    assert "wait for each other: a needs b needs c needs a" in done[0]
    done = project.run("watch", "--until-empty", code=None).stdout
    assert done.count("wait for each other") == 1


def test_validate_takes_ids_folders_and_results(project):
    project.drop("good.yaml", "agent: 'true'\nprompt: x\n")
    project.drop("bad.yaml", "promt: x\n")
    assert "bad.yaml:1:1" in project.run("validate", "work/inbox", code=4).stdout
    assert "bad.yaml:1:1" in project.run("validate", "bad", code=4).stdout
    project.run("validate", "goo", code=0)
    project.run("watch", "--until-empty", code=None)
    project.run("validate", "work/results/good.yaml", code=0)
    (project.work / "results/good.yaml").write_text("task: good\n")
    assert "outcome" in project.run("validate", "work/results/good.yaml", code=4).stdout
    assert "no file nothere" in project.run("validate", "nothere", code=3).stderr


BLOCKS = [
    "diff --git a/x b/x\n+\tone\n-\ttwo\n",
    "a break  \nof Markdown\n",
    "one line with a\ttab",
    "🎉 ship it",
    "a\n\n\tb: c # d\n\n\n",
]


@pytest.mark.parametrize("text", BLOCKS)
def test_tabs_emoji_and_breaks_are_written_as_they_are(project, text):
    """The library would write them in quotes with escapes, and validate would warn of those."""
    said = project.run("new", "-", "--id", "t", stdin=text).stderr
    assert "escape" not in said and "warning" not in said
    written = (project.work / "inbox/t.yaml").read_text()
    assert "prompt: |" in written and all(line in written for line in text.split("\n"))
    assert documents.parse(written).data["prompt"].strip() == text.strip()
    assert not project.run("validate").stdout


@given(st.text("ab \t\n-:#🎉|'\"\u2028\r%{[", max_size=12))
def test_any_text_is_read_back_as_it_was_written(text):
    document = {"prompt": text, "tasks": {"x": {"prompt": text}}, "l": [text, {"k": [text]}]}
    assert yaml.safe_load(yamltext.result_text(document)) == document


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_standard_input_with_a_mark_is_read_as_what_it_is(project, encoding):
    words = [sys.executable, "-m", "orchestrator", "new", "-", "--id", "t"]
    subprocess.run(
        words, cwd=project.root, env=project.env, input="Grüße\n".encode(encoding), check=True
    )
    assert "prompt: Grüße\n" in (project.work / "inbox/t.yaml").read_text()


def test_a_long_circle_is_told_in_few_words(project):
    """Of 3,000 tasks the note had 26 KB."""
    count = 300
    for number in range(count):
        need = (number + 1) % count
        project.drop(f"t{number:03}.yaml", f"prompt: x\nneeds: [t{need:03}]\n")
    told = project.run("validate", "t000", "--format", "concise", code=0).stdout
    assert "t000 needs t001 needs " in told and " needs 291 more needs t000" in told
    assert len(told) < 400
    run = "tasks:\n" + "".join(
        f"  t{number}: {{prompt: x, needs: [t{(number + 1) % 30}]}}\n" for number in range(30)
    )
    project.drop("r.yaml", run)
    told = project.run("validate", "work/inbox/r.yaml", "--format", "concise", code=4).stdout
    assert " -> 21 more -> t0" in told
