"""YAML as people write it: the hint goes by the offending character, and the caret stands at it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.files import encodings, mistakes, schemas
from orchestrator.files.nearness import Near
from orchestrator.files.requests import load
from orchestrator.model import foreign

# text, line, column, words of the message or the hint
WRONG = [
    # backslashes
    ('prompt: "Fix C:\\Users\\me"\n', 1, 16, "backslash"),
    ('prompt: "Replace \\d+ by N"\n', 1, 18, "backslash"),
    ('prompt: "\\xZZ"\n', 1, 10, "backslash"),
    ('title: a\nprompt: "one\n  two \\w"\n', 3, 7, "backslash"),
    # characters that are not what they look like
    ("prompt:\u00a0do it\n", 1, 8, "no-break space (U+00A0) after the colon"),
    ("title: x\nprompt:\u00a0do it\n", 2, 8, "no-break space"),
    ("title: x\nprompt:\u202fdo it\n", 2, 8, "no-break space (U+202F)"),
    ("prompt: |\n\u00a0\u00a0do it\n", 2, 1, "no-break space (U+00A0) indents"),
    ("prompt: x\nneeds:\n  -\u00a0a\n", 3, 3, "no-break space"),
    ("prompt：do it\n", 1, 7, "full-width colon"),
    ("agent: demo\nprompt：do it\n", 2, 7, "full-width colon"),
    ("agent: demo\nprompt\u2236 do it\n", 2, 7, "full-width colon"),
    ("agent: a\n\u3000prompt: x\n", 2, 1, "U+3000"),
    ("prompt: x\nagent\u200b: y\n", 2, 1, "invisible character (U+200B)"),
    ("prompt: x\nagent\ufeff: y\n", 2, 1, "invisible character"),
    ("“prompt”: x\n", 1, 1, "typographic quote"),
    ("“prompt”: x: y\n", 1, 1, "typographic quote"),
    ("prompt: “Fix: it”\n", 1, 9, "typographic quote"),
    ("prompt: ‘Fix: it’\n", 1, 9, "typographic quote"),
    ("prompt: fix\nneeds:\n– a\n", 3, 1, "begin with '- '"),
    ("prompt: fix\nneeds:\n• a\n", 3, 1, "begin with '- '"),
    # colons, signs
    ("prompt:x\n", 1, 7, "put a space after the colon"),
    ("agent: demo\nprompt:x\n", 2, 7, "put a space after the colon"),
    ("agent: demo\nprompt:x\ntitle: y\n", 2, 7, "put a space after the colon"),
    ("prompt = x\n", 1, 8, "with a colon"),
    ("prompt=x\n", 1, 7, "with a colon"),
    ("prompt => x\n", 1, 8, "with a colon"),
    ("prompt: x\nneeds:\n  -a\n", 3, 3, "space after the dash"),
    ("prompt: x\nenv: {A:1}\n", 2, 10, "space after the colon"),
    ("prompt: #nothing\n", 1, 8, "is a comment"),
    ("prompt: x\ntitle: #12\n", 2, 7, "is a comment"),
    # values of the wrong type
    ("prompt: 0755\n", 1, 9, 'quote it:  "0755"'),
    ("prompt: 1_000\nenv: {A: 0x1F}\n", 2, 10, 'quote it:  "0x1F"'),
    ("prompt: x\nhold: 'true'\n", 2, 7, "remove the quotes: true"),
    ("prompt:\n  - a\n  - b\n", 2, 3, "prompt: |"),
    ("prompt: ''\n", 1, 9, "say what to do"),
    (f"tasks:\n  {'k' * 61}: {{prompt: x}}\n", 2, 3, "' is longer than 60 characters"),
    (f"prompt: x\nenv: {{{'K' * 201}: a}}\n", 2, 7, "the key 'KKK"),
    # quotes and what looks like syntax
    ("prompt: {{name}}\n", 1, 10, "starts with { needs quotes"),
    ("prompt: 'don't do it'\n", 1, 14, "written twice"),
    ('prompt: "he said "hi" there"\n', 1, 19, "after the closing quote"),
    ('prompt: "Fix" the login\n', 1, 15, "after the closing quote"),
    ("prompt: **Fix** it\n", 1, 9, "starts with *"),
    ("prompt: - do\n", 1, 9, "starts with -"),
    ("prompt: ? what\n", 1, 9, "starts with ?"),
    ("prompt: & x\n", 1, 9, "starts with &"),
    ("prompt: &x\n", 1, 9, "begins with & needs quotes"),
    ("prompt: *x\n", 1, 9, "begins with * needs quotes"),
    ("prompt: !fix it\n", 1, 9, "begins with ! needs quotes"),
    ("prompt: [wip] fix\n", 1, 15, "starts with ["),
    ("prompt: {x} y\n", 1, 13, "starts with {"),
    ("prompt: > text\n  more\n", 1, 11, "next line"),
    ("prompt: |text\n", 1, 10, "next line"),
    ("```yaml\nprompt: x\n```\n", 1, 1, "remove the lines with ```"),
    ("prompt: x\n  agent: y\n", 2, 8, "check the indentation"),
    ("agent:\n\tdemo\nprompt: x\n", 2, 1, "not tabs"),
    # several documents
    ("---\ntitle: a\n---\nprompt: b\n---\nprompt: c\n", 3, 1, "document"),
    ("---\nagent: demo\n---\nprompt: b\n", 3, 1, "document"),
    ("---\nprompt: a\n---\n# next\nprompt: b\n", 3, 1, "document"),
    ("---\nagent: demo\n---\nDo it.\n\n---\nprompt: b\n", 6, 1, "document"),
    ("prompt: a\n---\nprompt: b\n", 2, 1, "document"),
    ("prompt: a\n...\nprompt: b\n", 3, 1, "one file is one task"),
    # lines that are none
    ("prompt: x\u2028agent: sh\n", 1, 10, "U+2028"),
    ("prompt: fix # see\u2028agent: sh\n", 1, 18, "U+2028"),
    ("prompt: fix # see\u0085agent: sh\n", 1, 18, "U+0085"),
    ("prompt: |\n  x\u2029agent: sh\n", 2, 4, "U+2029"),
    ("prompt: a\ragent: sh\n", 1, 10, "carriage return"),
    ("x: [\u2028\nprompt: y\n", 1, 5, "U+2028"),
    # dashes, comments and commas that are none, letters of other scripts
    ("———\nprompt: x\n", 1, 1, "three plain ones"),
    ("—-\nprompt: x\n", 1, 1, "three plain ones"),
    ('{\n  // why\n  "prompt": "x"\n}\n', 2, 3, "a comment begins with #"),
    ("prompt: x\n// why\ntitle: y\n", 2, 1, "a comment begins with #"),
    ("prompt: x\nneeds: [a，b]\n", 2, 9, "full-width comma ('，', U+FF0C)"),
    ("prompt: x\nneeds: [a、b]\n", 2, 9, "full-width comma ('、', U+3001)"),
    ("pr\u043empt: x\n", 1, 1, "the letter 'о' (U+043E) is not the Latin one: type 'prompt'"),
    ("prompt: x\nt\u0456tle: y\n", 2, 1, "(U+0456) is not the Latin one: type 'title'"),
    ("ｐrompt: x\n", 1, 1, "(U+FF50) is not the Latin one: type 'prompt'"),
    # keys that do not stand below each other
    ("  prompt: x\ntimeout: 5m\n", 2, 1, "indented less than the first one"),
    ("# x\n  prompt: x\ntimeout: 5m\n", 3, 1, "indented less than the first one"),
    ('"prompt:" x\n', 1, 11, "the colon comes after the closing quote"),
    # one word or a text where there should be a list or a mapping: told once, with what to write
    ("prompt: x\nneeds: a\n", 2, 8, "must be a list or a mapping, not text write  [a]"),
    ("prompt: x\nneeds: a, b\n", 2, 8, "write  [a, b]"),
    ("prompt: x\nlabels: a b\n", 2, 9, "write  [a, b]"),
    ("prompt: x\nneeds:\n  -a\n  -b\n", 3, 3, "put a space after the dash:  - a"),
    ("prompt: x\nenv:\n  - A=b\n", 3, 3, "write  NAME: value  on each line, without a dash"),
    ("prompt: x\ndue: tomorrow\n", 2, 1, "there are no due dates"),
    ("prompt: x\nmax_turns: 5\n", 2, 1, "use timeout, max_tokens or max_cost_usd"),
    # not keys at all
    ("just text\n", 1, 1, "prompt: |"),
    ("# Title\n\nDo it.\n", 3, 1, "prompt: |"),
    ("- prompt: x\n", 1, 1, "tasks:"),
    ('prompt: "a\u2028b"\nfoo: 1\n', 2, 1, "unknown key"),
]


def found(text: str | bytes) -> list:
    raw = text.encode() if isinstance(text, str) else text
    return load("t.yaml", "t", raw, schemas.check).problems


@pytest.mark.parametrize("text, line, column, words", WRONG)
def test_the_hint_and_its_place(text, line, column, words):
    problems = found(text)
    assert any(
        (item.line, item.column) == (line, column) and words in f"{item.message} {item.hint}"
        for item in problems
    ), problems
    assert "never closed" not in problems[0].hint
    assert len({(item.line, item.column) for item in problems}) == len(problems), "told twice"


@pytest.mark.parametrize(
    "text, column",
    [
        ('prompt: "Open C:\\temp\\new.txt"\n', 17),
        ('prompt: "C:\\new"\n', 12),
        ('prompt: "match \\bword\\b"\n', 16),
        ('prompt: "src\\new.py"\n', 13),
        ('prompt: "src\\test"\n', 13),
        ('prompt: "\\\\\\\\server\\new"\n', 20),
        ('prompt: x\ntitle: "bin\\run"\n', 12),
    ],
)
def test_escapes_that_change_the_text_in_silence_are_warned_of(text, column):
    problems = found(text)
    assert [(item.warning, item.column) for item in problems] == [(True, column)], problems
    assert "single quotes" in problems[0].hint


@pytest.mark.parametrize(
    "text",
    [
        'prompt: "one\\ntwo\\n\\nthree"\n',
        'prompt: "a:\\n  - b\\n  - c"\n',
        'prompt: "C:\\\\temp"\n',
        "prompt: 'C:\\temp'\n",
        "prompt: C:\\temp\\new\n",
        'prompt: "say \\"hi\\""\n',
        'prompt: "caf\\u00e9"\n',
        'prompt: "x\u2028y"\n',
        'prompt: "x\\u2028y"\n',
        "prompt: a no-break\u00a0space and a colon：inside\n",
        "prompt: see https://example.org/x\n",
        "---\nagent: demo\n---\n# Title\n\nDo it\n\n---\n\nNote: more\n",
        "prompt: |\n  - a\n  prompt:x\n",
        "prompt: don't\r\nagent: demo\r\n",
    ],
)
def test_what_is_meant_so_is_left_alone(text):
    assert found(text) == []


@pytest.mark.parametrize(
    "raw, words",
    [
        ("prompt: é\n".encode("latin-1"), "iconv -f LATIN1"),
        ("prompt: “x”\n".encode("cp1252"), "iconv -f WINDOWS-1252"),
        ("prompt: 日本語\n".encode("shift-jis"), "iconv -f ITS-ENCODING"),
        ("prompt: 中文\n".encode("gbk"), "iconv -f ITS-ENCODING"),
        ("prompt: 繁體中文的提示\n".encode("big5"), "iconv -f ITS-ENCODING"),
        ("prompt: исправь\n".encode("cp1251"), "iconv -f ITS-ENCODING"),
        ("prompt: исправь\n".encode("koi8-r"), "iconv -f ITS-ENCODING"),
        (b"prompt: \xed\xa0\x80\n", "iconv -f ITS-ENCODING"),
        ("prompt: x\n".encode("utf-16"), "iconv -f UTF-16 "),
        ("prompt: x\n".encode("utf-16-le"), "iconv -f UTF-16LE"),
        ("prompt: x\n".encode("utf-16-be"), "iconv -f UTF-16BE"),
        ("prompt: x\n".encode("utf-32"), "iconv -f UTF-32"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (b"\x1f\x8b\x08\x00", "gzip"),
    ],
)
def test_another_encoding_is_named(raw, words):
    assert words in found(raw)[0].hint


def test_a_mistake_is_told_once_and_a_tag_as_it_is_written():
    assert len(found("prompt: ''\n")) == 1
    assert "the tag !!binary is not allowed" in found("prompt: !!binary aGk=\n")[0].message


@given(st.text(min_size=1, max_size=60), st.sampled_from(["utf-16", "utf-32", "latin-1", "cp1252"]))
def test_bytes_that_are_not_utf_8_always_get_a_hint(text, encoding):
    raw = text.encode(encoding, "replace")
    assert encodings.hint(raw)


@settings(max_examples=300)
@given(st.text("pt:- \t\u00a0\u3000\u200b：“”'\"\\|>[]{}#=`–\u2028\r\n", max_size=60))
def test_any_mistake_has_a_place_inside_the_text(text):
    for item in found(text):
        assert 1 <= item.line <= text.count("\n") + 2
        assert item.column >= 1


@given(st.text(max_size=40))
def test_an_escape_is_found_inside_the_value_or_not_at_all(text):
    source = '"' + text + '"'
    place = mistakes.silent_escape(source)
    assert place == -1 or source[place] == "\\" or "\\\\" in source


WORDS = [(word, ours) for ours, words in foreign.SYNONYMS.items() for word in words.split()]


@pytest.mark.parametrize(
    "text, words",
    [
        ("---\nagent: demo\nDo it.\n", "never ends"),
        ("----\nagent: demo\n----\nDo it.\n", "three plain dashes"),
        ("———\nagent: demo\n———\nDo it.\n", "three plain dashes"),
        ("# Title\n\nDo it.\n", "there is no YAML front matter"),
        ("", "there is no"),
    ],
)
def test_front_matter_that_is_none(text, words):
    (problem,) = load("t.md", "t", text.encode(), schemas.check).problems
    assert words in problem.message + problem.hint


def test_a_word_that_lacks_its_unit():
    near = Near(["hard_usd", "soft_usd", "cost", "input"])
    assert [near.close_to(word) for word in ("hard", "usd", "")] == ["hard_usd", "", ""]


@pytest.mark.parametrize("word, ours", WORDS)
def test_words_of_other_tools(word, ours):
    hints = [item.hint for item in found(f"prompt: x\n{word}: y\n")]
    assert any(f"'{ours}'" in hint for hint in hints), hints


@pytest.mark.parametrize(
    "key, ours",
    [
        ("dependsOn", "needs"),
        ("depends-on", "needs"),
        ("DEPENDS_ON", "needs"),
        ("blockedBy", "needs"),
        ("Prompt", "prompt"),
        ("PRIORITY", "priority"),
        ("workingDirectory", "cwd"),
        ("maxRetries", "retries"),
        ("prompt-file", "prompt_file"),
    ],
)
def test_however_they_are_written(key, ours):
    assert any(f"'{ours}'" in item.hint for item in found(f"agent: x\n{key}: y\n"))


def test_no_word_of_theirs_is_a_word_of_ours():
    ours = set(schemas.schema("task")["properties"])
    assert set(foreign.SYNONYMS) <= ours
    assert not ours & {word for word, _ in WORDS}, "a key that is valid gets no hint"
    assert len(dict(WORDS)) == len(WORDS), "each word means one thing"


@pytest.mark.parametrize(
    "text, words",
    [
        ("services:\n  web:\n    image: nginx\n", "Compose"),
        ("version: '3.8'\nservices:\n  db: {build: .}\nvolumes: {}\n", "Compose"),
        ("steps:\n  - name: a\n    command: echo hi\n", "Dagu"),
        ("schedule: '0 1 * * *'\nsteps:\n  - name: a\n    run: echo\n    depends: b\n", "Dagu"),
        ("name: ci\non: [push]\njobs:\n  a:\n    runs-on: x\n    steps: []\n", "GitHub Actions"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n", "Kubernetes"),
        ("version: '3'\ntasks:\n  build:\n    cmds: [make]\n", "Taskfile"),
        ("- hosts: all\n  tasks: []\n", "Ansible"),
        ("stages: [build]\nbuild: {script: [make]}\n", "GitLab"),
        ("repos:\n  - repo: x\n", "pre-commit"),
        ("argv: [x]\nprompt_as: y\n", "tool file"),
        ("limits: {running: 4}\nagents: {}\n", "orchestrator settings"),
        ("title: x\ninstructions: do\nextensions: []\n", "Goose recipe"),
        ("prompts: [a]\nproviders: [b]\n", "promptfoo"),
        ("research:\n  description: x\n  expected_output: y\n", "CrewAI"),
        ("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", "patch"),
        ("--- a/x\n+++ b/x\n", "patch"),
        ("<!DOCTYPE html>\n<html></html>\n", "HTML"),
        ("#!/bin/sh\necho hi\n", "script"),
        ('[package]\nname = "x"\n', "TOML"),
        ("FROM debian\nRUN true\n", "Dockerfile"),
    ],
)
def test_files_of_other_programs_are_named(text, words):
    problems = found(text)
    assert len(problems) == 1 and words in problems[0].message and problems[0].hint


@pytest.mark.parametrize(
    "text",
    [
        "tasks: {build: make it, test: {prompt: try it, needs: [build]}}\n",
        "prompt: x\nenv: {A: b}\n",
        "title: x\ntasks: [a, b]\n",
    ],
)
def test_ours_are_not_taken_for_others(text):
    assert found(text) == []
