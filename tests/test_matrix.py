"""One entry of a run that stands for many tasks, against a model of it in a few lines."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import string
import subprocess
import sys
from pathlib import Path

import pytest
from faults import Cut, cut_off

from orchestrator.coordination.groups import Groups
from orchestrator.coordination.intake import RunFile
from orchestrator.files import listing, runfacts, scan, schemas
from orchestrator.files.requests import load, read
from orchestrator.model import ids, matrix
from orchestrator.model.run import run_from
from orchestrator.model.status import Status
from orchestrator.store import runs
from orchestrator.testing import Tube

TEXT = """\
tasks:
  tr:
    prompt: "Translate {file} to {lang}; {{file}} and {}"
    context: ["docs/{file}"]
    matrix: {file: [a.md, "b: {lang}\\nagent: evil"], lang: [de, fr]}
    exclude: [{file: a.md, lang: fr}]
  review: {prompt: "Review {it}", needs: [tr]}
"""


def loaded(text: str):
    return load("r.yaml", "r", text.encode(), schemas.check)


def test_every_combination_is_a_task_and_values_are_only_text():
    run = loaded(TEXT).run
    assert run is not None
    prompts = {task.id: task.prompt for task in run.all_tasks()}
    assert len(prompts) == 4
    assert prompts["r.tr-a-md-de"] == "Translate a.md to de; {file} and {}"
    evil = "b: {lang}\nagent: evil"
    assert f"Translate {evil} to fr; {{file}} and {{}}" in prompts.values()
    assert not any(task.agents for task in run.all_tasks())
    review = next(task for task in run.all_tasks() if task.id == "r.review")
    assert set(review.needs) == set(prompts) - {"r.review"} and review.prompt == "Review {it}"


@pytest.mark.parametrize("seed", range(100))
def test_keys_are_stable_unique_and_good(seed):
    chance = random.Random(seed)
    alphabet = string.ascii_letters + "äß 日.-/_{}:" + "0"
    axes = {
        name: list({"".join(chance.choices(alphabet, k=chance.randint(1, 30))) for _ in range(4)})
        for name in ("a", "b")
    }
    body = {"prompt": "{a}|{b}", "matrix": axes}
    made = matrix.expand("k", body)
    expected = {f"{a}|{b}" for a, b in itertools.product(*axes.values())}
    assert {task["prompt"] for task in made.values()} == expected
    assert len({ids.key(key) for key in made}) == len(expected)
    assert not any(ids.problem(f"{'r' * 40}.{key}") for key in made)
    shuffled = {name: chance.sample(values, len(values)) for name, values in axes.items()}
    again = matrix.expand("k", {"prompt": "{a}|{b}", "matrix": shuffled})
    assert {key: task["prompt"] for key, task in made.items()} == {
        key: task["prompt"] for key, task in again.items()
    }


@pytest.mark.parametrize(
    "body, place, words",
    [
        ("{prompt: 'x {fiel}', matrix: {file: [a]}}", (2, 15), "nothing fills {fiel}"),
        ("{prompt: x, matrix: {file: [a], b: []}}", (2, 41), "is empty"),
        ("{prompt: x, matrix: {file: [a]}, exclude: [{fil: a}]}", (2, 55), "not a name of the matrix"),
        ("{prompt: x, matrix: {file: [a]}, exclude: [{file: a}]}", (2, 48), "everything is excluded"),
        ("{prompt: x, exclude: [{file: a}]}", (2, 27), "no matrix to exclude from"),
        ("{prompt: x, matrix: {file: [a, a]}}", (2, 33), "twice"),
        ("{prompt: x, matrix: {'1': [a]}}", (2, 27), "is not a name"),
        ("{prompt: x, cwd: '{d}', matrix: {d: [/etc]}}", (2, 23), "absolute path"),
        ("{prompt: x, matrix: {d: [b]}}\n  a-b: x", (3, 3), "makes the task 'a-b' as well"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(body, place, words):
    found = loaded(f"tasks:\n  a: {body}\n").errors
    assert found and words in found[0].message, found
    assert (found[0].line, found[0].column) == place


def test_a_matrix_has_bounds():
    big = "[" + ", ".join(map(str, range(30))) + "]"
    found = loaded(f"tasks: {{a: {{prompt: x, matrix: {{a: {big}, b: {big}}}}}}}\n").errors
    assert "makes 900 tasks, more than 500" in found[0].message


def test_needs_that_wait_for_a_failure_are_spread_too():
    data = {
        "tasks": {
            "a": {"prompt": "x", "matrix": {"n": [1, True]}},
            "b": {"prompt": "x", "needs": {"a": "failed"}},
        }
    }
    assert run_from("r", data).tasks["r.b"]["needs"] == {"r.a-1": "failed", "r.a-true": "failed"}


def test_a_run_with_a_matrix_runs_and_accepted_twice_it_is_one(tmp_path):
    made = Tube(tmp_path)
    text = "tasks:\n  a: {agent: ok, prompt: 'do {n}', matrix: {n: [1, 2, 3]}}\n  b: {agent: ok, prompt: x, needs: [a]}\n"
    made.drop("r", text)
    made.run()
    assert [made.where(f"r.{key}") for key in ("a-1", "a-2", "a-3", "b")] == ["done"] * 4
    assert made.started[-1][1] == "r.b"
    made.drop("r", text)
    made.run()
    assert len(made.started) == 4


def test_reading_a_run_grows_with_its_tasks():
    """A chain of twice as many tasks takes twice the steps, counted as lines that are executed."""

    def steps(count: int) -> int:
        lines = [0]

        def trace(frame, kind, _):
            if frame.f_code.co_filename != run_from.__code__.co_filename:
                return None
            lines[0] += kind == "line"
            return trace

        body = {f"t{n}": {"prompt": "x", "needs": [f"t{n - 1}"] if n else []} for n in range(count)}
        sys.settrace(trace)
        try:
            run = run_from("r", {"tasks": body})
        finally:
            sys.settrace(None)
        assert run.tasks["r.t5"]["needs"] == ["r.t4"]
        return lines[0]

    assert 1.9 * steps(200) < steps(400) < 2.1 * steps(200)


# -- files as values --------------------------------------------------------------------------------------------------

EACH = """\
# every file, by its own name
tasks:
  mend: {agent: ok, prompt: "Mend {file}", each: src/**/*.py, exclude: [{file: src/b.py}]}  # not b
  page:
    agent: ok
    prompt: "{lang} of {page}"
    each:
      page: "docs/*.md"  # only the first level
    matrix: {lang: [de, fr]}
