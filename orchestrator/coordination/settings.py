"""What the watcher goes by: orchestrator.yaml, the agents' profiles, the tools. Read again when one
of their files changes.

What cannot be read changes nothing: the previous settings stay in effect until the files are right
again. What was written while an attempt ran may have been written by that attempt; so it is held
until a person asks for it. An attempt that runs keeps what it began with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Protocol

from orchestrator.errors import OrchestratorError, Refused
from orchestrator.files.documents import Document, Problem
from orchestrator.files.layout import Layout, is_draft
from orchestrator.files.requests import Unreadable, read
from orchestrator.files.scan import settings_names
from orchestrator.files.text import one_line
from orchestrator.model.config import Config
from orchestrator.records import dataclass
from orchestrator.store.acceptance import Acceptance, snapshot
from orchestrator.tools.routing import agent_names
from orchestrator.tools.specs import Toolbox

AT_START = ("distributor", "distributors", "notify")  # what is built once, when the watcher starts
# Fields of `Config` that orchestrator.yaml calls otherwise.
KEYS = {
    "default_agent": "defaults.agent",
    "default_timeout": "defaults.timeout",
    "default_retries": "defaults.retries",
    "default_silence": "defaults.silence",
    "model_rules": "policy.models",
    "shell_allow": "tools.shell.allow",
    "disabled_tools": "tools",
    "pass_env": "environment.pass",
    "task_env": "environment.tasks",
    "max_timeout": "limits.timeout",
    "redact": "environment.redact",
    "result_grace": "cancel.result_grace",
    "interrupt_grace": "cancel.interrupt_grace",
    "terminate_grace": "cancel.terminate_grace",
    "log_limit": "limits.log_mb",
    "on_log_limit": "limits.on_log_limit",
    "rescan": "watch.rescan",
    "quiet": "watch.quiet",
    "prompts_in_events": "events.prompts",
}
FORMER, LEFT_OUT = "; the previous settings stay in effect", "; this tool is left out"
NO_AGENT = "; this agent is left out"
NO_SCHEDULE = "; this schedule is left out"
NO_TEMPLATE = "; this template is left out"
HELD = " changed while tasks ran"
ACCEPT = "; to accept it: orchestrator approve --settings"

Load = Callable[[], tuple[Config, Toolbox]]
Stamp = tuple[tuple[str, int, int, int], ...]


class Configured(Protocol):
    """Who knows what is configured now."""

    @property
    def config(self) -> Config: ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """A configuration that was read once."""

    config: Config


class Settings:
    """``load`` reads and checks them; the first time here, and then whatever it raises is raised.

    ``problem`` is what a person should know: what is wrong and where, or what is held; empty if all
    is as the files say.
    """

    def __init__(self, layout: Layout, load: Load, acceptance: Acceptance | None = None) -> None:
        self._layout, self._load, self.acceptance = layout, load, acceptance
        self.config = Config()
        # Before reading: what changes meanwhile is read again.
        self._stamp = self._seen = self.stamp()
        self.config, self.toolbox = load()
        if self._guides():
            self._stamp = self._seen = self.stamp()  # again before reading, now that they are known
            self.config, self.toolbox = load()
        if acceptance is not None and not (acceptance.equal() and self.stamp() == self._stamp):
            raise Refused("the settings changed while they were read", "start it again")
        self.agents = agent_names(self.config, self.toolbox.tools)
        self.problem = self._broken(self.toolbox.broken, LEFT_OUT) or _left_out(
            self.config.left_out
        )
        self.held = False

    def differ(self) -> bool:
        """Whether the files are others than those last read."""
        return self.stamp() != self._stamp

    def guides_differ(self) -> bool:
        """Whether a file of instructions is another than that last read: no notification tells of
        those."""
        return any(item not in self._stamp for item in _stamps(self._guides()))

    def settled(self) -> bool:
        """Whether the files are the same as at the last call and nobody has one open for writing:
        what they say is whole."""
        before, self._seen = self._seen, self.stamp()
        return before == self._seen and not any(_being_written(path) for path in self._paths())

    def read(self, take: bool = True, judged: Stamp | None = None, brought: str = "") -> list[str]:
        """Read them; the names of the settings that are others now.  Without ``take`` such are only
        held; ``brought`` says why, if that is not what attempts may have written.

        ``judged`` is the `stamp` of what ``take`` was decided about. If they are others by now,
        nothing counts, and they still `differ`: an attempt could write between a yes and a look.
        """
        self._stamp = self.stamp()
        files = snapshot(self._layout)
        try:
            config, toolbox = self._load()
        except OrchestratorError as error:
            self.problem = (
                one_line(error.message + (f" - {error.hint}" if error.hint else ""), 300) + FORMER
            )
            return []
        if judged is not None and self.stamp() != judged:
            self._stamp = ()
            return []
        known = {path for path, _, _ in self.toolbox.broken}
        news = [item for item in toolbox.broken if item[0] not in known]
        self.problem = self._broken(news or toolbox.broken, FORMER if news else LEFT_OUT)
        gone = {
            name: why
            for name, why in config.left_out.items()
            if (name in self.config.agents and name not in config.agents)
            or name.removeprefix("schedule ") in self.config.schedules
            or name.removeprefix("template ") in self.config.templates
        }
        self.problem = self.problem or _left_out(gone, FORMER) or _left_out(config.left_out)
        if news or gone:
            return []
        changed = self._changes(config, toolbox)
        self.held = bool(changed) and not take
        if self.held:
            why = f": {brought}" if brought else HELD
            self.problem = one_line(", ".join(changed), 300) + why + ACCEPT
            if self.acceptance is not None:
                self.acceptance.hold()
            return []
        self._accept(files, take)
        self.config, self.toolbox = config, toolbox
        self.agents = agent_names(config, toolbox.tools)
        return changed

    def may_take(self, theirs: bool, always: bool) -> bool | None:
        """Whether what the files say now may count without a person's yes; None if git has to be
        asked (`brought`).

        ``theirs``: an attempt may have written it.
        """
        if self.acceptance is None:
            return always or not (theirs or self.held)
        if self.acceptance.equal():
            return True
        return False if (theirs or self.held) and not always else None

    def brought(self, always: bool) -> str:
        """Why they need a yes although no attempt of now has written them; empty if they need none.
        It asks git, and takes as long as git likes."""
        found = self.acceptance.review(always) if self.acceptance is not None else []
        return one_line(found[0], 300) if found else ""

    def exposed(self) -> None:
        """An attempt is about to start."""
        if self.acceptance is not None:
            self.acceptance.begin()

    def quiet(self, others: bool) -> None:
        """No attempt is alive any more, unless ``others`` are."""
        if self.acceptance is not None and not others:
            self.acceptance.end()

    def _accept(self, files: dict[str, bytes], take: bool) -> None:
        """What is in force now is what the next start compares with, unless the files have changed
        again meanwhile."""
        if self.acceptance is None:
            return
        if self.acceptance.equal():
            self.acceptance.release()
        elif take and files == snapshot(self._layout):
            self.acceptance.accept(files)

    def _changes(self, config: Config, toolbox: Toolbox) -> list[str]:
        found = [
            KEYS.get(field.name, field.name)
            for field in fields(Config)
            if field.name != "left_out"
            and getattr(self.config, field.name) != getattr(config, field.name)
        ]
        before, after = self.toolbox.tools, toolbox.tools
        return found + [
            f"tool {name}"
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ]

    def _broken(
        self, broken: Sequence[tuple[str, Document, list[Problem]]], consequence: str
    ) -> str:
        for path, _, problems in broken:
            first = problems[0]
            return (
                one_line(
                    f"{self._layout.shown(path)}:{first.line}:{first.column}: {first.message}", 300
                )
                + consequence
            )
        return ""

    def _paths(self) -> list[str]:
        return [
            self._layout.config,
            *(
                f"{folder}/{name}"
                for folder in (
                    self._layout.tools,
                    self._layout.agents,
                    self._layout.schedules,
                    self._layout.templates,
                )
                for name in settings_names(folder)
                if not is_draft(name)
            ),
            *self._guides(),
        ]

    def _guides(self) -> list[str]:
        """The files of instructions that roles name."""
        agents = self.config.agents.values()
        named = {agent.instructions for agent in agents if not agent.profile} - {""}
        return sorted(f"{self._layout.root}/{path}" for path in named)

    def stamp(self) -> Stamp:
        """What tells whether any of the files has changed.  Their modes count: others must not be
        able to write them."""
        return _stamps(self._paths())


def _stamps(paths: Sequence[str]) -> Stamp:
    found = []
    for path in paths:
        try:
            info = os.stat(path)
            found.append((path, info.st_ino, info.st_mtime_ns, info.st_ctime_ns))
        except OSError:
            found.append((path, 0, 0, 0))
    return tuple(found)


def _left_out(profiles: Mapping[str, str], consequence: str = NO_AGENT) -> str:
    """The first profile that cannot be read; empty if all can."""
    name, first = next(iter(profiles.items()), ("", ""))
    if name.startswith("schedule ") and consequence == NO_AGENT:
        consequence = NO_SCHEDULE
    if name.startswith("template ") and consequence == NO_AGENT:
        consequence = NO_TEMPLATE
    more = f" (and {len(profiles) - 1} more)" if len(profiles) > 1 else ""
    return one_line(first, 300) + more + consequence if first else ""


def _being_written(path: str) -> bool:
    try:
        return read(os.path.realpath(path), leased=True).being_written
    except (OSError, Unreadable):  # what is wrong with it is told when it is read
        return False
