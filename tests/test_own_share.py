"""What one attempt used, which session goes on, and which end counts: rules over what tools print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
from orchestrator.tools.ending import verdict
from orchestrator.tools.failures import classify
from orchestrator.tools.output import Said, read
from orchestrator.tools.share import came_to_nothing, own_share, session_of
from orchestrator.tools.specs import load_tools

CLAUDE = load_tools(None).tools["claude"].parse
CODEX = load_tools(None).tools["codex"].parse


def said(folder: Path, *events: dict) -> Said:
    (folder / "stdout.log").write_text("".join(json.dumps(event) + "\n" for event in events))
    return read(CLAUDE, str(folder))


def result(**more) -> dict:
    return {"type": "result", "is_error": False, "result": "ok", "session_id": "s", **more}


OLD = {"usage": {"input_tokens": 10, "cache_creation_input_tokens": 5, "output_tokens": 3}}
NEW = {"modelUsage": {"m": {"inputTokens": 7, "outputTokens": 2, "costUSD": 0.5}}}


def test_a_result_without_figures_by_model_has_the_older_ones(tmp_path):
    found = said(tmp_path, result(total_cost_usd=0.004, **OLD))
    assert found.usage == {"input": 15, "cache_write": 5, "output": 3}
    assert (found.cost_usd, found.session_cost) == (None, 0.004)


def test_figures_by_model_come_first(tmp_path):
    found = said(tmp_path, result(total_cost_usd=9.0, **OLD, **NEW))
    assert (found.usage["input"], found.usage["output"], found.cost_usd) == (7, 2, 0.5)


def costs(*totals: float, sessions: str = "sss") -> list[float | None]:
    """What each of the attempts cost, whose tool says what the session cost so far."""
    found: list[Reading] = []
    for total, session in zip(totals, sessions, strict=False):
        reading = Reading(Outcome.SUCCEEDED, session=session, session_cost=total)
        earlier = [{"session": item.session, "cost_usd": item.cost_usd} for item in found]
        found.append(own_share(CLAUDE, reading, earlier))
    return [item.cost_usd and round(item.cost_usd, 6) for item in found]


def test_the_cost_of_a_session_is_counted_once():
    assert costs(0.004, 0.008, 0.012) == [0.004, 0.004, 0.004]
    assert costs(0.004, 0.004, 0.012, sessions="sts") == [0.004, 0.004, 0.008]
    assert costs(0.004, 0.002) == [0.004, 0.0]  # never negative
    assert costs(0.0) == [None]  # nothing was used, or nothing is known


@pytest.mark.parametrize(
    "parse, named, cause, goes_on_with",
    [
        (CLAUDE, "named", "", "named"),
        (CLAUDE, "", "", ""),  # it crashed before it named the session
        (CLAUDE, "", "start", ""),
        (None, "", "", "begun"),  # a tool that never names one
        (CODEX, "", "timeout", ""),
    ],
)
def test_a_session_that_was_never_reported_is_not_resumed(parse, named, cause, goes_on_with):
    reading = Reading(Outcome.FAILED, session=named)
    assert session_of(parse, reading, cause, "begun") == goes_on_with


@pytest.mark.parametrize(
    "cause, goes_on_with",
    [("cancelled", "begun"), ("timeout", "begun"), ("silence", "begun"), ("lost", "begun"), ("", "")],
)  # fmt: skip
def test_a_session_that_was_resumed_outlives_a_stop(cause, goes_on_with):
    """It was stopped before it said a word; one that ended by itself did not find its session."""
    reading = Reading(Outcome.FAILED)
    assert session_of(CLAUDE, reading, cause, "begun", resumed=True) == goes_on_with


DONE, FAILED = "[?d]", "[?f]"


@pytest.mark.parametrize(
    "events, done, failed, warned",
    [
        ([{"d": 1}], True, False, False),
        ([{"f": "no"}], False, True, False),
        ([{"d": 1}, {"f": "no", "turns": 0}], True, False, True),  # the program's own
        ([{"f": "no", "turns": 0}], False, True, False),
        ([{"d": 1}, {"f": "no", "turns": 1}], False, True, False),
        ([{"f": "no"}, {"x": 1}, {"d": 1}], True, False, True),
    ],
)
def test_an_error_for_which_nothing_was_done_does_not_undo_the_result(events, done, failed, warned):
    found = verdict(DONE, FAILED, "[?f] | [-1].f", events, "[?turns==`0`]")
    assert (found.done, found.failed, bool(found.warnings)) == (done, failed, warned)


@pytest.mark.parametrize(
    "text",
    [
        "Something is wrong with the model you chose (opus-x). It may not exist, or you may have no access to it.",
        "There's an issue with the selected model (opus-x). It may not exist or you may not have access to it.",
        "model: gpt-9 is not supported when using this account",
        "The model `gpt-9` does not exist",
        "Unknown model: gpt-9",
        "invalid model name",
        "models/gemini-9 is not found for API version v1beta",
        "This model has been retired",
    ],
)
def test_a_model_that_is_not_to_be_had_is_no_passing_failure(text):
    found = classify(text, (), 0.0)
    assert found is not None and found.kind == "bad_request"


@pytest.mark.parametrize(
    "text", ["the data model was changed", "model training took 40 s", "modelling done"]
)
def test_other_words_of_models_say_nothing(text):
    assert classify(text, (), 0.0) is None


def test_one_resume_that_came_to_nothing_is_enough():
    failed = {"outcome": "failed", "error_class": "exit", "resumed": True}
    assert came_to_nothing(failed) and came_to_nothing({**failed, "outcome": "timed_out"})
    assert not came_to_nothing({**failed, "resumed": False})  # its first attempt
    assert not came_to_nothing({**failed, "usage": {"input": 5}})  # it has worked in it
    assert not came_to_nothing({**failed, "error_class": "overloaded"})
    assert not came_to_nothing({**failed, "outcome": "succeeded"})
