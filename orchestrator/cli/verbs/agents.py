"""``agents``: the roles a task can name, and the tools that act for them."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli import trying
from orchestrator.cli.app import App
from orchestrator.cli.options import complete_agents, examples, json_option
from orchestrator.cli.screen.console import Console
from orchestrator.cli.writing import open_config
from orchestrator.errors import FAILED, NotFound
from orchestrator.files import diagnostics
from orchestrator.files.schemas import did_you_mean
from orchestrator.files.text import one_line
from orchestrator.model.config import Agent, Config
from orchestrator.model.units import show_duration
from orchestrator.tools.routing import agent_names, silence_of
from orchestrator.tools.specs import Toolbox

STATES = ("not installed", "off", "needs a command")  # of tools that cannot act now


@click.command(
    epilog=examples(
        "orchestrator agents",
        "orchestrator agents builder",
        "orchestrator agents check builder",
        "orchestrator agents check claude --prompt 'Say OK.' --model haiku",
    )
)
@click.argument("words", nargs=-1, metavar="[NAME...] | check NAME", shell_complete=complete_agents)
@click.option(
    "--prompt",
    metavar="TEXT",
    help="With check: also let its tool answer this, in an empty folder. This may cost money.",
)
@click.option("-m", "--model", metavar="NAME", help="With --prompt: the model.")
@json_option
@click.pass_obj
def command(
    app: App, words: tuple[str, ...], prompt: str | None, model: str | None, as_json: bool
) -> int:
    """List the names that agent: accepts: those in orchestrator.yaml, and every tool, built in or
    in work/tools, that may be used directly.

    With a name, show everything about that one. agents check NAME tests whether its tool can be
    started.
    """
    checks = words[:1] == ("check",)
    if not checks and (prompt or model):
        raise click.UsageError("--prompt and --model need: orchestrator agents check NAME")
    if checks and len(words) != 2:
        raise click.UsageError("which agent? orchestrator agents check NAME")
    config, toolbox = open_config(app)
    if checks:
        return trying.check(app, config, toolbox, words[1], prompt, model, as_json)
    rows = _rows(config, toolbox)
    tools = trying.rows(app, config, toolbox)
    broken = [] if words else toolbox.broken
    left_out = [
        (name, why) for name, why in config.left_out.items() if not name.startswith("schedule ")
    ]
    if words:
        rows, tools = _named(words, rows, tools)
        left_out = []
    if as_json:
        app.console.json(
            "agents",
            {
                "agents": rows,
                "left_out": [{"name": name, "why": why} for name, why in left_out],
                "tools": tools,
                "broken": [app.layout.shown(path) for path, _, _ in broken],
            },
        )
    elif words:
        _tell(app.console, rows, tools)
    else:
        _table(app.console, config, rows, tools)
        for _, why in left_out:
            app.console.hang("left out: ", why)
        for path, document, problems in broken:
            shown = [(app.layout.shown(path), document, problems)]
            app.console.out(diagnostics.render("concise", shown))
    return FAILED if broken else 0


def _rows(config: Config, toolbox: Toolbox) -> list[dict[str, Any]]:
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
                "timeout_s": (
                    agent.timeout or (tool.timeout if tool else None) or config.default_timeout
                ),
                "silence_s": silence_of(agent, tool, config) if tool else None,
                "known": tool is not None,
                "installed": tool is not None and tool.at_hand,
                "description": agent.description or (tool.description if tool else ""),
            }
        )
    return rows


def _table(
    console: Console, config: Config, rows: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> None:
    away = {tool["name"] for tool in tools if tool["state"] in STATES} - set(config.agents)
    console.table(
        [
            [
                f"{row['name']}{' (default)' if row['default'] else ''}",
                _acting(row),
                row["model"] or "",
                show_duration(row["timeout_s"]),
                f"limit {row['limit']}" if row["limit"] is not None else "",
                one_line(" ".join(row["command"]) or row["description"]),
            ]
            for row in rows
            if row["name"] not in away
        ]
    )
    for state in STATES:
        names = sorted(tool["name"] for tool in tools if tool["state"] == state)
        if names:
            console.hang(f"{state}: ", ", ".join(names))


def _acting(row: dict[str, Any]) -> str:
    return " > ".join(row["tools"]) if row["known"] else f"{row['tool']} (unknown tool)"


def _named(
    words: tuple[str, ...], rows: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The agents and the tools with these names; `NotFound` for a name that is neither's."""
    known = list(dict.fromkeys(item["name"] for item in (*rows, *tools)))
    for word in words:
        if word not in known:
            hint = did_you_mean(word, known) or "orchestrator agents   lists them"
            raise NotFound(f"there is no agent or tool '{word}'", hint)
    chosen = [row for row in rows if row["name"] in words]
    meant = {*words, *(name for row in chosen for name in row["tools"])}
    return chosen, [tool for tool in tools if tool["name"] in meant]


def _tell(console: Console, rows: list[dict[str, Any]], tools: list[dict[str, Any]]) -> None:
    """All about a few of them, a fact a line."""
    for row in rows:
        console.out(f"{row['name']}{'   the default' if row['default'] else ''}")
        facts = [
            ("what", row["description"]),
            ("tools", _acting(row)),
            ("model", row["model"] or ""),
            ("command", " ".join(row["command"])),
            ("time", f"{show_duration(row['timeout_s'])} for an attempt"),
            ("silence", show_duration(row["silence_s"]) if row["silence_s"] else ""),
            ("limit", f"{row['limit']} at once" if row["limit"] is not None else ""),
        ]
        for name, text in facts:
            if text:
                console.hang(f"  {name:<9} ", text)
    for tool in tools:
        console.out(f"tool {tool['name']}   {tool['state']}")
        for name, text in (("what", tool["description"]), ("from", tool["source"])):
            if text:
                console.hang(f"  {name:<9} ", text)
        console.hang(f"  {'runs':<9} ", " ".join(tool["argv"]))
