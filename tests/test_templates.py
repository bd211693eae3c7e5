"""Templates: values that change nothing but texts, mistakes with their places, and what is in force when a task is claimed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.main import cli
from orchestrator.files import schemas
from orchestrator.files.documents import parse
from orchestrator.files.layout import Layout
from orchestrator.files.requests import load
from orchestrator.files.templating import judged, load_templates
from orchestrator.model import chain
from orchestrator.model.chain import Ended, follow_ups, planned
from orchestrator.model.status import Outcome, Status
from orchestrator.model.template import body_of, merged, template_from
from orchestrator.store.yamltext import task_text
from orchestrator.testing import End, Tube

FIX = """\
params:
  file: {description: The file to mend}
  lang: {default: en, choices: [en, de]}
  tries: {type: integer, default: 3}
agent: ok
title: Mend {file}
prompt: |
  Mend {file} in {lang}, {tries} tries. Write {{file}} as it is: {"json": true}.
context: ["{file}"]
labels: [mend]
then: {on: failed, prompt: "Why did {task.id} not mend {file}? {task.log}"}
"""
FOUND = template_from("fix", parse(FIX.encode()).data)


@pytest.fixture
def tube(tmp_path):
    made = Tube(tmp_path)
    folder = Path(made.layout.templates)
    folder.mkdir()
    (folder / "fix.yaml").write_text(FIX)
    return made


def test_a_parameter_that_changes_nothing_is_told(project):
    """Whoever gives it would think that it did something."""
    (project.work / "templates").mkdir(exist_ok=True)
    path = project.work / "templates/hi.yaml"
    path.write_text("params:\n  who: {}\n  tone: {default: dry}\nprompt: Greet {who} {{tone}}.\n")
    for words in (["validate"], ["validate", "hi"]):
        said = project.run(*words).stdout
        assert "hi.yaml:3:3: warning: no text of the template uses the parameter 'tone'" in said
    project.run("validate", "--strict", code=4)
    project.run("new", "-T", "hi", "who=all", "tone=warm")
    refused = project.run("new", "-T", "hi", "who=all", "ton=warm", code=4).stderr
    assert "the template 'hi' has no parameter 'ton'" in refused
    assert "did you mean 'tone'?" in refused


@pytest.mark.parametrize("text", ["0E0", "1e10", "0o17", ".5", "-.0", "+1", "00e1", "12345"])
def test_a_text_like_a_number_stays_a_text(text):
    assert parse(task_text({"prompt": text}).encode()).data["prompt"] == text


@given(st.text(min_size=1, max_size=200))
def test_a_value_can_be_anything_and_changes_only_texts(value):
    """As the program writes and reads it: every key but the texts is as it was, and each text has the value as it is."""
    body = body_of(FOUND, {"file": value})
    assert body["title"] == f"Mend {value}" and body["context"] == [value]
    assert body["prompt"].startswith(f"Mend {value} in en, 3 tries. Write {{file}} as it is:")
    assert {key for key, text in FOUND.body.items() if body[key] == text} == {"agent", "labels"}
    ended = Ended(Status.FAILED, Outcome.FAILED, "t", "ok", "r", "the log")
    (made,), _ = planned("t1", {}, follow_ups(body), ended, 5)
    assert made.data["prompt"] == f"Why did t1 not mend {value}? the log"
    assert (
        parse(task_text({"prompt": value}).encode()).data["prompt"] == value
        if value.isprintable()
        else True
    )


def test_what_the_task_says_comes_first_and_lists_are_joined():
    data = {"use": "fix", "with": {"file": "a"}, "prompt": "own", "context": ["b"], "agent": "two"}
    made = merged(FOUND, data)
    assert made["prompt"] == "own" and made["agent"] == "two" and made["context"] == ["a", "b"]
    assert "use" not in made and "with" not in made


@pytest.mark.parametrize(
    "text, place, said, hint",
    [
        ("use: fxi\n", "1:6", "there is no template 'fxi'", "work/templates"),
        ("use: fix\n", "1:6", "needs 'file'", "The file to mend"),
        ("use: fix\nwith: {file: a, fiel: b}\n", "2:17", "no parameter 'fiel'", "'file'"),
        ("use: fix\nwith: {file: a, lang: fr}\n", "2:23", "not one of en, de", ""),
        ("use: fix\nwith: {file: a, tries: many}\n", "2:24", "not of type integer", ""),
        ("with: {file: a}\nprompt: x\n", "1:1", "no template to use this with", "use:"),
        ("use: fix\nwith: {file: [a]}\n", "2:14", "", ""),
    ],
)
def test_mistakes_have_their_places(tube, text, place, said, hint):
    path = tube.layout.file("inbox", "x.yaml")
    request = load(path, "x", text.encode(), schemas.check)
    first = request.errors[0]
    assert said in first.message and hint in first.hint, first
    assert f"{first.line}:{first.column}" == place or not said, first


@pytest.mark.parametrize(
    "text, said",
    [
        ("params: {file: {}}\nprompt: Mend {fiel}\n", "nothing fills {fiel}"),
        ("params: {n: {type: integer, default: x}}\nprompt: a\n", "not of type integer"),
        ("params: {n: {typ: x}}\nprompt: a\n", "typ"),
        ("params: {}\npromt: a\n", "promt"),
        ("prompt: a\nthen: {prompt: '{task.nix}'}\n", "nothing fills {task.nix}"),
        ("- a\n", "mapping"),
    ],
)
def test_a_template_is_judged_like_a_task(tmp_path, text, said):
    path = tmp_path / "t.yaml"
    path.write_text(text)
    found = judged(str(path), schemas.check)
    assert found.template is None and said in found.problems[0].message, found.problems


def test_a_template_in_markdown_and_one_of_a_name_that_is_taken(tmp_path):
    folder = tmp_path / "work/templates"
    folder.mkdir(parents=True)
    (folder / "a.md").write_text("---\nparams: {x: {}}\n---\nSay {x}.\n")
    (folder / "a.yaml").write_text("prompt: other\n")
    first, second = load_templates(Layout(str(tmp_path)), schemas.check)
    assert first.template is not None and "already" in second.problems[0].message
    assert body_of(first.template, {"x": "hi"})["prompt"] == "Say hi.\n"


def test_the_schema_of_templates_has_the_keys_of_tasks():
    task, template = schemas.schema("task"), schemas.schema("template")
    # compete is of a whole file: the task that uses a template says it.
    own = {key for key in task["properties"] if key not in ("use", "with", "compete")}
    wrong = set(template["properties"]) ^ (own | {"params"})
    wrong |= {key for key in own if template["properties"].get(key) != task["properties"][key]}
    assert not wrong, f"say the same in schemas/task and schemas/template.schema.json: {wrong}"


def test_what_follows_is_written_alike_in_every_kind_of_file():
    """``then`` of a task, of a run's task and of a template has the keys that `model.chain` knows."""
    task = schemas.schema("task")["$defs"]["followup"]
    for kind in ("run", "template"):
        theirs = schemas.schema(kind)["$defs"]["followup"]
        assert theirs == task, f"copy $defs.followup of the task's schema into {kind}.schema.json"
    wrong = set(task["properties"]) ^ {*chain.OWN, "on"}
    assert not wrong, f"name the same in $defs.followup of the schemas and in chain.OWN: {wrong}"


