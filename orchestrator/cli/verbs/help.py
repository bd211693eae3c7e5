"""``help``: on a verb, on exit codes, on the files' keys; and the guide, on one page, offline."""

from __future__ import annotations

import io
import json
from typing import Any

import click

from orchestrator.cli.app import FORMER, SYNONYMS, VERBS, App
from orchestrator.cli.options import examples, json_option
from orchestrator.cli.screen.console import Console
from orchestrator.errors import EXIT_CODES, NotFound
from orchestrator.files.layout import data_file, schema_bytes
from orchestrator.files.schemas import did_you_mean
from orchestrator.model.event import EVENTS

FORMATS = ("task", "run", "template", "schedule", "config", "tool", "result")


TOPICS = (*VERBS, "all", "guide", "exit-codes", "events", *FORMATS)


@click.command(
    epilog=examples(
        "orchestrator help new",
        "orchestrator help guide         # what an agent or a newcomer needs to know",
        "orchestrator help exit-codes",
        "orchestrator help task",
    )
)
@click.argument(
    "topic",
    required=False,
    shell_complete=lambda _, __, word: [name for name in TOPICS if name.startswith(word)],
)
@json_option
@click.pass_context
def command(ctx: click.Context, topic: str | None, as_json: bool) -> None:
    """Print help on a verb, or one line on each; the guide; exit-codes or events; or the keys of a
    task, run, schedule, template, config, tool or result file."""
    app: App = ctx.obj
    if not as_json:
        _tell(ctx, app.console, topic)
        return
    text = io.StringIO()
    _tell(ctx, Console(stream=text), topic)
    app.console.json("help", {"topic": topic, "text": text.getvalue()})


def _tell(ctx: click.Context, console: Console, topic: str | None) -> None:
    root = ctx.find_root()
    meant = SYNONYMS.get(topic or "", FORMER.get(topic or "", topic or "")).split(" ")[0]
    if topic is None:
        console.block(root.get_help())
    elif topic == "all":
        for name, (_, text) in VERBS.items():
            console.hang(f"{name:<11} ", text)
    elif topic == "guide":
        with open(data_file("cli", "guide.md"), encoding="utf-8") as file:
            console.block(file.read().rstrip("\n"))
    elif topic == "exit-codes":
        for code, (name, text) in EXIT_CODES.items():
            console.hang(f"{code:>4}  {name:<12} ", text)
    elif topic == "events":
        for name, text in EVENTS.items():
            console.hang(f"{name:<22} ", text)
    elif topic in FORMATS:
        _keys(console, topic)
    elif meant in VERBS:
        found = root.command.get_command(root, meant)  # type: ignore[attr-defined]
        with click.Context(found, info_name=meant, parent=root) as inner:
            console.block(found.get_help(inner))
    else:
        raise NotFound(
            f"there is no help on '{topic}'",
            did_you_mean(topic, TOPICS)
            or f"a verb, all, guide, exit-codes, events, {', '.join(FORMATS)}",
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
