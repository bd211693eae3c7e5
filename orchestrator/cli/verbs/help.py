"""``help``: on a command, on exit codes, on the files' keys."""

from __future__ import annotations

import json
from typing import Any

import click

from orchestrator.cli.app import VERBS, App
from orchestrator.cli.options import examples
from orchestrator.cli.screen.console import Console
from orchestrator.errors import EXIT_CODES, NotFound
from orchestrator.files.layout import schema_bytes
from orchestrator.files.schemas import did_you_mean
from orchestrator.model.event import EVENTS

FORMATS = ("task", "run", "template", "schedule", "config", "tool", "result")


@click.command(
    epilog=examples(
        "orchestrator help new", "orchestrator help exit-codes", "orchestrator help task"
    )
)
@click.argument(
    "topic",
    required=False,
    shell_complete=lambda _, __, word: [
        name for name in (*VERBS, "all", "exit-codes", "events", *FORMATS) if name.startswith(word)
    ],
)
@click.pass_context
def command(ctx: click.Context, topic: str | None) -> None:
    """Help on a command, or on all of them, one line each; on exit-codes or events; on the keys of a task, run, schedule, template, config, tool or result file."""
    root = ctx.find_root()
    app: App = ctx.obj
    if topic is None:
        click.echo(root.get_help())
    elif topic == "all":
        for name, (_, text) in VERBS.items():
            app.console.hang(f"{name:<11} ", text)
    elif topic == "exit-codes":
        for code, (name, text) in EXIT_CODES.items():
            app.console.hang(f"{code:>4}  {name:<12} ", text)
    elif topic == "events":
        for name, text in EVENTS.items():
            app.console.hang(f"{name:<22} ", text)
    elif topic in FORMATS:
        _keys(app.console, topic)
    elif topic in VERBS:
        found = root.command.get_command(root, topic)  # type: ignore[attr-defined]
        with click.Context(found, info_name=topic, parent=root) as inner:
            click.echo(found.get_help(inner))
    else:
        raise NotFound(
            f"there is no help on '{topic}'",
            did_you_mean(topic, [*VERBS, "all", "exit-codes", "events", *FORMATS])
            or f"a command, all, exit-codes, events, {', '.join(FORMATS)}",
        )


def _keys(console: Console, kind: str) -> None:
    schema = json.loads(schema_bytes(kind))
    console.hang("", schema["description"])
    console.out()
    for key, rule in schema["properties"].items():
        console.hang(f"{key:<14} ", rule.get("description", "") + _limits(rule))
        for inner, its in rule.get("properties", {}).items():
            console.hang(f"  {inner:<16} ", its.get("description", "") + _limits(its))


def _limits(rule: dict[str, Any]) -> str:
    parts = [" | ".join(map(_shown, rule["enum"]))] if "enum" in rule else []
    parts += [f"default {json.dumps(rule['default'])}"] if "default" in rule else []
    return f"  [{'; '.join(parts)}]" if parts else ""


def _shown(value: object) -> str:
    """A value as a person writes it in YAML."""
    return str(value).lower() if isinstance(value, bool) else str(value)