# -- in a watcher -------------------------------------------------------------------------------------------------------


def test_a_retry_goes_by_the_template_that_was_claimed(tube):
    tube.plan("a", End(code=1), End())
    tube.drop("a", "use: fix\nwith: {file: a.py}\nretries: 1\n")
    path = Path(tube.layout.templates, "fix.yaml")
    tube.at(0.05, lambda: path.write_text(FIX.replace("Mend", "Spoil")))
    tube.run()
    assert tube.where("a") == "done" and len(tube.result("a")["attempts"]) == 2
    prompts = [order.prompt for order in tube.fake.dispatched if hasattr(order, "prompt")]
    texts = prompts or [
        Path(tube.layout.logs("a", number), "prompt.md").read_text() for number in (1, 2)
    ]
    assert all("Mend a.py in en" in text or "Go on" in text for text in texts), texts


def test_schedules_runs_and_follow_ups_use_templates(tube):
    schedules = Path(tube.layout.schedules)
    schedules.mkdir()
    (schedules / "often.yaml").write_text("every: 1h\nuse: fix\nwith: {file: s.py}\n")
    run = "tasks:\n  m: {use: fix, matrix: {f: [a.py, b.py]}, with: {file: '{f}'}}\n"
    tube.drop("r", run)
    follow = "agent: ok\nprompt: x\nthen: {use: fix, with: {file: '{task.id}'}}\n"
    tube.drop("c", follow)
    tube.at(4000, lambda: tube.watcher.signalled(15))
    tube.run(until_empty=False)
    for name in ("r.m-a-py", "r.m-b-py", "c.fix"):
        assert tube.where(name) == "done", (name, tube.news[-5:])
    made = [order.task_id for order in tube.fake.dispatched if order.task_id.startswith("often-")]
    assert len(made) == 1


