"""What a person sees of an agent: recorded output of the real programs, turned into lines, tokens and cost."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from orchestrator.files.layout import Layout
from orchestrator.model.config import Model
from orchestrator.tools.activity import (
    Live,
    Presentation,
    Progress,
    Renderer,
    Show,
    describe,
    presentation,
    total,
)

RECORDED = Path(__file__).parent / "recorded"
NOWHERE = Layout("/nonexistent")
CALL, PRINT, SAYS = "call", "print", "says"


def shown(path: Path) -> list[tuple[str, str]]:
    renderer = Renderer(presentation(NOWHERE, path.name.split("-")[0]).show)
    return [
        (line.kind, line.text) for line in (*renderer.feed(path.read_bytes()), *renderer.flush())
    ]


@pytest.mark.parametrize(
    "tool", ["claude", "codex", "opencode", "gemini", "qwen", "pi", "copilot", "vibe"]
)
def test_a_command_and_its_output(tool):
    assert shown(RECORDED / f"{tool}-shell.jsonl") == [
        (CALL, "$ echo from the shell"),
        (PRINT, "from the shell"),
        (SAYS, "OK."),
    ]


@pytest.mark.parametrize(
    "tool", ["claude", "codex", "opencode", "gemini", "qwen", "pi", "copilot", "vibe"]
)
def test_a_file_that_is_written(tool):
    lines = shown(RECORDED / f"{tool}-write.jsonl")
    call = "$ printf %s 'by an agent' > made.txt" if tool == "codex" else "Write made.txt"
    assert lines[0] == (CALL, call) and lines[-1] == (SAYS, "OK.")


@pytest.mark.parametrize(
    "tool", ["claude", "codex", "opencode", "gemini", "qwen", "pi", "copilot", "vibe"]
)
def test_what_it_says(tool):
    assert shown(RECORDED / f"{tool}-success.jsonl") == [(SAYS, "hello there")]


@pytest.mark.parametrize("tool", ["pi", "copilot"])
def test_errors(tool):
    assert all(
        kind in ("error", "retry") and "injected 500" in text
        for kind, text in shown(RECORDED / f"{tool}-error.jsonl")
    )


@pytest.mark.parametrize(
    "tool,figures",
    [
        ("claude", (2400, 400)),
        ("opencode", (2400, 400)),
        ("qwen", (2000, 400)),
        ("pi", (2000, 400)),
    ],
)
def test_tokens_and_cost_while_it_runs(tool, figures, tmp_path):
    """The log arrives in pieces of any size; what was counted never goes down and ends at the sum of all model calls."""
    data = (RECORDED / f"{tool}-shell.jsonl").read_bytes()
    log = tmp_path / "stdout.log"
    progress = Progress(str(log), presentation(NOWHERE, tool), Model("m", 3.0, 0.3, 15.0))
    chance, at, before = random.Random(tool), 0, 0
    while at < len(data):
        size = chance.randrange(1, 400)
        with open(log, "ab") as file:
            file.write(data[at : at + size])
        at += size
        assert progress.look()
        assert progress.usage.get("input", 0) >= before
        before = progress.usage.get("input", 0)
    assert (progress.usage["input"], progress.usage["cached"]) == figures and progress.line == "OK."
    output = progress.usage["output"]
    assert progress.cost == pytest.approx(
        ((figures[0] - 400) * 3.0 + 400 * 0.3 + output * 15.0) / 1e6
    )
    assert not progress.look()


def test_a_log_that_was_cut_and_lines_that_are_none(tmp_path):
    log = tmp_path / "stdout.log"
    how = Presentation(Show(says="text"), Live("", {"input": "tokens"}))
    log.write_bytes(
        b'{"text": "one", "tokens": 5}\nnot JSON \x1b[31mred\x1b[0m\n{"broken\n[1, 2]\n{"text": ["a", 3, null]}\n{"text": "half'
    )
    progress = Progress(str(log), how)
    progress.look()
    assert progress.line == "a" and progress.usage == {"input": 5}
    log.write_bytes(b'{"text": "new"}\n')
    progress.look()
    assert progress.line == "new"
    assert [
        line.text
        for line in Renderer(how.show).feed(
            b'\x1b[31mred\x1b[0m\n{"text": "x\\u001b]0;title\\u0007y"}\n'
        )
    ] == ["red", "xy"]


def test_what_is_told_several_times_counts_once(tmp_path):
    """Claude prints one event for each part of a message, all with the message's usage so far: the last of them counts."""
    log = tmp_path / "stdout.log"
    events = [("m1", 10), ("m1", 30), ("m2", 5), ("m2", 7)]
    log.write_text(
        "".join(
            json.dumps(
                {"message": {"id": key, "usage": {"input_tokens": count, "output_tokens": 1}}}
            )
            + "\n"
            for key, count in events
        )
    )
    progress = Progress(str(log), presentation(NOWHERE, "claude"))
    progress.look()
    assert progress.usage == {"input": 37, "output": 2}


