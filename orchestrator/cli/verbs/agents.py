"""``agents``: the roles a task can name."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import Choice, examples, json_option
from orchestrator.cli.verbs import tools
from orchestrator.cli.writing import open_config
from orchestrator.model.config import Agent
from orchestrator.model.units import show_duration
from orchestrator.tools.routing import agent_names, silence_of


@click.command(epilog=examples("orchestrator agents", "orchestrator agents check builder"))
@click.argument("action", required=False, type=Choice(["check"]))
@click.argument("which", metavar="[NAME]", required=False)
@json_option
@click.pass_context
def command(ctx: click.Context, action: str | None, which: str | None, as_json: bool) -> int:
    """The names that agent: accepts: those in orchestrator.yaml, and every tool that may be used directly.

    agents check NAME tests whether the tool of one can be started.
    """
    app: App = ctx.obj
    config, toolbox = open_config(app)
    if action == "check":
        if not which:
            raise click.UsageError("which agent? orchestrator agents check NAME")
        role = config.agents.get(which)
        tool_name = role.tool if role else which
        return int(ctx.invoke(tools.command, action="check", name=tool_name))
    rows: list[dict[str, Any]] = []
    for name in agent_names(config, toolbox.tools):
        agent = config.agents.get(name) or Agent(name, (name,))
        tool = toolbox.tools.get(agent.tool)
        rows.append(
            {
                "name": name,
                "default": name == config.default_agent,
                "tool": agent.tool,
                "tools": list(agent.tools),
                "model": agent.model or (tool.model if tool else None),
                "command": list(agent.command),
                "limit": config.limits.per_agent.get(name),
                "timeout_s": agent.timeout
                or (tool.timeout if tool else None)
                or config.default_timeout,
                "silence_s": silence_of(agent, tool, config) if tool else None,
                "known": tool is not None,
                "installed": tool is not None and tool.at_hand,
                "description": agent.description or (tool.description if tool else ""),
            }
        )
    agents_left_out = {
        name: why for name, why in config.left_out.items() if not name.startswith("schedule ")
    }
    if as_json:
        left_out = [{"name": name, "why": why} for name, why in agents_left_out.items()]
        app.console.json("agents", {"agents": rows, "left_out": left_out})
        return 0
    away = [
        row["name"]
        for row in rows
        if row["known"] and not row["installed"] and row["name"] not in config.agents
    ]
    app.console.table(
        [
            [
                f"{row['name']}{' (default)' if row['default'] else ''}",
                " > ".join(row["tools"]) if row["known"] else f"{row['tool']} (unknown tool)",
                row["model"] or "",
                show_duration(row["timeout_s"]),
                f"limit {row['limit']}" if row["limit"] is not None else "",
                " ".join(row["command"]) or row["description"],
            ]
            for row in rows
            if row["name"] not in away
        ]
    )
    if away:
        app.console.hang("not installed: ", ", ".join(away))
    for why in agents_left_out.values():
        app.console.hang("left out: ", why)
    return 0
