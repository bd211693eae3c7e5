"""``tools``: the programs that can act."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from typing import Any

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import Choice, examples, json_option
from orchestrator.cli.screen.console import cost
from orchestrator.cli.writing import open_config
from orchestrator.errors import FAILED, NotFound
from orchestrator.files import diagnostics
from orchestrator.files.layout import OWN
from orchestrator.files.schemas import did_you_mean
from orchestrator.files.text import one_line
from orchestrator.model.attempt import AttemptEnd
from orchestrator.model.config import Config
from orchestrator.model.status import Outcome
from orchestrator.model.task import Task
from orchestrator.model.units import show_duration
from orchestrator.records import replace
from orchestrator.store import atomic
from orchestrator.tools.adapters import adapter
from orchestrator.tools.invocation import Session
from orchestrator.tools.routing import route
from orchestrator.tools.specs import ToolSpec
from orchestrator.tools.versions import ask

TRY_SECONDS = 120.0


@click.command(
    epilog=examples(
        "orchestrator tools",
        "orchestrator tools check mytool",
        "orchestrator tools check claude --prompt 'Say OK.' --model haiku",
    )
)
@click.argument("action", required=False, type=Choice(["check"]))
@click.argument("name", required=False)
@click.option(
    "--prompt",
    metavar="TEXT",
    help="With check: also let the tool answer this, in an empty folder. This may cost money.",
)
@click.option("--model", metavar="NAME", help="With --prompt: the model.")
@json_option
@click.pass_obj
def command(
    app: App,
    action: str | None,
    name: str | None,
    prompt: str | None,
    model: str | None,
    as_json: bool,
) -> int:
    """The built-in tools and those in work/tools; tools check NAME tests whether one can be started."""
    if action is None and (prompt or model):
        raise click.UsageError("--prompt and --model go with: orchestrator tools check NAME")
    config, toolbox = open_config(app)
    layout = app.layout
    if action == "check":
        if not name:
            raise click.UsageError("which tool? orchestrator tools check NAME")
        spec = toolbox.tools.get(name)
        if spec is None:
            broken = [
                item for item in toolbox.broken if item[0].rsplit("/", 1)[-1].startswith(f"{name}.")
            ]
            if broken:
                shown = [
                    (layout.shown(path), document, problems) for path, document, problems in broken
                ]
                app.console.out(diagnostics.render("full", shown, app.console.paint))
                return FAILED
            raise NotFound(
                f"there is no tool '{name}'",
                did_you_mean(name, toolbox.tools) or "orchestrator tools",
            )
        return _check(app, config, spec, prompt, model)
    rows: list[dict[str, Any]] = []
    for spec in toolbox.tools.values():
        state = (
            "not installed"
            if not spec.at_hand
            else "off"
            if spec.name in config.disabled_tools
            else "needs a command"
            if spec.name == "shell" and not config.shell_allow
            else "on"
        )
        rows.append(
            {
                "name": spec.name,
                "state": state,
                "source": "built in" if spec.built_in else layout.shown(spec.path),
                "prompt": spec.prompt,
                "argv": list(spec.argv),
                "description": spec.description,
            }
        )
    if as_json:
        app.console.json(
            "tools",
            {"tools": rows, "broken": [layout.shown(path) for path, _, _ in toolbox.broken]},
        )
    else:
        app.console.table(
            [[row["name"], row["state"], row["source"], row["description"]] for row in rows]
        )
        for path, document, problems in toolbox.broken:
            app.console.out(
                diagnostics.render("concise", [(layout.shown(path), document, problems)])
            )
    return FAILED if toolbox.broken else 0


def _check(app: App, config: Config, spec: ToolSpec, prompt: str | None, model: str | None) -> int:
    """Is the program there, does it answer, is it the version that was verified, and does it do
    what it is told?"""
    console, path = app.console, app.layout.shown(spec.path) if not spec.built_in else "built in"
    program = spec.argv[0]
    if spec.module and not spec.at_hand:
        console.out(
            f"{console.sign('problem')} {spec.name}: the package '{spec.module}' is not installed: pip install 'orchestrator[sdk]'"
        )
        return FAILED
    if program.startswith("{") and not spec.version:
        console.out(f"{console.sign('ok')} {spec.name}: comes with orchestrator")
        return 0 if prompt is None else _try(app, config, spec, prompt, model)
    where = sys.executable if program.startswith("{") else shutil.which(program)
    if where is None:
        console.out(
            f"{console.sign('problem')} {spec.name}: there is no program '{program}'   (spec: {path})"
        )
        return FAILED
    console.out(f"{console.sign('ok')} {spec.name}: {where}")
    if not spec.version:
        console.out(
            f"{console.sign('note')} {spec.name}: its version is unknown; add  version: [{program}, --version]"
        )
        return 0 if prompt is None else _try(app, config, spec, prompt, model)
    answer = ask(spec)
    console.out(
        f"{console.sign('problem' if answer.error else 'ok')} {spec.name}: {' '.join(spec.version)} says "
        f"{answer.said}" + (f" ({answer.error})" if answer.error else "")
    )
    if answer.error:
        return FAILED
    if spec.verified and not any(version in answer.said for version in spec.verified):
        console.out(
            f"{console.sign('note')} {spec.name}: its spec was verified with {' and '.join(spec.verified)}; try it: "
            f"orchestrator tools check {spec.name} --prompt 'Say OK.'"
        )
    return 0 if prompt is None else _try(app, config, spec, prompt, model)


def _try(app: App, config: Config, spec: ToolSpec, prompt: str, model: str | None) -> int:
    """One attempt outside of the work directory's records, in an empty folder."""
    console = app.console
    with tempfile.TemporaryDirectory(prefix="orchestrator-check-") as folder:
        task = Task(id="check", prompt=prompt + "\n", agents=(spec.name,), model=model)
        agent_config = config if spec.name not in config.agents else replace(config, agents={})
        chosen = route(task, agent_config, {spec.name: spec})
        made = adapter(spec.adapter).invocation(
            task,
            chosen,
            config,
            folder,
            folder,
            {},
            Session(str(uuid.uuid4()) if spec.new_session else ""),
        )
        os.mkdir(f"{folder}/{OWN}")
        atomic.write_temporary(f"{folder}/prompt.md", made.prompt.encode(), sync=False)
        began = time.monotonic()
        with (
            open(f"{folder}/stdout.log", "wb") as out,
            open(f"{folder}/stderr.log", "wb") as err,
            open(f"{folder}/prompt.md" if made.stdin else os.devnull, "rb") as stdin,
        ):
            try:
                done = subprocess.run(
                    made.argv,
                    cwd=made.cwd,
                    env=dict(made.env),
                    stdin=stdin,
                    stdout=out,
                    stderr=err,
                    timeout=TRY_SECONDS,
                    check=False,
                    start_new_session=True,
                )
                end = AttemptEnd(
                    "", max(done.returncode, 0), -done.returncode if done.returncode < 0 else None
                )
            except subprocess.TimeoutExpired:
                end = AttemptEnd("timeout")
        reading = adapter(spec.adapter).reading(
            chosen, folder, replace(end, duration_ms=round((time.monotonic() - began) * 1000))
        )
    good = reading.outcome is Outcome.SUCCEEDED
    figures = [
        show_duration(reading.duration_ms / 1000),
        *(f"{count} {name}" for name, count in reading.usage.items()),
        cost(reading.cost_usd),
    ]
    console.out(
        f"{console.sign('ok' if good else 'problem')} {spec.name}: {reading.outcome} · {' · '.join(part for part in figures if part)}"
    )
    if not good:
        console.out(
            f"{console.sign('problem')} {spec.name}: {one_line(reading.reason, 300)} ({reading.error_class})"
        )
    for line in (
        *reading.warnings,
        *([f"said: {one_line(reading.message, 300)}"] if reading.message else []),
    ):
        console.out(f"{console.sign('note')} {spec.name}: {one_line(line, 320)}")
    return 0 if good else FAILED
