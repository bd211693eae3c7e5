"""What ``hold`` and ``release`` share: naming a tool, an agent, a run or everything beside
tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import Found, complete_agents, complete_from, complete_runs, each
from orchestrator.cli.writing import open_config
from orchestrator.errors import NotFound
from orchestrator.files import holds, runrecords, scan
from orchestrator.files.layout import Layout
from orchestrator.files.nearness import Near
from orchestrator.model import hold
from orchestrator.model.hold import ALL, Scope
from orchestrator.model.status import Status
from orchestrator.model.units import duration, when
from orchestrator.patterns import regex
from orchestrator.records import dataclass
from orchestrator.tools.specs import load_tools

_CLOCK = regex(r"(\d{1,2}):(\d\d)\Z")


@dataclass(slots=True)
class Named:
    """What the words of the command name: tasks, scopes, and what is left over, which can be a
    reason."""

    tasks: Found
    scopes: list[Scope]
    words: list[str]


def scope_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--tool --agent --run --all``."""
    for option in (
        click.option("--all", "everything", is_flag=True, help="Everything here."),
        click.option(
            "--run", "runs", multiple=True, shell_complete=complete_runs, help="All tasks of a run."
        ),
        click.option(
            "--agent",
            "agents",
            multiple=True,
            shell_complete=complete_agents,
            help="All tasks for this agent.",
        ),
        click.option(
            "--tool",
            "tools",
            multiple=True,
            shell_complete=complete_from(lambda layout: load_tools(layout).tools),
            help="All tasks for this tool, whatever their agent.",
        ),
    ):
        command = option(command)
    return command


def named(app: App, words: Iterable[str], options: dict[str, Any], folder: Status) -> Named:
    """What is meant.  A word may also be the name of a file in held/ (``@claude``) or of a run.

    Raises `NotFound` for a word without a space that names nothing.
    """
    scopes: list[Scope] = [ALL] if options["everything"] else []
    for kind in hold.KINDS:
        scopes += [(kind, name) for name in options[f"{kind}s"]]
    found = Named([], scopes, [])
    for word in words:
        scope = hold.scope_of(word.removesuffix(".yaml").rpartition("/")[2])
        if " " in word.strip():
            found.words.append(word)
        elif scope is not None:
            found.scopes.append(scope)
        else:
            _add(app, found, word, folder)
    return found


def _add(app: App, found: Named, word: str, folder: Status) -> None:
    runs = {run_id for run_id, _ in runrecords.listed(app.layout)}
    if word in runs and scan.locate(app.layout, word) is None:
        found.scopes.append(("run", word))
        return
    try:
        found.tasks += each(app.layout, [word], (folder,))
    except NotFound:
        try:
            found.tasks += each(app.layout, [word])
        except NotFound as error:
            raise NotFound(error.message, _meant(app, word) or error.hint) from None


def _meant(app: App, word: str) -> str:
    """What a word that names no task may have been meant for; empty if nothing else is called
    so."""
    config, toolbox = open_config(app)
    option = ""
    if word in ("all", "everything"):
        option = "--all"
    elif word in config.agents:
        option = f"--agent {word}"
    elif word in toolbox.tools:
        option = f"--tool {word}"
    verb = click.get_current_context().info_name
    return f"did you mean: orchestrator {verb} {option}" if option else ""


def check_exists(app: App, scope: Scope) -> None:
    """`NotFound` if there is no such tool, agent or run: a hold that is misspelt holds nothing."""
    kind, name = scope
    if scope == ALL:
        return
    config, toolbox = open_config(app)
    known = {
        "tool": list(toolbox.tools),
        "agent": [*config.agents, *toolbox.tools],
        "run": [run_id for run_id, _ in runrecords.listed(app.layout)],
    }[kind]
    if name in known:
        return
    near = Near(known).close_to(name)
    lists = "runs" if kind == "run" else "agents"
    hint = f"did you mean '{near}'?" if near else f"orchestrator {lists}   lists them"
    raise NotFound(f"there is no {kind} '{name}'", hint)


def held_words(layout: Layout) -> str:
    """What is held now beside tasks, as options; empty if nothing is."""
    return "  ".join(dict.fromkeys(hold.option(item.scope) for item in holds.listed(layout)))


def moment(text: str, now: float) -> float:
    """``18:00`` (the next one), ``2h``, a date or a time; ValueError for anything else, and for the
    past."""
    clock = _CLOCK.match(text)
    if clock:
        hour, minute = int(clock[1]), int(clock[2])
        if hour > 23 or minute > 59:
            raise ValueError(f"{text!r} is not a time of day")
        today = time.localtime(now)
        days = (
            time.mktime(
                (today.tm_year, today.tm_mon, today.tm_mday + day, hour, minute, 0, 0, 0, -1)
            )
            for day in (0, 1)
        )
        return next(found for found in days if found > now)
    try:
        found = now + duration(text)
    except ValueError:
        found = when(text)
    if found <= now:
        raise ValueError(f"{text[:40]!r} has passed")
    return found
