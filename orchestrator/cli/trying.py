"""Whether a tool can be started: its program, its version, and, if it is asked to, an answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from typing import Any

from orchestrator.cli.app import App
from orchestrator.cli.consent import refusal
from orchestrator.cli.screen.console import cost
from orchestrator.coordination.consent import HINT
from orchestrator.errors import FAILED, NotFound, Refused, adding
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
from orchestrator.tools.routing import RouteProblem, route
from orchestrator.tools.specs import Toolbox, ToolSpec
from orchestrator.tools.versions import ask

TRY_SECONDS = 120.0


def rows(app: App, config: Config, toolbox: Toolbox) -> list[dict[str, Any]]:
    """The built-in tools and those in work/tools, as ``agents --json`` tells them."""
    found: list[dict[str, Any]] = []
    for spec in toolbox.tools.values():
        state = _state(spec, config)
        found.append(
            {
                "name": spec.name,
                "state": state,
                "source": "built in" if spec.built_in else app.layout.shown(spec.path),
                "prompt": spec.prompt,
                "argv": list(spec.argv),
                "description": spec.description,
            }
        )
    return found


def _state(spec: ToolSpec, config: Config) -> str:
    if not spec.at_hand:
        return "not installed"
    if spec.name in config.disabled_tools:
        return "off"
    return "needs a command" if spec.name == "shell" and not config.shell_allow else "on"


class Findings:
    """What a check finds, a line each; or all of it as one document at its end."""

    def __init__(self, app: App, name: str, as_json: bool) -> None:
        self.app, self.name, self.as_json = app, name, as_json
        self.found: list[dict[str, str]] = []

    def tell(self, status: str, text: str) -> None:
        """``status`` is ok, note or problem."""
        self.found.append({"status": status, "text": text})
        if not self.as_json:
            self.app.console.out(f"{self.app.console.sign(status)} {self.name}: {text}")

    def end(self) -> int:
        """The exit code: 1 if there is a problem."""
        code = FAILED if any(item["status"] == "problem" for item in self.found) else 0
        if self.as_json:
            told = {"name": self.name, "checks": self.found, "exit_code": code}
            self.app.console.json("check", told)
        return code


def check(
    app: App,
    config: Config,
    toolbox: Toolbox,
    name: str,
    prompt: str | None,
    model: str | None,
    as_json: bool = False,
) -> int:
    """Check the tool of the agent or tool with this name, and say what was found.

    Raises `NotFound` if there is none, and `Refused` if it would start what came with settings that
    nobody has accepted here.
    """
    role = config.agents.get(name)
    tool_name = role.tool if role is not None else name
    layout, spec = app.layout, toolbox.tools.get(tool_name)
    findings = Findings(app, tool_name, as_json)
    if spec is not None:
        refused = refusal(layout) if prompt is not None or not spec.built_in else ""
        if refused:
            raise Refused(f"{name} is not started: {refused}", HINT)
        if _starts(findings, spec) and prompt is not None:
            _try(findings, config, spec, prompt, model)
        return findings.end()
    of_name = (item for item in toolbox.broken if _stem(item[0]) == tool_name)
    shown = [(layout.shown(path), document, problems) for path, document, problems in of_name]
    if not shown:
        known = {*toolbox.tools, *config.agents}
        hint = did_you_mean(name, known) or "orchestrator agents   lists them"
        raise NotFound(f"there is no agent or tool '{name}'", hint)
    if as_json:
        findings.tell("problem", diagnostics.render("concise", shown))
        return findings.end()
    app.console.block(diagnostics.render("full", shown, app.console.paint, app.console.width))
    return FAILED


def _stem(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]


def _starts(findings: Findings, spec: ToolSpec) -> bool:
    """Whether the program is there and answers; and is it the version that was verified?"""
    tell, program = findings.tell, spec.argv[0]
    if spec.module and not spec.at_hand:
        tell("problem", f"the package '{spec.module}' is not installed: {adding('sdk')}")
        return False
    if program.startswith("{") and not spec.version:
        tell("ok", "comes with orchestrator")
        return True
    where = sys.executable if program.startswith("{") else shutil.which(program)
    if where is None:
        path = "built in" if spec.built_in else findings.app.layout.shown(spec.path)
        tell("problem", f"there is no program '{program}'   (spec: {path})")
        return False
    tell("ok", where)
    if not spec.version:
        tell("note", f"its version is unknown; add  version: [{program}, --version]")
        return True
    answer = ask(spec)
    why = f" ({answer.error})" if answer.error else ""
    said = f"{' '.join(spec.version)} says {answer.said}{why}"
    tell("problem" if answer.error else "ok", said)
    if not answer.error and spec.verified and not any(v in answer.said for v in spec.verified):
        tell(
            "note",
            f"its spec was verified with {' and '.join(spec.verified)}; try it: "
            f"orchestrator agents check {spec.name} --prompt 'Say OK.'",
        )
    return not answer.error


def _try(
    findings: Findings, config: Config, spec: ToolSpec, prompt: str, model: str | None
) -> None:
    """One attempt outside of the work directory's records, in an empty folder."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-check-") as folder:
        task = Task(id="check", prompt=prompt + "\n", agents=(spec.name,), model=model)
        agent_config = config if spec.name not in config.agents else replace(config, agents={})
        try:
            chosen = route(task, agent_config, {spec.name: spec})
        except RouteProblem as problem:
            raise Refused(problem.message, problem.hint) from None
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
    parts = " · ".join(part for part in figures if part)
    findings.tell("ok" if good else "problem", f"{reading.outcome} · {parts}")
    if not good:
        findings.tell("problem", f"{one_line(reading.reason, 300)} ({reading.error_class})")
    said = [f"said: {one_line(reading.message, 300)}"] if reading.message else []
    for line in (*reading.warnings, *said):
        findings.tell("note", one_line(line, 320))