"""
NAMES = ("src/a.py", "src/b.py", "src/deep/c d.py", "src/x.txt", "docs/1e3.md", "docs/more/no.md")


def repository(folder, names=NAMES) -> None:
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (folder / ".gitignore").write_text("work/\n")
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def members(made: Tube) -> set[str]:
    return {name for status in Status for name, _ in scan.task_names(made.layout.folder(status))}


def test_each_makes_a_task_of_every_file_and_its_list_never_changes(tmp_path):
    repository(tmp_path)
    made = Tube(tmp_path)
    made.drop("r", EACH)
    made.run()
    ids_ = members(made)
    assert len(ids_) == 4 and {"r.page-de-docs-1e3-md", "r.mend-src-a-py"} <= ids_
    assert sum(name.startswith("r.mend") for name in ids_) == 2
    text = Path(made.layout.file("runs", "r.yaml")).read_text()
    assert "# only the first level" in text and "# not b" in text and "**" not in text
    repository(tmp_path, ["src/new.py", "docs/new.md"])
    again = load(made.layout.file("runs", "r.yaml"), "r", text.encode(), schemas.check)
    assert again.run is not None and set(again.run.members) == ids_
    made.run()
    assert members(made) == ids_ and made.where("r") == ""


@pytest.mark.parametrize(
    "each, place, words",
    [
        ("src/*.c", 36, "no file of this project matches 'src/*.c'"),
        ("../*.py", 36, "leads out of the project"),
        ("{path: src/*.py}", 15, "nothing fills {file}"),
        ("5", 36, "must be text or a mapping"),
        ("src/*.py, matrix: {file: [a]}", 61, "filled by matrix and by each"),
    ],
)
def test_what_is_wrong_with_each_is_said_with_its_place(tmp_path, each, place, words):
    repository(tmp_path)
    text = f"tasks:\n  a: {{prompt: 'Mend {{file}}', each: {each}}}\n"
    found = load(f"{tmp_path}/work/inbox/r.yaml", "r", text.encode(), schemas.check).errors
    assert found and words in found[0].message, found
    assert (found[0].line, found[0].column) == (2, place)


def test_each_needs_git_and_has_bounds(tmp_path):
    text = b"tasks: {a: {prompt: x, each: '*'}}\n"
    outside = load(f"{tmp_path}/work/inbox/r.yaml", "r", text, schemas.check).errors
    assert "not a git repository" in outside[0].message
    repository(tmp_path, [f"f{number}" for number in range(501)])
    many = load(f"{tmp_path}/work/inbox/r.yaml", "r", text, schemas.check).errors
    assert "502 files" in many[0].message and "more than 500" in many[0].message


def test_git_is_asked_once_for_each_pattern_and_not_for_very_many():
    def judged(patterns: list[str]) -> tuple[list[str], list[str]]:
        asked: list[str] = []
        text = "".join(
            f"  t{n}: {{prompt: 'x {{file}}', each: '{p}'}}\n" for n, p in enumerate(patterns)
        )

        def files(pattern: str) -> list[str]:
            asked.append(pattern)
            return ["a"]

        request = load("r.yaml", "r", f"tasks:\n{text}".encode(), schemas.check, files=files)
        return asked, [problem.message for problem in request.errors]

    assert judged(["*.a", "*.b", "*.a"]) == (["*.a", "*.b"], [])
    asked, errors = judged([f"*.{n}" for n in range(5000)])
    assert len(asked) == listing.MOST_PATTERNS
    assert errors == ["more than 100 different patterns in one run"]


@pytest.mark.parametrize("after", range(1, 26, 3))
def test_a_run_with_each_is_accepted_once_wherever_it_is_cut_off(tmp_path, after):
    """Cut off at each step that changes something; the next watcher finishes, or begins anew."""
    repository(tmp_path)
    made = Tube(tmp_path)
    made.drop("r", EACH)
    path = made.layout.file("inbox", "r.yaml")
    steps = ("move", "publish", "remove", "write_many", "write_temporary", "sync_folder")
    with cut_off(runs.atomic, steps, after), contextlib.suppress(Cut):
        content = read(path)
        run = load(path, "r", content.raw, schemas.check).run
        runs.accept(made.store, run, "r.yaml", content)
    made.run()
    assert len(members(made)) == 4 and len(made.started) == 4
    assert os.path.exists(made.layout.file("runs", "r.yaml")) and not os.path.exists(path)


def test_a_large_run_is_not_read_again_when_the_next_watcher_begins(tmp_path):
    """Its file is broken without anybody's knowing: the next watcher has not looked into it, and knows its limits and members."""
    made = Tube(tmp_path)
    tasks = "".join(f"  t{number}: {{agent: ok, prompt: {'x' * 20}}}\n" for number in range(900))
    made.drop("R", f"max_parallel: 3\non_failure: stop\nmax_cost_usd: 5\ntasks:\n{tasks}")
    content = read(made.layout.file("inbox", "R.yaml"))
    run = load("R.yaml", "R", content.raw, schemas.check).run
    Groups(made.layout).accept(made.store, "R.yaml", RunFile((0, 0, 0), content, run))
    path = Path(made.layout.file("runs", "R.yaml"))
    whole, before = path.read_bytes(), path.stat()
    path.write_bytes(b"[" * len(whole))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = Groups(made.layout).get("R")
    assert found.members == run.members and len(found.members) == 900
    for name in runfacts.FACTS:
        assert getattr(found, name) == getattr(run, name)
    path.write_bytes(whole.replace(b"max_parallel: 3", b"max_parallel: 2"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert Groups(made.layout).get("R").max_parallel == 2  # edited: it is read, and remembered anew
    (remembered,) = Path(runfacts.folder(made.layout)).iterdir()
    assert '"max_parallel": 2' in remembered.read_text()
    path.unlink()
    assert Groups(made.layout).get("R") is None
