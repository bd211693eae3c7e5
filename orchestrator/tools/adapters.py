"""Adapters: how a tool's command is built and how its end is read.

An adapter is an object with the methods of `Adapter`. ``spec`` (the default) does what the tool's
YAML says, ``shell`` runs a configured command. Others plug in through the entry point group
``orchestrator.adapters``.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from orchestrator.errors import Unusable
from orchestrator.files.text import last_lines, one_line
from orchestrator.libraries import later
from orchestrator.model.attempt import AttemptEnd
from orchestrator.model.config import Config
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
from orchestrator.model.task import Task
from orchestrator.records import replace
from orchestrator.tools import complaints, ownwords, when
from orchestrator.tools.activity import total
from orchestrator.tools.failures import Failure, classify
from orchestrator.tools.invocation import (
    MAX_ARGUMENT,
    CannotStart,
    Invocation,
    NotInstalled,
    Session,
    command,
    compose_prompt,
    environment,
    fill,
    placeholders,
    program,
)
from orchestrator.tools.output import Said, read
from orchestrator.tools.protocols import CLIENTS
from orchestrator.tools.routing import Route, scripted, shell_argv
from orchestrator.tools.speaking import client

if TYPE_CHECKING:
    from importlib import metadata
else:
    metadata = later("importlib.metadata")


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
        given = bool(route.tool.result_schema) and route.mode != "interactive"
        script = scripted(route.agent, route.tool)
        prompt = compose_prompt(task, route.agent, root, session, given=given, script=script)
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
        return fill(command(route, session, bool(values.get("schema"))), values)

    def reading(self, route: Route, run_dir: str, end: AttemptEnd) -> Reading:
        """Succeeded is: exit 0, and the spec's ``done`` found, and ``failed`` not. Exit codes alone
        are not to be trusted."""
        # On a terminal there are no events to read: its exit code is all that is known.
        parse = route.tool.parse if route.mode != "interactive" else None
        show = route.tool.presentation.show
        said = read(parse, run_dir, show) if parse is not None else Said()
        live = route.tool.presentation.live
        if said.partial and live is not None:  # sums need every event, however large the log
            counted = total(f"{run_dir}/stdout.log", live)
            said = replace(said, usage=counted.usage, cost_usd=counted.cost)
        code = end.exit_code
        printed = last_lines(f"{run_dir}/stdout.log", 20) if route.mode != "interactive" else []
        warnings = said.warnings
        if end.leftovers:
            warnings += (f"processes that the tool left running were ended: {end.leftovers}",)
        base = Reading(
            Outcome.FAILED,
            code,
            _signal_name(end.signal),
            duration_ms=end.duration_ms,
            warnings=warnings,
            message=capped(
                said.text or ("" if parse is not None and not parse.parser else "\n".join(printed))
            ),
            windows=said.windows,
            answer=(
                (said.text or "\n".join(printed)) if said.structured is None else said.structured
            ),
            session=said.session,
            model=said.model,
            usage=said.usage,
            cost_usd=said.cost_usd,
            cost_source="" if said.cost_usd is None else "reported",
            session_cost=said.session_cost,
        )
        if end.cause == "settled":  # it was over, and the program only did not end
            return self._settled(route, run_dir, base, said)
        if end.cause in CAUSES:
            if said.done and not said.failed and said.final and end.cause in HUNG:
                return _ended_late(base, f"it did not end after its result: {HUNG[end.cause]}")
            return self._stopped(route, run_dir, base, said, end)
        clean = end.signal is None and code in route.tool.success_codes
        if said.done is not False and not said.failed and clean:
            return replace(base, outcome=Outcome.SUCCEEDED)
        if said.done and not said.failed and said.final:  # its result is there: the work is done
            how = f"by {base.signal}" if base.signal else f"with exit {code}"
            return _ended_late(base, f"it ended {how} after its result")
        return self._failure(route, run_dir, base, said)

    def _settled(self, route: Route, run_dir: str, base: Reading, said: Said) -> Reading:
        """An attempt whose last event had come, and which was ended since it did not end by
        itself."""
        late = "it did not end after its result: it was ended"
        if said.done and not said.failed:
            return _ended_late(base, late)
        failed = self._failure(route, run_dir, replace(base, signal="", exit_code=None), said)
        kind = "exit" if failed.error_class == "signal" else failed.error_class
        warnings = (*failed.warnings, late)
        return replace(failed, error_class=kind, warnings=warnings)

    def _stopped(
        self, route: Route, run_dir: str, base: Reading, said: Said, end: AttemptEnd
    ) -> Reading:
        """An attempt that was ended from outside. What the program complained of last may be why it
        never ended."""
        outcome, retry, reason = CAUSES[end.cause]
        if end.cause == "lost":
            reason = one_line(end.message, 300) or reason
            if fault := _fault(run_dir):
                reason = FAILED.replace("{}", fault)
        stopped = replace(
            base,
            outcome=outcome,
            error_class=end.cause,
            may_retry=retry,
            reason=reason.replace("{}", end.message),
        )
        if end.cause not in ("timeout", "silence") or route.tool.parse is None:
            return stopped
        complaint = complaints.last(run_dir, route.tool.presentation.show)
        found = self._classified(route, complaint, said) if complaint else None
        if found is None:
            return stopped
        return replace(
            stopped,
            error_class=found.kind,
            reset=found.reset,
            reason=f"{stopped.reason}: {one_line(complaint, 160)}",
        )

    def _failure(self, route: Route, run_dir: str, base: Reading, said: Said) -> Reading:
        """What kind of failure it was, and in what words."""
        tool = route.tool
        errors = last_lines(f"{run_dir}/stderr.log", ownwords.LINES)
        if route.mode == "interactive":
            printed = []
        else:
            printed = (
                ownwords.plain(run_dir)
                if tool.parse is not None
                else last_lines(f"{run_dir}/stdout.log", 20)
            )
        last = one_line(said.error or ownwords.headline(errors) or ownwords.headline(printed), 200)
        if base.signal:
            return replace(
                base,
                error_class="signal",
                reason=f"ended by {base.signal}"
                + (f": {one_line(said.error)}" if said.error else ""),
            )
        if base.exit_code in tool.success_codes:
            plain, reason = (
                ("incomplete", "it ended without saying that it was done")
                if not said.failed
                else ("exit", "failed")
            )
        else:
            code = base.exit_code
            plain, reason = "exit", "failed" if code is None else f"exit {code}"
        found = None
        if tool.parse is not None:
            text = said.error or ownwords.words(run_dir, True)
            found = self._classified(route, text, said)
        elif tool.failures:  # what other commands print is their own business
            found = classify("\n".join((*errors, *printed)), tool.failures, time.time())
        return replace(
            base,
            error_class=found.kind if found else plain,
            reset=found.reset if found else None,
            reason=f"{reason}: {last}" if last else reason,
        )

    @staticmethod
    def _classified(route: Route, text: str, said: Said) -> Failure | None:
        """The kind of failure: what the program gives as data comes before its words."""
        now = time.time()
        reset = when.moment(said.reset, now)
        if said.limited:
            return Failure("usage_limit", reset or when.ends(text, now))
        found = classify(text, route.tool.failures, now, said.status)
        if found is not None and reset is not None and found.kind in ("usage_limit", "rate_limit"):
            return replace(found, reset=reset)
        return found


MESSAGE_MOST = 16 << 10  # characters of the last words that a result keeps


def capped(text: str) -> str:
    """The last words as a result keeps them: what is longer is cut, and says where the rest is."""
    if len(text) <= MESSAGE_MOST:
        return text
    return (
        f"{text[:MESSAGE_MOST].rstrip()}\n[… cut: {len(text)} characters in all; the whole text is"
        " in the log of the attempt]"
    )


HUNG = {"timeout": "its time was up", "silence": "it went silent", "cancelled": "it was stopped"}


def _fault(run_dir: str) -> str:
    """What its supervisor raised (`execution.lastwords`); empty if nothing is known of that."""
    return one_line((last_lines(f"{run_dir}/supervisor.log", 1) or [""])[0], 160)


def _ended_late(base: Reading, oddity: str) -> Reading:
    return replace(base, outcome=Outcome.SUCCEEDED, warnings=(*base.warnings, oddity))


FAILED = "its supervisor failed: {} (please report it, with supervisor.log beside its logs)"
# cause of an attempt's end -> outcome, whether the same may go better next time, what to say
CAUSES: dict[str, tuple[Outcome, bool, str]] = {
    "cancelled": (Outcome.CANCELLED, False, "cancelled"),
    "timeout": (Outcome.TIMED_OUT, True, "ran out of time"),
    "silence": (Outcome.TIMED_OUT, True, "printed nothing for too long"),
    "lost": (Outcome.LOST, True, "its supervisor was killed"),
    "log_limit": (Outcome.FAILED, False, "printed more than limits.log_mb allows"),
    "not_installed": (Outcome.FAILED, False, "could not be started: {}"),
    "start": (Outcome.FAILED, False, "could not be started: {}"),
    "not_home": (Outcome.FAILED, False, "ran on another machine, but {}"),
}


class ShellAdapter(SpecAdapter):
    """Runs the agent's configured command, or the prompt's words if their program is allowed."""

    def argv(
        self, task: Task, route: Route, config: Config, values: Mapping[str, str], session: Session
    ) -> list[str]:
        if route.agent.command:
            return fill(route.agent.command, values)
        return shell_argv(task.prompt, config)


class SpokenAdapter(SpecAdapter):
    """Runs the client of a protocol, which runs the tool's program. On a person's terminal the
    program runs as it is."""

    def argv(
        self, task: Task, route: Route, config: Config, values: Mapping[str, str], session: Session
    ) -> list[str]:
        argv = super().argv(task, route, config, values, session)
        if route.mode == "interactive":
            return argv
        if (
            program(argv[0], environment(route, task, config, {}, values), values["project"])
            is None
        ):
            raise NotInstalled(f"there is no program '{argv[0]}'")
        return client(route, session, values, argv)


_BUILT_IN: dict[str, Adapter] = {
    "spec": SpecAdapter(),
    "shell": ShellAdapter(),
    **dict.fromkeys(CLIENTS, SpokenAdapter()),
}


def adapter(name: str) -> Adapter:
    """The adapter of this name, built in or installed; `Unusable` if there is none."""
    if name not in _BUILT_IN:
        found = [
            entry
            for entry in metadata.entry_points(group="orchestrator.adapters")
            if entry.name == name
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