def test_a_template_that_is_wrong_is_left_out_and_told(tube):
    Path(tube.layout.templates, "bad.yaml").write_text("prompt: '{nix}'\n")
    tube.drop("a", "use: bad\n")
    tube.drop("b", "use: fix\nwith: {file: a}\n")
    tube.run()
    assert tube.where("b") == "done" and tube.where("a") == "inbox"
    assert "templates/bad.yaml:1:9: nothing fills {nix}" in tube.watcher.rooms.settings.problem


# -- the command ----------------------------------------------------------------------------------------------------------


def test_new_makes_tasks_of_templates(project):
    project.config("agents: {ok: {tool: shell, command: ['true']}}\n")
    (project.work / "templates").mkdir(exist_ok=True)
    (project.work / "templates/fix.yaml").write_text(FIX)
    nasty = 'x"\nagent: two\n- {file} {{y}}'
    project.run("new", "-T", "fix", "file=-", "--id", "a", "-p", "high", stdin=nasty + "\n")
    data = parse((project.work / "inbox/a.yaml").read_bytes()).data
    assert data["title"] == f"Mend {nasty}" and data["agent"] == "ok" and data["priority"] == "high"
    assert "needs 'file'" in project.run("new", "-T", "fix", code=4).stderr
    bare = "agent: ok\nparams: {file: {type: string}}\nprompt: x {file}\n"
    (project.work / "templates/bare.yaml").write_text(bare)
    assert "write  file=..." in project.run("new", "-T", "bare", code=4).stderr
    assert "did you mean 'fix'" in project.run("new", "-T", "fxi", code=3).stderr
    wrong = project.run("new", "-T", "fix", "fiel=x", "file=y", code=4).stderr
    assert "no parameter 'fiel'" in wrong and "did you mean 'file'" in wrong
    assert "NAME=VALUE" in project.run("new", "-T", "fix", "words", code=2).stderr
    assert "--each needs -T" in project.run("new", "x", "--each", "*.py", code=2).stderr
    project.run("validate")


@pytest.mark.parametrize(
    "words, begun, offered",
    [
        (["-T"], "", ["fix"]),
        (["-T", "fix"], "", ["file=", "lang=", "tries="]),
        (["-T", "fix", "lang=de"], "", ["file=", "tries="]),
        (["-T", "fix"], "tr", ["tries="]),
        (["-T", "nix"], "", []),
    ],
)
def test_completion_knows_templates_and_their_parameters(tube, monkeypatch, words, begun, offered):
    monkeypatch.chdir(tube.layout.root)
    complete = ShellComplete(cli, {}, "orchestrator", "_ORCHESTRATOR_COMPLETE")
    found = complete.get_completions(["new", *words], begun)
    assert [item.value for item in found] == offered


def test_each_makes_a_task_of_every_file_that_git_names(project):
    (project.work / "templates").mkdir(exist_ok=True)
    (project.work / "templates/fix.yaml").write_text(FIX.replace("agent: ok", "agent: demo"))
    for name in ("src/a.py", "src/b/c.py", "src/d.txt", "src/ignored.py"):
        path = project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n")
    (project.root / ".gitignore").write_text("ignored.py\n")
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    words = ("new", "-T", "fix", "lang={file}", "--each", "src/**/*.py", "--id", "all")
    assert "not one of en, de" in project.run(*words, code=4).stderr
    words = (*words[:3], "lang=de", *words[4:])
    shown = project.run(*words, "-n")
    assert shown.stdout.count("all.fix-") == 2 and not (project.work / "inbox/all.yaml").exists()
    project.run(*words)
    project.run("watch", "--until-empty")
    done = sorted(path.stem for path in (project.work / "done").glob("*.yaml"))
    assert done == ["all.fix-src-a-py", "all.fix-src-b-c-py"]
    prompt = (project.work / "logs" / done[0] / "1" / "prompt.md").read_text()
    assert "Mend src/a.py in de" in prompt
    assert json.loads(project.run("list", "--json", "--last", "0").stdout)["tasks"]
