"""``init``: make a work directory, find the agents that are installed, ask nothing."""

from __future__ import annotations

import os

import click

from orchestrator.cli.app import App
from orchestrator.cli.notes import TARGETS, install, remove
from orchestrator.cli.options import dry_run_option, examples, json_option
from orchestrator.cli.screen.console import Console
from orchestrator.errors import OrchestratorError, Unusable
from orchestrator.files import opening, owners, schemas
from orchestrator.files.configuration import load_config
from orchestrator.files.layout import FOLDER_NAMES, Layout, schema_bytes
from orchestrator.files.ownership import refuse_foreign
from orchestrator.files.schemas import did_you_mean
from orchestrator.store import git
from orchestrator.store.atomic import move, write_temporary
from orchestrator.store.eventlog import EventLog
from orchestrator.store.transitions import Store
from orchestrator.tools.specs import load_tools
from orchestrator.tools.versions import ask_all

# Agent programs that are looked for on PATH.  Presence proves nothing (half-installed packages):
# each must answer.
KNOWN_AGENTS = (
    "claude",
    "codex",
    "opencode",
    "gemini",
    "copilot",
    "qwen",
    "pi",
    "vibe",
    "aider",
    "llm",
)

CONFIG = """\
# yaml-language-server: $schema=schemas/config.schema.json
# What the watcher may do. This file is trusted: it decides which programs run.
# Every key is optional; the values shown are the defaults. Reference: orchestrator help config

limits:
  running: 4                  # attempts at once, in all
  # per_agent: {{lint: 1}}
  # per_tool: {{demo: 2}}

{isolation}defaults:
  agent: {default}
  timeout: 30m                # of one attempt
  retries: 0                  # more attempts after a failed one

# Roles that tasks can name with `agent:`. Every tool is also an agent with the same name.
# agents:
#   lint:
#     tool: shell             # runs the command below, with the prompt on its standard input
#     command: [make, lint]
#     timeout: 10m

# Programs that a task's prompt may start (agent: shell, prompt: make test). No shell is involved.
# tools:
#   shell: {{allow: [make, pytest]}}

# Variables that tools need besides PATH, HOME, LANG and similar ones, by name.
# environment:
#   pass: [ANTHROPIC_API_KEY, OPENAI_API_KEY]

# on_lost: hold               # hold | retry | fail: an attempt whose supervisor was killed
# from_git: hold              # hold | run: tasks that arrive by a pull wait for `orchestrator approve`
{found}"""

GITIGNORE = """\
# Written by orchestrator init. Task state is meant to be committed; these are not:
/logs/*
!/logs/.gitkeep
/held/@*.yaml
/held/.*
!/held/.gitkeep
/parked/*.yaml
/.state/
/trees/
/asks/
# half-written submissions, and notes about invalid files
/inbox/.*
!/inbox/.gitkeep
/inbox/*.error.md
/running/*.cancel
# replies to an agent: those that come through git are not delivered
/*/*.reply
/*/*.reply.*
# the files in which a branch conflicts
/*/*.conflict
"""

GITATTRIBUTES = """\
# Written by orchestrator init. Event files are append-only, one writer each: merging keeps the lines of both sides.
events/*.jsonl merge=union linguist-generated
results/*.yaml linguist-generated
schemas/*.json linguist-generated
"""


def _targets(_: click.Context, __: click.Parameter, value: str | None) -> list[str] | None:
    if value is None or value == "none":
        return None if value is None else []
    names = list(TARGETS) if value == "all" else [name.strip() for name in value.split(",")]
    for name in names:
        if name not in TARGETS:
            raise click.BadParameter(
                f"'{name}' is not one of all, none, {', '.join(TARGETS)}."
                f" {did_you_mean(name, ['all', 'none', *TARGETS], 'Did you mean')}".strip()
            )
    return names


