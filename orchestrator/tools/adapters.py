"""Adapters: how a tool's command is built and how its end is read.

An adapter is an object with the methods of `Adapter`.  ``spec`` (the default) does what the tool's YAML says,
``shell`` runs a configured command.  Others plug in through the entry point group ``orchestrator.adapters``.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Protocol

from orchestrator.errors import Unusable
from orchestrator.files.text import last_lines, one_line
from orchestrator.model.attempt import AttemptEnd
from orchestrator.model.config import Config
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
from orchestrator.model.task import Task
from orchestrator.tools.failures import classify
from orchestrator.tools.invocation import (
    MAX_ARGUMENT,
    CannotStart,
    Invocation,
    Session,
    command,
    compose_prompt,
    environment,
    fill,
    placeholders,
)
from orchestrator.tools.output import Said, read
from orchestrator.tools.routing import Route, shell_argv


class Adapter(Protocol):
    """What the coordination needs of a tool."""

    def invocation(
        self,
        task: Task,
        route: Route,
        config: Config,
        root: str,
        run_dir: str,
        own_env: Mapping[str, str],
        session: Session = Session(),
    ) -> Invocation:
        """The command of one attempt; `CannotStart` if it cannot be built."""

    def reading(self, route: Route, run_dir: str, end: AttemptEnd) -> Reading:
        """What the end of an attempt and its output mean."""


class SpecAdapter:
    """Runs a tool as its spec says."""

    def invocation(
        self,
        task: Task,
        route: Route,
        config: Config,
        root: str,
        run_dir: str,
        own_env: Mapping[str, str],
        session: Session = Session(),
    ) -> Invocation:
        prompt = compose_prompt(task, route.agent, root, session)
        values = placeholders(task, route, root, run_dir, prompt, session.id)
        if not os.path.isdir(values["cwd"]):
            raise CannotStart(f"cwd '{task.cwd}' is not a folder")
        argv = self.argv(task, route, config, values, session)
        if any(len(word.encode("utf-8", "surrogateescape")) > MAX_ARGUMENT for word in argv):
            raise CannotStart(
                "the prompt is too long for an argument (128 KiB)",
                "prompt: stdin in the tool's spec",
            )
        if any("\0" in word for word in argv):
            raise CannotStart("an argument contains a NUL character")
        return Invocation(
            tuple(argv),
            environment(route, task, config, own_env, values),
            values["cwd"],
            prompt,
            route.tool.prompt == "stdin" and route.mode != "interactive",
        )

    def argv(
        self, task: Task, route: Route, config: Config, values: Mapping[str, str], session: Session
    ) -> list[str]:
        """The words of the command."""
        return fill(command(route, session), values)

    def reading(self, route: Route, run_dir: str, end: AttemptEnd) -> Reading:
        """Succeeded is: exit 0, and the spec's ``done`` found, and ``failed`` not.  Exit codes alone are not to be trusted."""
        # On a terminal there are no events to read: its exit code is all that is known.
        parse = route.tool.parse if route.mode != "interactive" else None
        said = read(parse, run_dir) if parse is not None else Said()
        code = end.code if end.signal is None else 128 + end.signal
        printed = last_lines(f"{run_dir}/stdout.log", 20) if route.mode != "interactive" else []
        warnings = said.warnings
        if end.leftovers:
            warnings += (f"{end.leftovers} process(es) that the tool left running were ended",)
        base = Reading(
            Outcome.FAILED,
            code,
            _signal_name(end.signal),
            duration_ms=end.duration_ms,
            warnings=warnings,
            message=said.text
            or ("" if parse is not None and not parse.parser else "\n".join(printed)),
            session=said.session,
            usage=said.usage,
            cost_usd=said.cost_usd,
            cost_source="" if said.cost_usd is None else "reported",
        )
        if end.cause in CAUSES:
            outcome, retry, reason = CAUSES[end.cause]
            return replace(
                base,
                outcome=outcome,
                error_class=end.cause,
                may_retry=retry,
                reason=reason.format(end.message),
            )
        if (
            end.signal is None
            and code in route.tool.success_codes
            and said.done is not False
            and not said.failed
        ):
            return replace(base, outcome=Outcome.SUCCEEDED)
        return self._failure(route, run_dir, base, said, printed)

    def _failure(
        self, route: Route, run_dir: str, base: Reading, said: Said, printed: list[str]
    ) -> Reading:
        """What kind of failure it was, and in what words."""
        errors = last_lines(f"{run_dir}/stderr.log", 1)
        last = one_line((said.error or (errors or printed[-1:] or [""])[0]), 200)
        if base.signal:
            return replace(
                base,
                error_class="signal",
                reason=f"ended by {base.signal}"
                + (f": {one_line(said.error)}" if said.error else ""),
            )
        if base.exit_code in route.tool.success_codes:
            plain, reason = (
                ("incomplete", "it ended without saying that it is done")
                if not said.failed
                else ("exit", "failed")
            )
        else:
            plain, reason = "exit", f"exit {base.exit_code}"
        found = None
        if (
            route.tool.parse is not None or route.tool.failures
        ):  # what other commands print is their own business
            text = said.error or "\n".join((*last_lines(f"{run_dir}/stderr.log", 40), *printed))
            found = classify(text, route.tool.failures, time.time())
        return replace(
            base,
            error_class=found.kind if found else plain,
            reset=found.reset if found else None,
            reason=f"{reason}: {last}" if last else reason,
        )


# cause of an attempt's end -> outcome, whether the same may go better next time, what to say
CAUSES: dict[str, tuple[Outcome, bool, str]] = {
    "cancelled": (Outcome.CANCELLED, False, "cancelled"),
    "timeout": (Outcome.TIMED_OUT, True, "ran out of time"),
    "silence": (Outcome.TIMED_OUT, True, "printed nothing for too long"),
    "lost": (Outcome.LOST, True, "its supervisor was killed"),
    "log_limit": (Outcome.FAILED, False, "printed more than limits.log_mb allows"),
    "not_installed": (Outcome.FAILED, False, "could not be started: {}"),
    "start": (Outcome.FAILED, False, "could not be started: {}"),
}


class ShellAdapter(SpecAdapter):
    """Runs the agent's configured command, or the prompt's words if their program is allowed."""

    def argv(
        self, task: Task, route: Route, config: Config, values: Mapping[str, str], session: Session
    ) -> list[str]:
        if route.agent.command:
            return fill(route.agent.command, values)
        return shell_argv(task.prompt, config)


_BUILT_IN: dict[str, Adapter] = {"spec": SpecAdapter(), "shell": ShellAdapter()}


def adapter(name: str) -> Adapter:
    """The adapter of this name, built in or installed; `Unusable` if there is none."""
    if name not in _BUILT_IN:
        found = [
            entry for entry in entry_points(group="orchestrator.adapters") if entry.name == name
        ]
        if not found:
            raise Unusable(
                f"there is no adapter '{name}'", "is the package that provides it installed?"
            )
        _BUILT_IN[name] = found[0].load()()
    return _BUILT_IN[name]


def _signal_name(number: int | None) -> str:
    if number is None:
        return ""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
