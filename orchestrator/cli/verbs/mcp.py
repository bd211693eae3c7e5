"""``mcp``: an agent's own door, as a server of the Model Context Protocol on standard input and
output."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from typing import Any

import click

from orchestrator import __version__
from orchestrator.cli.agentdoor import Door
from orchestrator.cli.app import App
from orchestrator.cli.options import examples
from orchestrator.errors import OrchestratorError, Unusable, adding

ABOUT = (
    "Queue work for other agents and follow it. Tasks are files that a watcher runs; nothing here"
    " starts, approves or merges. Make a task with new, wait for it, and read its answer with show."
)


@click.command(
    epilog=examples(
        "claude mcp add orchestrator -- orchestrator mcp",
        "orchestrator mcp    # speaks MCP on standard input and output; nothing listens",
    )
)
@click.option("--json", is_flag=True, expose_value=False, help="Nothing else: MCP is JSON.")
@click.pass_obj
def command(app: App) -> None:
    """Serve an agent over MCP on standard input and output: new, list, show, wait, reply.

    reply reaches only tasks that this agent made. An agent cannot decide anything here: it cannot
    start, approve, merge or release a task. This needs the package mcp (2 or
    later) in the same environment.
    """
    door = Door(app)
    app.layout  # noqa: B018  without a work directory it says so before the first call
    served = server(door)
    _whole_texts_only()
    served.run("stdio")


def whole(line: bytes) -> bytes:
    """A message without halves of surrogate pairs, which JSON allows and JavaScript writes of a cut
    emoji: the package drops such a message, and who sent it waits for ever."""
    if b"\\ud" not in line.lower():
        return line
    try:
        text = json.dumps(json.loads(line), ensure_ascii=False)
    except (ValueError, RecursionError):
        return line
    return text.encode("utf-8", "replace") + b"\n"


def _whole_texts_only() -> None:
    """Put a pipe in place of standard input, into which each message comes as `whole` leaves it."""
    ours = os.dup(0)
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.close(reading)

    def pass_on() -> None:
        with os.fdopen(ours, "rb") as come, os.fdopen(writing, "wb", buffering=0) as go:
            go.writelines(whole(line) for line in come)

    threading.Thread(target=pass_on, daemon=True).start()


def server(door: Door) -> Any:
    """The server with its tools.  `Unusable` without the package."""
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError:
        raise Unusable("the package mcp (2 or later) is not installed", adding("mcp")) from None

    made = MCPServer("orchestrator", instructions=ABOUT, version=__version__, log_level="ERROR")

    async def answer(step: Callable[..., dict[str, Any]], *values: Any) -> dict[str, Any]:
        try:
            return await asyncio.to_thread(step, *values)
        except OrchestratorError as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise ToolError(f"{error.message}{hint}") from None

    async def new(
        prompt: str,
        agent: str | None = None,
        title: str | None = None,
        needs: list[str] | None = None,
        timeout: str | None = None,
        priority: str | None = None,
    ) -> dict[str, Any]:
        """Make a task for another agent. Returns its id. needs: ids that must be done first.
        timeout: 90s, 15m or 2h."""
        options = {"agent": agent, "title": title, "timeout": timeout, "priority": priority}
        return await answer(door.new, prompt, options, needs or [])

    async def list_(status: str | None = None) -> dict[str, Any]:
        """The tasks here. status: waiting, running, review, done, failed, cancelled or held."""
        return await answer(door.list, status)

    async def show(task: str) -> dict[str, Any]:
        """One task: where it is, its answer, its checks, what it cost."""
        return await answer(door.show, task)

    async def wait(task: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until a task has ended, at most so many seconds (600). ended says whether it has."""
        return await answer(door.wait, task, seconds)

    async def reply(task: str, text: str) -> dict[str, Any]:
        """Say something to the agent of a task that you made: it goes on in the same session."""
        return await answer(door.reply, task, text)

    for step in (new, list_, show, wait, reply):
        made.add_tool(step, name=step.__name__.rstrip("_"))
    return made