@click.command(
    epilog=examples(
        "orchestrator init",
        "orchestrator init --agents all      # tell agents that they can hand over work",
        "orchestrator init --agents none     # take that away again",
    )
)
@click.option(
    "--agents",
    "targets",
    metavar="WHICH",
    callback=_targets,
    help=(
        "Notes for agents that work here: agents (a block in AGENTS.md, and a skill), "
        "claude (a skill), both separated by a comma, all, or none (remove them)."
    ),
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@dry_run_option
@json_option
@click.pass_obj
def command(app: App, targets: list[str] | None, quiet: bool, dry_run: bool, as_json: bool) -> None:
    """Create the work directory in the current folder. It asks nothing and overwrites nothing; run
    it again at any time."""
    root = os.path.realpath(app.start)
    if not os.path.isdir(root):
        raise Unusable(f"{root} is not a folder")
    layout = Layout(root)
    refuse_foreign(layout)
    report: list[tuple[str, str, str]] = []
    fresh = not os.path.isdir(layout.work)
    if dry_run:
        made = [name for name in FOLDER_NAMES if not os.path.isdir(layout.folder(name))]
    else:
        made = Store(layout, EventLog.__new__(EventLog)).prepare()
        os.makedirs(f"{layout.work}/schemas", exist_ok=True)
        os.makedirs(layout.tools, exist_ok=True)
    for folder in (*map(layout.folder, FOLDER_NAMES), layout.tools):
        _write(f"{folder}/.gitkeep", b"", dry_run)
    report.append(
        (
            "created" if made else "unchanged",
            "folders",
            " ".join(made) if made and not fresh else " ".join(FOLDER_NAMES),
        )
    )
    agents = installed_agents()
    default = agents[0][0] if agents else "demo"
    listed = "".join(f"#   {name} {version}\n" for name, version in agents)
    found = f"\n# Agent programs found here:\n{listed}" if agents else ""
    for path, text in (
        (layout.config, CONFIG.format(default=default, found=found, isolation=_isolation(root))),
        (f"{layout.work}/.gitignore", GITIGNORE),
        (f"{layout.work}/.gitattributes", GITATTRIBUTES),
    ):
        report.append((_write(path, text.encode(), dry_run), layout.shown(path), ""))
    states = {_write_schema(layout, kind, dry_run) for kind in schemas.KINDS}
    state = next((word for word in ("created", "updated") if word in states), "unchanged")
    report.append((state, "work/schemas/", "for completion and checks in your editor"))
    if targets is not None:
        notes = install(root, targets, dry_run) if targets else remove(root, dry_run)
        report += [(what, name, "") for what, name in notes]
    elif not os.path.exists(f"{root}/.agents/skills/orchestrator"):
        report.append(
            ("skipped", "AGENTS.md", "tell agents about it: orchestrator init --agents all")
        )
    if as_json:
        changed = [
            {"id": what, "from": _BEFORE.get(state, "present"), "to": _AFTER.get(state, "present")}
            for state, what, _ in report
            if state not in ("unchanged", "skipped")
        ]
        app.console.json("change", {"changed": changed, "refused": []})
    elif not quiet:
        _print(app.console, layout, report, agents, default, dry_run)


# What a file or folder was and is; of any other it is said "present".
_BEFORE = {"created": None}
_AFTER = {"removed": None}


def _print(
    console: Console,
    layout: Layout,
    report: list[tuple[str, str, str]],
    agents: list[tuple[str, str]],
    default: str,
    dry_run: bool,
) -> None:
    console.out(f"work directory  {layout.work}" + (" (dry run: nothing is written)" * dry_run))
    for state, what, text in report:
        console.hang(f"{state:<10} {what:<26} " if text else f"{state:<10} {what}", text)
    if agents:
        found = ", ".join(f"{name} {version}".strip() for name, version in agents)
        console.hang(f"{'found':<10} ", found)
    if note := _default_agent(layout, [name for name, _ in agents], default):
        console.hang(f"{'default':<10} ", note)
    console.block(
        "\nnext       orchestrator watch                       in this pane"
        '\n           orchestrator new "Explain the README"    in another'
    )


def _default_agent(layout: Layout, here: list[str], default: str) -> str:
    """What is said of the agent that acts when a task names none, if that is the stand-in; empty
    else. ``default``: that of a file which is not there yet (a dry run)."""
    try:
        if os.path.lexists(layout.config):
            default = load_config(layout).default_agent
    except OrchestratorError:  # the file is a person's, and told of elsewhere
        return ""
    if default != "demo":
        return ""
    note = "demo, a stand-in that calls no model"
    if here:
        config = layout.shown(layout.config)
        note += f"; to use {here[0]}, set agent: {here[0]} under defaults: in {config}"
    return note


ISOLATION = """\
# Each agent that edits works in its own tree, on a branch task/<id>; orchestrator diff shows it, approve merges it.
isolation: worktree           # worktree | none: they take turns in this checkout

"""


def _isolation(root: str) -> str:
    """In a git project with a commit agents get trees of their own."""
    try:
        repo = git.find(root)
    except git.NoRepository:
        return ""
    return ISOLATION if repo.checkout.commit_of("HEAD") else ""


def _write(path: str, data: bytes, dry_run: bool) -> str:
    """Create a file unless it is there; what was done, or would be."""
    if os.path.lexists(path):
        return "unchanged"
    if dry_run:
        return "created"
    temporary = f"{path}.{owners.fresh()}.tmp"
    write_temporary(temporary, data)
    try:
        move(temporary, path)
    except FileExistsError:
        os.unlink(temporary)
        return "unchanged"
    return "created"


def _write_schema(layout: Layout, kind: str, dry_run: bool) -> str:
    """Schemas are ours: a newer version replaces them."""
    path = f"{layout.work}/schemas/{kind}.schema.json"
    data = schema_bytes(kind)
    try:
        if opening.read_bytes(path) == data:
            return "unchanged"
    except FileNotFoundError:
        return _write(path, data, dry_run)
    if dry_run:
        return "updated"
    temporary = f"{path}.{owners.fresh()}.tmp"
    write_temporary(temporary, data)
    os.replace(temporary, path)
    return "updated"


def installed_agents() -> list[tuple[str, str]]:
    """``(name, version)`` of the built-in agents whose programs are there and answer."""
    tools = load_tools(None).tools
    answers = ask_all(tools[name] for name in KNOWN_AGENTS if tools[name].at_hand)
    return [
        (name, answer.version or "present") for name, answer in answers.items() if not answer.error
    ]
