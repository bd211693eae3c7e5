"""One entry of a run that stands for many tasks, against a model of it in a few lines."""

from __future__ import annotations

import itertools
import random
import string
import sys

import pytest

from orchestrator.files import schemas
from orchestrator.files.requests import load
from orchestrator.model import ids, matrix
from orchestrator.model.run import run_from
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
        ("{prompt: x, matrix: {file: [a]}, exclude: [{fil: a}]}", (2, 55), "no name of the matrix"),
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
