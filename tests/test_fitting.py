"""The quick look is sure only of what the schema library accepts, and it is sure of every ordinary file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from orchestrator.files.fitting import RULES, SILENT, fits
from orchestrator.files.layout import schema_bytes

SCHEMAS = {kind: json.loads(schema_bytes(kind)) for kind in ("task", "run")}
VALIDATORS = {kind: Draft202012Validator(schema) for kind, schema in SCHEMAS.items()}

KEYS = sorted(
    {*SCHEMAS["task"]["properties"], *SCHEMAS["run"]["properties"], "x-a", "promt", "a.b"}
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 200_000),
    st.floats(),
    st.sampled_from(
        ["", "15m", "2 h", "high", "a", "../b", "batch", "2026-11-30", "$1", "a b", "\u2028"]
    ),
    st.text(max_size=8),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("kind", SCHEMAS)
@settings(max_examples=400)
@given(data=st.one_of(VALUES, st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8)))
def test_what_is_sure_has_no_error(kind, data):
    if fits(SCHEMAS[kind], data):
        assert not list(VALIDATORS[kind].iter_errors(data))


@pytest.mark.parametrize("kind", SCHEMAS)
@settings(max_examples=400)
@given(data=st.data())
def test_each_key_by_itself(kind, data):
    """One key at a time, beside a prompt: most of these fit, so that being sure is tried often."""
    key = data.draw(st.sampled_from(sorted(SCHEMAS[kind]["properties"])))
    value = data.draw(VALUES)
    document = {"prompt": "x", key: value}
    if fits(SCHEMAS[kind], document):
        assert not list(VALIDATORS[kind].iter_errors(document))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_examples_of_the_schema_are_sure(kind):
    examples = SCHEMAS[kind].get("examples", [])
    assert examples
    assert all(fits(SCHEMAS[kind], example) for example in examples)


def test_a_word_without_a_rule_is_never_sure():
    assert not {"const", "$ref", "not", "oneOf"} & {*RULES, *SILENT}
    assert not fits({"const": 1}, 1)
