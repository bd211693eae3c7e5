"""``tools``: the programs that can act."""

from __future__ import annotations

import shutil
import subprocess

import click

from orchestrator.cli.console import Console
from orchestrator.cli.main import App
from orchestrator.cli.options import Choice, examples, json_option
from orchestrator.cli.writing import open_config
from orchestrator.errors import FAILED, NotFound
from orchestrator.files import diagnostics
from orchestrator.files.schemas import did_you_mean
from orchestrator.tools.specs import ToolSpec


@click.command(epilog=examples("orchestrator tools", "orchestrator tools check mytool"))
@click.argument("action", required=False, type=Choice(["check"]))
@click.argument("name", required=False)
@json_option
@click.pass_obj
def command(app: App, action: str | None, name: str | None, as_json: bool) -> int:
    """The built-in tools and those in work/tools; tools check NAME looks whether one can be started."""
    config, toolbox = open_config(app)
    layout = app.layout
    if action == "check":
        if not name:
            raise click.UsageError("which tool? orchestrator tools check NAME")
        spec = toolbox.tools.get(name)
        if spec is None:
            broken = [item for item in toolbox.broken if item[0].rsplit("/", 1)[-1].startswith(f"{name}.")]
            if broken:
                shown = [(layout.shown(path), document, problems) for path, document, problems in broken]
                app.console.out(diagnostics.render("full", shown, app.console.paint))
                return FAILED
            raise NotFound(f"there is no tool '{name}'", did_you_mean(name, toolbox.tools) or "orchestrator tools")
        return _check(app.console, spec, layout.shown(spec.path))
    rows = []
    for spec in toolbox.tools.values():
        state = "not installed" if not spec.at_hand else "off" if spec.name in config.disabled_tools else \
            "needs a command" if spec.name == "shell" and not config.shell_allow else "on"
        rows.append({"name": spec.name, "state": state, "source": "built in" if spec.built_in else layout.shown(spec.path),
                     "prompt": spec.prompt, "argv": list(spec.argv), "description": spec.description})
    if as_json:
        app.console.json("tools", {"tools": rows, "broken": [layout.shown(path) for path, _, _ in toolbox.broken]})
    else:
        app.console.table([[row["name"], row["state"], row["source"], row["description"]] for row in rows])
        for path, document, problems in toolbox.broken:
            app.console.out(diagnostics.render("concise", [(layout.shown(path), document, problems)]))
    return FAILED if toolbox.broken else 0


def _check(console: Console, spec: ToolSpec, path: str) -> int:
    """Is the program there, and does it answer?"""
    program = spec.argv[0]
    if program.startswith("{"):
        console.out(f"{console.sign('ok')} {spec.name}: comes with orchestrator")
        return 0
    where = shutil.which(program)
    if where is None:
        console.out(f"{console.sign('problem')} {spec.name}: there is no program '{program}'   (named in {path})")
        return FAILED
    console.out(f"{console.sign('ok')} {spec.name}: {where}")
    if not spec.version:
        console.out(f"{console.sign('note')} {spec.name}: its version is not asked; add  version: [{program}, --version]")
        return 0
    try:
        done = subprocess.run(spec.version, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        console.out(f"{console.sign('problem')} {spec.name}: {' '.join(spec.version)}: {error}")
        return FAILED
    answer = (done.stdout.strip() or done.stderr.strip()).splitlines()
    good = done.returncode == 0
    console.out(f"{console.sign('ok' if good else 'problem')} {spec.name}: {' '.join(spec.version)} says "
                f"{answer[0] if answer else 'nothing'}" + ("" if good else f" (exit {done.returncode})"))
    return 0 if good else FAILED
