"""Answers as data: `result: {schema: FILE}`."""

from __future__ import annotations

import json
import time

import pytest

from orchestrator.model.task import Task
from orchestrator.tools import answers
from orchestrator.tools.invocation import Session, command, fill
from orchestrator.tools.routing import routes
from orchestrator.tools.specs import load_tools

SCHEMA = {
    "type": "object",
    "required": ["verdict"],
    "properties": {"verdict": {"enum": ["pass", "fail"]}},
}
GOOD = {"verdict": "pass"}
AGENT = r"""
import json, os, sys
prompt = sys.stdin.read()
asked = "JSON Schema" in prompt
count = os.environ["HOME"] + "/said"
number = len(open(count).read()) if os.path.exists(count) else 0
open(count, "a").write("x")
open(count + "-prompts", "a").write(prompt + "\n=====\n")
says = json.load(open(os.environ["HOME"] + "/says.json"))
print(json.dumps({"type": "result", "text": says[min(number, len(says) - 1)], "session": "s1"}))
"""
SPEC = """argv: [python3, -I, {agent}]
resume: [--resume, "{{session}}"]
parse:
  session: "[?session] | [0].session"
  done: "[?type=='result']"
  text: "[?type=='result'] | [-1].text"
"""


@pytest.mark.parametrize(
    "text,value",
    [
        ('{"a": 1}', {"a": 1}),
        ("  [1, 2]\n", [1, 2]),
        ("42", 42),
        ('Here it is:\n```json\n{"a": 1}\n```\nThat is all.', {"a": 1}),
        ('First ```json\n{"a": 0}\n```\n', None),
        ('```\n{"a": 0}\n```\n```json\n{"a": 1}\n```', {"a": 1}),
        ('It is this:\n{\n  "a": [\n    1\n  ]\n}', {"a": [1]}),
        ({"a": 1}, {"a": 1}),
        ('My verdict: {"a": 1}', {"a": 1}),
        ('Here:\n  ```json\n  {"a": 1}\n  ```\nDone.', {"a": 1}),
        ('~~~json\n{"a": 1}\n~~~', {"a": 1}),
        ('```json\r\n{"a": 1}\r\n```\r\n', {"a": 1}),
        ('\ufeff{"a": 1}', {"a": 1}),
        ('{"a": 0}\n{"a": 1}', {"a": 1}),
        ('{"a": 1}\nThat was an example.', None),
        ("{'a': 1}", None),
        ('{"a": 1,}', None),
        ("no data", None),
        ("", None),
        (None, None),
        ('{"a": NaN}', None),
        ("[" * 100000, None),
    ],
)
def test_the_value_in_last_words(text, value):
    found, why = answers.value_of(text)
    assert found == value and bool(why) == (value is None)


@pytest.mark.parametrize(
    "schema,answer,why",
    [
        (SCHEMA, GOOD, ""),
        (SCHEMA, {"verdict": "maybe"}, "$.verdict: 'maybe' is not one of"),
        (SCHEMA, "[]", "is not of type 'object'"),
        (SCHEMA, "words", "it is not JSON"),
        ({"type": "nonsense"}, GOOD, "this is not a schema"),
        ({"$ref": "https://example.com/x.json"}, GOOD, "the schema cannot be used"),
        ({"type": "string", "pattern": "("}, json.dumps("x"), "not a schema"),
        ({}, json.dumps("x" * (300 << 10)), "bytes of JSON"),
        ({}, '{"n": 1e999}', "a number that is not finite"),
        ({}, {"n": float("nan")}, "a number that is not finite"),
        (
            {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "minimum": 1,
                "exclusiveMinimum": True,
            },
            "2",
            "",
        ),
        (
            {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "minimum": 1,
                "exclusiveMinimum": True,
            },
            "1",
            "minimum",
        ),
        ({"$ref": "#"}, "1", "the schema cannot be used"),
        ({"$ref": "file:///etc/passwd"}, "1", "the schema cannot be used"),
        (False, "1", "False schema"),
    ],
)
def test_an_answer_is_judged(schema, answer, why):
    value, found = answers.problem(json.dumps(schema), answer)
    assert (why in found) if why else (value, found) == (answers.value_of(answer)[0], "")


