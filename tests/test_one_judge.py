"""A file of the inbox is one thing at a time, whoever is asked: the pane, ``status``, ``why``, the exit code."""

from __future__ import annotations

import json
import re

import pytest
from conftest import wait_until

WRONG, RIGHT = "agent: 'true'\npromt: x\n", "agent: 'true'\nprompt: x\n"
# text, held by an editor, held by a program -> what every verb calls it, and in what words
STATES = {
    "empty": ("", "", "invalid", "1:1 there is no task in this file"),
    "only a comment": ("# later\n", "", "invalid", "1:1 there is no task in this file"),
    "empty, open in vim": ("", "swp", "invalid", "1:1 there is no task in this file"),
    "wrong, open in vim": (WRONG, "swp", "invalid", "2:1 unknown key 'promt'"),
    "wrong, open in emacs": (WRONG, "#", "invalid", "2:1 unknown key 'promt'"),
    "right, open in vim": (RIGHT, "swp", "waiting", "it is open in an editor"),
    "half written": ("agent: 'tr", "program", "waiting", "it is being written"),
    "empty, being written": ("", "program", "waiting", "it is being written"),
    "names no file": ("prompt_file: gone.md\n", "", "invalid", "1:14 prompt_file: there is no"),
}


@pytest.mark.parametrize("state", STATES)
def test_everybody_gives_one_answer(project, state):
    text, held, word, words = STATES[state]
    path = project.work / "inbox/x.yaml"
    path.write_text(text)
    marks = {"swp": path.with_name(".x.yaml.swp"), "#": path.with_name(".#x.yaml")}
    if held in marks:
        marks[held].touch()
    with open(path, "a") if held == "program" else open("/dev/null"):
        before = [project.json("status"), project.json("list"), project.run("why", "x").stdout]
        done = project.run("watch", "--until-empty", code=7)
        after = [project.json("status"), project.json("list"), project.run("why", "x").stdout]
    for overview, listed, why in (before, after):
        rows = [*overview["invalid"], *overview["waiting"]]
        assert [(row["status"], row["id"]) for row in rows] == [(word, "x")]
        assert [row["status"] for row in listed["tasks"]] == [word]
        assert words in rows[0]["detail"] and words in why
        assert overview["counts"][word] == 1
        assert overview["editing"] == (["x"] if word == "waiting" else [])
    assert re.search(rf"{word} +x +\w+=\"{re.escape(words)}", done.stdout)
    assert done.stdout.endswith(f"0 done, 0 left running, 1 {word}\n")
    assert (project.work / "inbox/x.error.md").exists() == (word == "invalid")


def test_a_file_that_is_mended_in_an_editor_is_not_called_broken(project, watch):
    """It is judged when it is saved, not when the editor is closed: its error is gone, in the note as well."""
    path, swap = project.work / "inbox/x.yaml", project.work / "inbox/.x.yaml.swp"
    note = project.work / "inbox/x.error.md"
    swap.touch()
    path.write_text(WRONG)
    watcher = watch()
    wait_until(note.exists, "it is called invalid while it is open")
    path.write_text(RIGHT)
    wait_until(lambda: not note.exists(), "its note is gone")
    assert project.json("why", "x")["gates"][0]["name"] == "editing"
    swap.unlink()
    project.settled("x", "done")
    lines = [line.split()[1] for line in watcher.text().splitlines() if " x " in line]
    assert lines[:2] == ["invalid", "editing"]


def test_a_large_file_in_an_editor_is_judged_as_well(project, watch):
    """What is judged beside the loop must not start while an editor has it open."""
    path, swap = project.work / "inbox/x.yaml", project.work / "inbox/.x.yaml.swp"
    swap.touch()
    path.write_text(RIGHT.replace("x", "y" * (40 << 10)))
    watcher = watch()
    wait_until(lambda: "editing   x" in watcher.text(), "it waits for its editor")
    assert project.where("x") == "inbox"
    swap.unlink()
    project.settled("x", "done")


def test_the_reasons_are_values_too(project):
    project.drop("x.yaml", RIGHT)
    (project.work / "inbox/.x.yaml.swp").touch()
    found = json.loads(project.run("why", "x", "--json").stdout)
    assert [gate["name"] for gate in found["gates"]] == ["editing", "watcher"]
