"""Untrusted text: every problem has a place, nothing hangs, nothing is guessed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from orchestrator.files import diagnostics, schemas
from orchestrator.files.documents import MAX_DEPTH, parse
from orchestrator.files.layout import schema_bytes
from orchestrator.files.requests import load


def problems(text: str | bytes, name: str = "t.yaml") -> list[tuple[int, int, str, str]]:
    request = load(
        name,
        name.split(".", maxsplit=1)[0],
        text.encode() if isinstance(text, str) else text,
        schemas.check,
    )
    return [(item.line, item.column, item.message, item.hint) for item in request.problems]


@pytest.mark.parametrize(
    "text, line, column, words, hint",
    [
        ("promt: x\n", 1, 1, "unknown key 'promt'", "did you mean 'prompt'?"),
        ("prompt: x\nstatus: done\n", 2, 1, "unknown key 'status'", "the folder is the status"),
        ("prompt: x\nfoo: 1\n", 2, 1, "unknown key 'foo'", "x-"),
        ("title: x\n", 1, 1, "there is no prompt", "prompt: ..."),
        ("prompt: ''\n", 1, 9, "is empty", "say what to do"),
        ("prompt: '  '\n", 1, 9, "is empty", "say what to do"),
        ("prompt: 5\n", 1, 9, "must be text", 'quote it:  "5"'),
        ("prompt: yes\nhold: yes\n", 2, 7, "must be true or false", "write true"),
        (
            "prompt: x\ntimeout: 10 minutes\n",
            2,
            10,
            "'10 minutes' is not a duration",
            "write 10m",
        ),
        ("prompt: x\ntimeout: 90\n", 2, 10, "must be text", "write a unit: 90s, 90m or 90h"),
        ("prompt: x\npriority: urgent\n", 2, 11, "not one of the allowed", "high, normal, low"),
        ("prompt: x\npriority: hihg\n", 2, 11, "not one of the allowed", "did you mean 'high'?"),
        ("prompt: x\nneeds: a\n", 2, 8, "must be a list", "write  [a]"),
        ("prompt: x\nneeds: [t]\n", 2, 9, "cannot need itself", ""),
        ("prompt: x\nneeds: [../a]\n", 2, 9, "is not an id", ""),
        ("prompt: x\nretries: -1\n", 2, 10, "at least 0", ""),
        ("prompt: x\nretries: '1'\n", 2, 10, "must be a whole number", "remove the quotes"),
        ("prompt: x\nnot_before: tomorrow\n", 2, 13, "is not a time", "2026-11-30"),
        ("prompt: x\nnot_before: 2025-02-29\n", 2, 13, "is not a valid time", ""),
        ("prompt: x\nnot_before: 2026-01-01T00:00:00+99:99\n", 2, 13, "is not a valid time", ""),
        ("prompt: x\ntimeout: 99999999h\n", 2, 10, "is longer than ten years", ""),
        ("prompt: x\ncwd: /etc\n", 2, 6, "absolute path", "inside the project"),
        (
            "prompt: x\ncontext: [../../etc/passwd]\n",
            2,
            11,
            "leads out of the project",
            "inside the project",
        ),
        ("prompt: x\nenv: {LD_PRELOAD: x}\n", 2, 7, "may not set LD_PRELOAD", "orchestrator.yaml"),
        ("prompt: x\nenv: {A: 1}\n", 2, 10, "must be text", 'quote it:  "1"'),
        ("prompt: x\nprompt_file: y\n", 2, 1, "twice", "keep one"),
        ("prompt: x\nprompt: y\n", 2, 1, "the key 'prompt' appears twice", "keep one"),
        ("prompt: fix: the thing\n", 1, 12, "not valid YAML: mapping values", "prompt: |"),
        ("prompt: @me\n", 1, 9, "not valid YAML", "needs quotes"),
        ("prompt: `x`\n", 1, 9, "not valid YAML", "needs quotes"),
        ("\tprompt: x\n", 1, 1, "not valid YAML", "spaces, not tabs"),
        ("prompt: 'abc\n", 1, 9, "not valid YAML", "never closed"),
        ("prompt: [a, b\nx: y\n", 1, 9, "not valid YAML", "not closed"),
        ("prompt: &a x\n", 1, 9, "anchors", "write the value out"),
        ("prompt: *a\n", 1, 9, "aliases", "write the value out"),
        ("prompt: !!python/object:os.system x\n", 1, 9, "the tag", "remove it"),
        ("a: {b: 1}\n<<: {c: 2}\n", 2, 1, "merge keys", "write the values out"),
        ("prompt: x\n---\nprompt: y\n", 2, 1, "second YAML document", "one file is one task"),
        ("- a\n", 1, 1, "must be a mapping", ""),
        ("just text\n", 1, 1, "must be a mapping", ""),
        ("? [a]\n: b\n", 1, 3, "a key must be text", ""),
        ("prompt: x\nx-n: " + "9" * 5000 + "\n", 2, 6, "digits", "quote it"),
        (
            "<<<<<<< HEAD\nprompt: a\n=======\nprompt: b\n>>>>>>> x\n",
            1,
            1,
            "conflict",
            "keep one side",
        ),
        (
            "tasks: {a: x, b: {prompt: y, needs: [a], agnet: z}}\n",
            1,
            42,
            "unknown key 'agnet'",
            "did you mean 'agent'?",
        ),
        ("tasks: {}\n", 1, 8, "is empty", ""),
        (
            "tasks: {a: {prompt: x, needs: [b]}, b: {prompt: y, needs: [a]}}\n",
            1,
            31,
            "wait for each other",
            "remove",
        ),
        ("tasks: {a/b: x}\n", 1, 9, "is not a key", ""),
        ("tasks: [a, a]\n", 1, 8, "twice", ""),
        ("prompt: x\0y\n", 1, 10, "not valid YAML", "control character"),
        ("prompt: fix #42\n", 1, 9, "after # is a comment", "quotes"),
    ],
)
def test_what_is_wrong_where(text, line, column, words, hint):
    found = problems(text)
    assert found, "no problem was found"
    assert any(
        item[0] == line and item[1] == column and words in item[2] and hint in item[3]
        for item in found
    ), found


def test_all_problems_at_once_in_order():
    found = problems("promt: x\nagent: 5\ntimeout: soon\nretries: many\n")
    assert [item[0] for item in found] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "raw, line, column", [(b"prompt: \xff\n", 1, 9), (b"a: b\nprompt: \xc3\xa9\xe9\n", 2, 10)]
)
def test_not_utf8(raw, line, column):
    assert [item[:2] for item in problems(raw)] == [(line, column)]


@pytest.mark.parametrize(
    "text",
    [
        "prompt: hello\n",
        "\ufeffprompt: hello\n",
        "prompt: hello\r\ntitle: x\r\n",
        "prompt: 日本語\n",
        "{prompt: x}\n",
        "prompt: |\n  a: b\n  - c # d\n",
        "prompt: x\nx-any: [1, {a: 2.5}, null]\n",
        "# only\n---\nprompt: x\n",
        "prompt: x\nnot_before: 2026-11-30\ntimeout: 1h30m\nneeds: [a-b, 日本語]\nenv: {A: 'b'}\n",
        "tasks:\n  a: Do a.\n  b: {prompt: Do b., needs: [a]}\n",
        "tasks: [x, y]\n",
    ],
)
def test_what_is_right(text):
    assert problems(text) == []


def test_scalars_are_those_of_yaml_1_2():
    data = parse(
        "a: no\nb: 10:30\nc: 2026-11-22\nd: 010\ne: 0o10\nf: 1e3\ng: ~\nh: 'true'\ni: true\nj: 0x1F\nk: .5\n"
    ).data
    assert data == {
        "a": "no",
        "b": "10:30",
        "c": "2026-11-22",
        "d": 10,
        "e": 8,
        "f": 1000.0,
        "g": None,
        "h": "true",
        "i": True,
        "j": 31,
        "k": 0.5,
    }


@pytest.mark.parametrize(
    "name, text",
    [
        ("t.md", "---\nagent: demo\n---\nDo it.\n\n- a\n"),
        ("t.yaml", "---\nagent: demo\n---\nDo it.\n\n- a\n"),
        ("t.yml", "agent: demo\nprompt: |\n  Do it.\n\n  - a\n"),
    ],
)
def test_forms_of_a_task_are_equal(name, text):
    task = load(name, "t", text.encode(), schemas.check).task
    assert (task.agent, task.prompt, task.title) == ("demo", "Do it.\n\n- a\n", "Do it.")


def test_markdown_needs_front_matter():
    assert "front matter" in problems("Do it.\n", "t.md")[0][2]
    assert "twice" in problems("---\nprompt: x\n---\nDo it.\n", "t.md")[0][2]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 25_000,
        "{a: " * 5_000,
        "- " * 30_000,
        "a: [" + "x, " * 100_000 + "]",
        "&a [" + "*a," * 9 + "]",
        "? " * 10_000,
        "- a\n" * 100_000,
        "'" + "x" * 10**6,
        "a: |\n" + " x\n" * 100_000,
        "#" * 10**6,
        "!" * 10_000,
        "%YAML 9.9\n---\na: b\n",
    ],
)
def test_hostile_yaml_ends_quickly_with_a_problem(text):
    request = load("t.yaml", "t", text.encode()[: 1 << 20], schemas.check)
    assert request.problems and request.task is None
    assert all(len(item.message) < 300 for item in request.problems)


def test_depth_is_bounded():
    assert "deeper" in parse("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).problems[0].message
    assert not parse("[" * MAX_DEPTH + "]" * MAX_DEPTH).problems


@settings(max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=300).map(str.encode),
        st.text("abc:-[]{}'\"|>&*!%#@`,?~ \n\t0123.prompt", max_size=200).map(str.encode),
    )
)
def test_any_bytes_are_understood_or_refused(raw):
    request = load("t.yaml", "t", raw, schemas.check)
    lines = request.document.text.split("\n")
    for item in request.problems:
        assert 1 <= item.line <= len(lines) + 1 and item.column >= 1
        diagnostics.full("t.yaml", request.document, item)
    assert request.errors or request.task or request.run


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_on_a_terminal_a_problem_is_broken_between_words(columns):
    text = f"prompt: x\ntimeout: {'ten minutes at the very most ' * 9}\n"
    request = load("a-long-name.yaml", "t", text.encode(), schemas.check)
    said = diagnostics.render(
        "full", [("a-long-name.yaml", request.document, request.problems)], columns=columns
    )
    lines = said.split("\n")
    assert all(len(line) <= columns for line in lines)
    place = next(number for number, line in enumerate(lines) if line.strip("| ")[:1] == "^")
    caret = lines[place].index("^")
    assert lines[place - 1][caret:].startswith("ten minutes")
    assert lines[0].startswith("a-long-name.yaml:2:10: error:")
    assert all(line.startswith("    ") for line in lines[1 : place - 1])
    assert "write 90s" in " ".join(said.split())


def test_formats():
    request = load("a,b:c.yaml", "t", b"promt: x\n", schemas.check)
    found = [("a,b:c.yaml", request.document, request.problems)]
    assert diagnostics.render("full", found) == (
        "a,b:c.yaml:1:1: error: unknown key 'promt'\n  1 | promt: x\n    | ^^^^^\n    = hint: did you mean 'prompt'?"
    )
    assert (
        diagnostics.render("concise", found)
        == "a,b:c.yaml:1:1: unknown key 'promt' (did you mean 'prompt'?)"
    )
    assert diagnostics.render("github", found) == (
        "::error file=a%2Cb%3Ac.yaml,line=1,col=1::unknown key 'promt'. did you mean 'prompt'?"
    )
    assert json.loads(diagnostics.render("json", found))["problems"][0]["line"] == 1


def test_escapes_do_not_reach_the_terminal():
    request = load("t.yaml", "t", b'prompt: x\n"\x1b]0;evil": 1\n', schemas.check)
    assert "\x1b" not in diagnostics.render(
        "full", [("\x1b[31mt.yaml", request.document, request.problems)]
    )


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_schemas(kind):
    schema = json.loads(schema_bytes(kind))
    Draft202012Validator.check_schema(schema)
    assert schema["description"] and schema["examples"]
    for example in schema["examples"]:
        Draft202012Validator(schema).validate(example)

    def described(part, path):
        for key, rule in part.get("properties", {}).items():
            if (
                path != "run/defaults"
                and isinstance(rule, dict)
                and path.count("/") < 2
                and "attempts" not in path
            ):
                assert rule.get("description") or path.startswith("result/artifacts"), (
                    f"{path}/{key} has no description"
                )
            described(rule, f"{path}/{key}")

    described(schema, kind)