def test_a_schema_that_takes_for_ever_holds_up_nothing(monkeypatch):
    monkeypatch.setattr(answers, "SECONDS", 1.0)
    slow = {"type": "string", "pattern": "^(a+)+$"}
    assert "took longer" in answers.problem(json.dumps(slow), json.dumps("a" * 60 + "b"))[1]


def test_words_of_many_megabytes_hold_up_nothing(monkeypatch):
    """A value may begin at 200 lines, and the look at each held the interpreter's lock."""
    monkeypatch.setattr(answers, "SECONDS", 0.5)
    words = "\n".join(["[" + "[1]," * 20000] * 200)  # 16 MB
    before = time.thread_time()
    assert answers.problem("{}", words)[1]
    assert time.thread_time() - before < 1.0


@pytest.mark.parametrize(
    "tool,words",
    [
        ("claude", ["--json-schema", "S"]),
        ("codex", ["--output-schema", "F"]),
        ("qwen", ["--json-schema", "@F"]),
        ("gemini", []),
    ],
)
def test_who_can_keep_to_a_schema_is_given_it(tool, words):
    from orchestrator.model.config import config_from

    route = routes(Task("t", "p", agents=(tool,)), config_from({}), load_tools(None).tools)[0]
    values = dict.fromkeys(("model", "session", "budget"), "") | {"schema": "S", "schema_file": "F"}
    argv = fill(command(route, Session(), schema=True), values)
    assert [word for word in argv if "S" in word or "F" in word or "schema" in word] == words
    without = fill(command(route, Session()), values)
    assert not any("schema" in word for word in without)


@pytest.fixture
def answering(project, tmp_path):
    """Makes a task whose agent says these texts, one an attempt."""
    (tmp_path / "agent.py").write_text(AGENT)
    (project.work / "tools").mkdir(exist_ok=True)
    (project.work / "tools/s.yaml").write_text(SPEC.format(agent=tmp_path / "agent.py"))
    (project.root / "verdict.json").write_text(json.dumps(SCHEMA))
    project.env["HOME"] = str(tmp_path)

    def run(*says: str, **more) -> tuple[dict, list[str]]:
        (tmp_path / "says.json").write_text(json.dumps(says))
        task = {"agent": "s", "prompt": "judge it", "result": {"schema": "verdict.json"}, **more}
        project.drop("a.yaml", json.dumps(task))
        project.run("watch", "--until-empty", code=None)
        prompts = (tmp_path / "said-prompts").read_text().split("\n=====\n")
        return project.result("a"), prompts

    return run


def test_the_answer_is_data_in_the_result_and_for_who_follows(project, answering):
    then = [{"agent": "s", "title": "x", "prompt": "verdict {task.data.verdict} of {task.data}"}]
    result, prompts = answering(json.dumps(GOOD), "fine", then=then)
    assert result["data"] == GOOD and len(result["attempts"]) == 1
    assert "JSON Schema" in prompts[0] and "judge it" in prompts[0]
    assert any('verdict pass of {"verdict": "pass"}' in prompt for prompt in prompts)
    assert '{"verdict": "pass"}' in project.run("show", "a").stdout


def test_an_answer_that_does_not_fit_gets_one_more_turn(project, answering):
    result, prompts = answering("I think it is fine.", json.dumps(GOOD))
    assert project.where("a") == "done" and result["data"] == GOOD
    assert len(result["attempts"]) == 2 and result["attempts"][1]["resumed"]
    assert "not accepted" in prompts[1] and "JSON" in prompts[1]


def test_one_that_never_fits_fails_with_what_is_wrong(project, answering):
    result, prompts = answering('{"verdict": "perhaps"}')
    assert project.where("a") == "failed" and len(result["attempts"]) == 2
    assert result["error_class"] == "answer" and "$.verdict" in result["reason"]
    assert "data" not in result


def test_a_schema_that_is_not_there_is_told_at_once(project):
    project.drop("a.yaml", "prompt: x\nresult: {schema: none.json}\n")
    shown = project.run("validate", code=None)
    assert "there is no file none.json" in shown.stdout + shown.stderr
