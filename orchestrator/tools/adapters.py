"""Adapters: how a tool's command is built and how its end is read.

An adapter is an object with the methods of `Adapter`.  ``spec`` (the default) does what the tool's YAML says,
``shell`` runs a configured command.  Others plug in through the entry point group ``orchestrator.adapters``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Protocol

from orchestrator.errors import Unusable
from orchestrator.files.text import last_lines, one_line
from orchestrator.model.attempt import AttemptEnd
from orchestrator.model.config import Config
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
from orchestrator.model.task import Task
from orchestrator.tools.invocation import (
    MAX_ARGUMENT,
    CannotStart,
    Invocation,
    compose_prompt,
    environment,
    fill,
    placeholders,
)
from orchestrator.tools.routing import Route, shell_argv


class Adapter(Protocol):
    """What the coordination needs of a tool."""

    def invocation(self, task: Task, route: Route, config: Config, root: str, run_dir: str,
                   own_env: Mapping[str, str]) -> Invocation:
        """The command of one attempt; `CannotStart` if it cannot be built."""

    def reading(self, route: Route, run_dir: str, end: AttemptEnd) -> Reading:
        """What the end of an attempt and its output mean."""


class SpecAdapter:
    """Runs a tool as its spec says."""

    def invocation(self, task: Task, route: Route, config: Config, root: str, run_dir: str,
                   own_env: Mapping[str, str]) -> Invocation:
        prompt = compose_prompt(task, root)
        values = placeholders(task, route, root, run_dir, prompt)
        if not os.path.isdir(values["cwd"]):
            raise CannotStart(f"cwd '{task.cwd}' is not a folder")
        argv = self.argv(task, route, config, values)
        if any(len(word.encode("utf-8", "surrogateescape")) > MAX_ARGUMENT for word in argv):
            raise CannotStart("the prompt is too long for an argument (128 KiB)", "prompt: stdin in the tool's spec")
        if any("\0" in word for word in argv):
            raise CannotStart("an argument contains a NUL character")
        return Invocation(tuple(argv), environment(route, task, config, own_env, values), values["cwd"], prompt,
                          route.tool.prompt == "stdin")

    def argv(self, task: Task, route: Route, config: Config, values: Mapping[str, str]) -> list[str]:
        """The words of the command."""
        return fill(route.tool.argv, values)

    def reading(self, route: Route, run_dir: str, end: AttemptEnd) -> Reading:
        errors = last_lines(f"{run_dir}/stderr.log", 1)
        said = last_lines(f"{run_dir}/stdout.log", 20)
        code = end.code if end.signal is None else 128 + end.signal
        more = {"exit_code": code, "duration_ms": end.duration_ms, "message": "\n".join(said),
                "signal": _signal_name(end.signal)}
        if end.leftovers:
            more["warnings"] = (f"{end.leftovers} process(es) that the tool left running were ended",)
        if end.cause == "cancelled":
            return Reading(Outcome.CANCELLED, error_class="cancelled", reason="cancelled", **more)
        if end.cause == "timeout":
            return Reading(Outcome.TIMED_OUT, error_class="timeout", reason="ran out of time", **more)
        if end.cause == "lost":
            return Reading(Outcome.LOST, error_class="lost", reason="its supervisor was killed", **more)
        if end.cause == "log_limit":
            return Reading(Outcome.FAILED, error_class="log_limit", may_retry=False,
                           reason="printed more than limits.log_mb allows", **more)
        if end.cause == "start":
            return Reading(Outcome.FAILED, error_class="start", may_retry=False,
                           reason=f"could not be started: {end.message}", **more)
        if end.signal is not None:
            return Reading(Outcome.FAILED, error_class="signal", reason=f"ended by {_signal_name(end.signal)}", **more)
        if code in route.tool.success_codes:
            return Reading(Outcome.SUCCEEDED, **more)
        last = errors or said[-1:]
        return Reading(Outcome.FAILED, error_class="exit",
                       reason=f"exit {code}" + (f": {one_line(last[0], 160)}" if last else ""), **more)


class ShellAdapter(SpecAdapter):
    """Runs the agent's configured command, or the prompt's words if their program is allowed."""

    def argv(self, task: Task, route: Route, config: Config, values: Mapping[str, str]) -> list[str]:
        if route.agent.command:
            return fill(route.agent.command, values)
        return shell_argv(task.prompt, config)


_BUILT_IN: dict[str, Adapter] = {"spec": SpecAdapter(), "shell": ShellAdapter()}


def adapter(name: str) -> Adapter:
    """The adapter of this name, built in or installed; `Unusable` if there is none."""
    if name not in _BUILT_IN:
        found = [entry for entry in entry_points(group="orchestrator.adapters") if entry.name == name]
        if not found:
            raise Unusable(f"there is no adapter '{name}'", "is the package that provides it installed?")
        _BUILT_IN[name] = found[0].load()()
    return _BUILT_IN[name]


def _signal_name(number: int | None) -> str:
    if number is None:
        return ""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
