"""An agent's own door, by a real client of the official package (the extra [mcp])."""

from __future__ import annotations

import asyncio
import json
import select
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import wait_until

from orchestrator.cli import agentdoor
from orchestrator.errors import Refused


def test_without_its_package_it_says_what_to_install(project):
    hidden = "import sys; sys.modules['mcp'] = None; from orchestrator.cli.main import main; main(['mcp'])"

    done = subprocess.run(
        [sys.executable, "-c", hidden],
        cwd=project.root,
        env=project.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6 and "-m pip install 'mcp>=2'" in done.stderr, done.stderr


def test_a_verb_that_takes_too_long_is_told_as_an_error(project, monkeypatch):
    monkeypatch.setattr(agentdoor, "SLACK", 0.0)
    door = agentdoor.Door(SimpleNamespace(layout=project.layout))
    with pytest.raises(Refused, match="list took longer than 0 s"):
        door.list(None)


def test_half_a_surrogate_pair_is_answered(project):
    """JSON allows it, and the package drops the message: its client waited for ever."""
    pytest.importorskip("mcp", reason="the extra [mcp] is not installed")
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}}
    hello["clientInfo"] = {"name": "x", "version": "1"}
    asked = [
        ("initialize", {"id": 1, "params": hello}),
        ("notifications/initialized", {}),
        ("tools/call", {"id": 2, "params": {"name": "show", "arguments": {"task": "x\ud83d"}}}),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "mcp"],
        cwd=project.root,
        env=project.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as served:
        for method, more in asked:
            message = {"jsonrpc": "2.0", "method": method, **more}
            served.stdin.write(json.dumps(message).encode() + b"\n")
            served.stdin.flush()
        answers = []
        for _ in range(2):
            if select.select([served.stdout], [], [], 20)[0]:
                answers.append(json.loads(served.stdout.readline()))
        served.stdin.close()
    assert [answer["id"] for answer in answers] == [1, 2]
    assert "there is no task 'x?'" in answers[1]["result"]["content"][0]["text"]


def test_a_client_makes_follows_and_talks_to_its_own_tasks_only(project, watch):
    mcp = pytest.importorskip(
        "mcp", reason="the extra [mcp] is not installed: pip install -e '.[mcp]'"
    )
    project.config(
        "agents:\n  ok: {tool: shell, command: [sh, -c, 'cat; echo done']}\n"
        "  asks: {tool: shell, command: [cat]}\n"
    )
    project.run("new", "Not yours", "--id", "other", "-a", "ok")
    watch()
    project.settled("other", "done")
    server = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "orchestrator", "mcp"],
        cwd=str(project.root),
        env=project.env,
    )

    async def talk() -> None:
        async with mcp.Client(server) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert tools == {"new", "list", "show", "wait", "reply"}

            async def call(name, **values):
                made = await client.call_tool(name, values)
                text = "".join(getattr(item, "text", "") for item in made.content)
                return made.is_error, made.structured_content, text

            _, made, _ = await call("new", prompt="Say --hello", agent="ok", title="Mine")
            task_id = made["id"]
            failed, seen, text = await call("wait", task=task_id, seconds=30)
            assert not failed and seen["ended"], text
            assert seen["task"]["status"] == "done"
            _, listed, _ = await call("list", status="done")
            assert {row["id"] for row in listed["tasks"]} == {"other", task_id}
            failed, _, text = await call("reply", task="other", text="Do more")
            assert failed and "not a task that you made" in text
            failed, told, text = await call("reply", task=task_id, text="Say it again")
            assert not failed, text
            failed, _, text = await call("new", prompt="x", agent="nobody")
            assert failed and "nobody" in text
            for odd in ("a\0b", "x" * 200_000):
                failed, _, text = await call("new", prompt=odd)
                assert failed and "these words cannot be passed on" in text, text
            failed, _, text = await call("show", task="nothing")
            assert failed and "nothing" in text
            wait_until(lambda: len(project.events("attempt_finished", task_id)) == 2, "it went on")

    asyncio.run(asyncio.wait_for(talk(), 90))