def test_a_text_in_parts_is_shown_line_by_line():
    renderer = Renderer(Show(pieces="t", says="s"))
    events = [{"t": "one tw"}, {"t": "o\nthr"}, {"other": 1}, {"t": "ee"}, {"s": "done"}]
    assert [line.text for event in events for line in renderer.event(event)] == [
        "one two",
        "three",
        "done",
    ]


def test_descriptions():
    assert (
        describe("Edit", {"file_path": "docs/ja.md", "old_string": "a\nb\n", "new_string": "a\n"})
        == "Edit docs/ja.md (+1 -2)"
    )
    assert describe("Grep", {"pattern": "backoff"}) == 'Search "backoff"'
    assert describe("mcp__files__read_file", {"path": "x"}) == "Read x"
    assert describe("bash", json.dumps({"command": "ls"})) == "$ ls"
    assert describe("command_execution", "/bin/bash -lc 'pytest -q'") == "$ pytest -q"
    assert (
        describe("file_change", [{"path": "a.py", "kind": "add"}, {"path": "b.py"}])
        == "Edit a.py b.py"
    )
    assert describe("Deploy", {"count": 3, "where": "there"}) == "Deploy there"
    assert describe("Read", None) == "Read"


def test_logs_and_status_show_lines(project, watch):
    """A tool that prints an agent's events: `logs` renders them, `--raw` does not, `status` and `show` tell what it does now."""
    tools = project.work / "tools"
    tools.mkdir(exist_ok=True)
    go = project.root / "go"
    script = f"import os,time\nprint(open({str(RECORDED / 'claude-write.jsonl')!r}).read().splitlines()[1], flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(.01)\n"
    (project.root / "fake.py").write_text(script)
    (tools / "fake.yaml").write_text(
        json.dumps(
            {
                "argv": ["{python}", str(project.root / "fake.py")],
                "show": {
                    "calls": "type=='assistant' && message.content[?type=='tool_use'].[name, input]"
                },
                "live": {
                    "key": "message.id",
                    "input": "message.usage.input_tokens",
                    "output": "message.usage.output_tokens",
                },
            }
        )
    )
    project.config("models: {fake-1: {input: 1000, output: 0}}\n")
    watch()
    project.drop("t.yaml", "agent: fake\nmodel: fake-1\nprompt: x\n")
    from conftest import wait_until

    wait_until(lambda: project.log("t").endswith("\n"), "it prints")
    row = project.json("status")["running"][0]
    assert (
        row["detail"] == "Write made.txt"
        and row["cost_usd"] == 1.0
        and row["usage"]["input"] == 1000
    )
    assert "$1.00" in project.run("show", "t").stdout
    assert project.run("logs", "t").stdout == "Write made.txt\n"
    assert project.json("logs", "t")["lines"] == ["Write made.txt"]
    assert project.run("logs", "t", "--raw").stdout == project.log("t")
    go.touch()
    project.settled("t", "done")
    assert project.run("logs", "t", "-n", "0").stdout == ""


def test_an_event_of_some_megabytes_is_counted(tmp_path):
    """An answer of 5 MB is one event of pi, and its figures stand in it."""
    log, how = tmp_path / "stdout.log", presentation(NOWHERE, "pi")
    usage = {"input": 1000, "cacheRead": 200, "output": 50, "cacheWrite": 0, "cost": {"total": 0.1}}
    text = [{"type": "text", "text": "x" * 5_000_000}]
    message = {"role": "assistant", "stopReason": "stop", "content": text, "usage": usage}
    log.write_text(json.dumps({"type": "message_end", "message": message}) + "\n")
    progress = Progress(str(log), how)
    while progress.look():
        pass
    expected = {"input": 1200, "cached": 200, "output": 50}
    assert progress.usage == total(str(log), how.live).usage == expected and progress.cost == 0.1
