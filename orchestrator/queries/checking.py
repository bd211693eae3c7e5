"""What is wrong with the files of a project, as written: what ``validate`` says of tasks, runs and
settings."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from orchestrator.errors import NotFound, OrchestratorError
from orchestrator.files import holds, named, opening, runrecords, scan, schemas
from orchestrator.files.configuration import ConfigProblems, load_config
from orchestrator.files.documents import Document, Problem, parse
from orchestrator.files.layout import SUFFIXES, Layout, is_draft, stem_of
from orchestrator.files.profiles import load_profiles
from orchestrator.files.requests import Request, Unreadable, load, read
from orchestrator.files.schedules import load_schedules
from orchestrator.files.schedules import made as made_by_schedule
from orchestrator.files.templating import judged, load_templates
from orchestrator.files.text import one_line
from orchestrator.model.config import Agent, Config
from orchestrator.model.status import WAITING, Status
from orchestrator.model.task import Task
from orchestrator.queries import runs, validity
from orchestrator.queries.health.wants import waiting_needs
from orchestrator.records import replace
from orchestrator.tools import judging
from orchestrator.tools.routing import absent_tools, agent_names
from orchestrator.tools.specs import Toolbox, load_tools

Found = tuple[str, Document, list[Problem]]  # a file as it is shown, and what is wrong with it
RESULT_MOST = 64 << 20  # bytes of a result that is read
ROLES_HINT = "orchestrator agents   lists them"
HINTS = 50  # mistyped needs of one command that are compared with all names there are


class Checking:
    """Checks files by one reading of the settings. ``layout`` is None where there is no work
    directory: then by what a new one has.

    ``broken`` is what is wrong with orchestrator.yaml itself.
    """

    def __init__(self, layout: Layout | None) -> None:
        self.layout = layout
        self.toolbox = load_tools(layout)
        self.config, self.broken = Config(), list[Found]()
        self._unread = False  # nobody knows what it configures
        self._look = scan.Look()
        self._hints = HINTS
        if layout is not None:
            try:
                self.config = load_config(layout, schemas.check)
            except ConfigProblems as error:
                self.broken = [(error.path, error.document, error.problems)]
                try:  # a task is judged by what it says all the same
                    self.config = load_config(layout)
                except OrchestratorError:
                    self._unread = True

    def settings(self) -> list[Found]:
        """The tools, roles, schedules and templates of the project, and orchestrator.yaml, each with
        what is wrong with it or with what it names."""
        if self.layout is None:
            return []
        return [
            *self._tools(self.layout),
            *_names(self.layout, self.config, self.toolbox),
            *_profiles(self.layout, self.config, self.toolbox),
            *self._schedules(self.layout),
            *_templates(self.layout),
        ]

    def waiting(self) -> list[str]:
        """The files of inbox/ and held/, those that hold something else included."""
        if self.layout is None:
            return []
        return [
            self.layout.file(status, name)
            for status in WAITING
            for name in sorted(self._look.names(self.layout.folder(status)))
            if stem_of(name) and not is_draft(name)
        ]

    def meant(self, word: str) -> list[str]:
        """The files that a word means: a file, those of a folder, the task or run with this id (or
        a part of it), or the settings of this name.

        Raises `NotFound` if it is a part of several ids.
        """
        if os.path.isdir(word):
            return _files_of(word)
        if word == "-" or self.layout is None or os.path.lexists(word) or os.sep in word:
            return [word]
        run = runs.meant(self.layout, word)
        place = runrecords.place(self.layout, run[0]) if run is not None else None
        if place is not None:
            return [self.layout.shown(self.layout.file(*place))]
        settings = _settings_named(self.layout, word)
        if settings and scan.locate(self.layout, word) is None:
            return settings
        try:
            _, status, name = scan.find(self.layout, word)
        except scan.Ambiguous:
            raise
        except NotFound:
            return [word]
        return [self.layout.shown(self.layout.file(status, name))]

    def file(self, path: str) -> list[Found]:
        """What one file is, and all that is wrong with it.

        Raises `NotFound` if it is not there.
        """
        settings = self._setting(path)
        if settings is not None:
            return settings
        shown = _shown(path)
        try:
            content = read(path)
        except FileNotFoundError:
            hint = "no task, run or setting has this name either: orchestrator list"
            raise NotFound(f"there is no file {path}", hint) from None
        except Unreadable as error:
            return [(shown, Document(""), [Problem(1, 1, str(error))])]
        except OSError as error:
            return [(shown, Document(""), [_unreadable(shown, error)])]
        folder = os.path.dirname(path) or "."
        task_id = stem_of(os.path.basename(path))
        document, problems = self._judged(path, task_id, content.raw, folder)
        if all(problem.warning for problem in problems):
            problems += self._refusal(folder, task_id, content.stat)
        return [(shown, document, problems)]

    def _refusal(self, folder: str, task_id: str, stat: os.stat_result) -> list[Problem]:
        """What the watcher has against a file that is right in itself."""
        if self.layout is None or os.path.realpath(folder) != self._inbox:
            return []
        found = validity.refusal(self.layout, task_id, stat)
        return [replace(found, line=1, column=1)] if found is not None else []

    def text(self, raw: bytes) -> Found:
        """What is wrong with a task that is in no file."""
        return "stdin", *self._judged("stdin.yaml", "stdin", raw, ".")

    def made(self, path: str) -> list[Task]:
        """The tasks that a file would make; none if it is not valid."""
        try:
            raw = read(path).raw
        except (OSError, Unreadable):
            return []
        name, find = stem_of(os.path.basename(path)), self.config.templates.get
        request = load(path, name, raw, schemas.check, self._agents, find=find)
        return request.tasks

    @cached_property
    def _agents(self) -> list[str]:
        return agent_names(self.config, self.toolbox.tools)

    @cached_property
    def _inbox(self) -> str:
        return os.path.realpath(self.layout.folder(Status.INBOX)) if self.layout is not None else ""

    @cached_property
    def _needs(self) -> dict[str, tuple[str, ...]]:
        """What every waiting task needs."""
        return waiting_needs(self.layout, self._look.names) if self.layout is not None else {}

    def _judged(
        self, path: str, task_id: str, raw: bytes, folder: str
    ) -> tuple[Document, list[Problem]]:
        """A task's problems: YAML, schema, meaning, and whether what it names is there."""
        root = self.layout.root if self.layout is not None else ""
        name = task_id or "stdin"
        config = None if self._unread else self.config
        request = judging.judged(path, name, raw, config, self.toolbox, self._agents, root)
        problems = request.problems
        if config is not None and not request.errors:
            problems += judging.doubts(request, config, self.toolbox)
        if self.layout is not None:
            problems += self._wrong_needs(self.layout, request, folder)
        return request.document, sorted(problems, key=lambda it: (it.line, it.column))

    def _wrong_needs(self, layout: Layout, request: Request, folder: str) -> list[Problem]:
        most = min(self._hints, named.HINTS)
        unknown = named.unknown_needs(request, layout, folder, self._look.names, most)
        self._hints -= min(most, len(unknown))
        waits = request.task is not None and request.task.needs
        return unknown + (named.circle(request, self._needs) if waits else [])

    def _tools(self, layout: Layout) -> list[Found]:
        """Each tool of the project."""
        tools = [tool for tool in self.toolbox.tools.values() if not tool.built_in]
        found: list[Found] = [(tool.path, Document(""), []) for tool in tools]
        return [
            (layout.shown(path), document, problems)
            for path, document, problems in self.toolbox.broken + found
        ]

    def _schedules(self, layout: Layout) -> list[Found]:
        """Each schedule, and what no file of the inbox may say that it would make."""
        found = []
        for folder in ("", "held"):
            for item in load_schedules(layout, schemas.check, folder):
                problems = list(item.problems)
                if item.schedule is not None and not self._unread:
                    find = self.config.templates.get
                    request = made_by_schedule(item.name, item.document, schemas.check, find)
                    if not request.errors:
                        problems += judging.route_problems(request, self.config, self.toolbox)
                found.append((layout.shown(item.path), item.document, problems))
        return found

    def _setting(self, path: str) -> list[Found] | None:
        """What is wrong with a settings file that lies where it belongs; None if it is no such
        file."""
        layout = self.layout
        if layout is None:
            return None
        real = os.path.realpath(path)
        folder, name = os.path.split(real)
        if real == os.path.realpath(layout.config):  # the rest of it is in `broken`
            return _names(layout, self.config, self.toolbox)
        if folder == os.path.realpath(layout.folder("results")):
            return [(layout.shown(path), *_result(real))]
        if folder == os.path.realpath(layout.folder("held")) and holds.is_hold(name):
            return [(layout.shown(path), *holds.judged(real, schemas.check))]
        if folder == os.path.realpath(layout.templates):
            item = judged(real, schemas.check)
            return [(layout.shown(path), item.document, [*item.problems, *item.warnings])]
        if folder in map(os.path.realpath, (layout.schedules, f"{layout.schedules}/held")):
            return [it for it in self._schedules(layout) if _real(layout, it) == real]
        if folder == os.path.realpath(layout.tools):
            return [it for it in self._tools(layout) if _real(layout, it) == real]
        if folder == os.path.realpath(layout.agents):
            roles = _profiles(layout, self.config, self.toolbox)
            return [item for item in roles if item[0] == layout.shown(real)]
        return None


# -- settings
# ------------------------------------------------------------------------------------------------


def _profiles(layout: Layout, config: Config, toolbox: Toolbox) -> list[Found]:
    found = []
    for item in load_profiles(layout, schemas.check):
        role = config.agents.get(item.name) if "tool" in item.body else None
        wrong = _absent(item.document, ("tool",), role, toolbox)
        warned = [replace(problem, warning=True) for problem in item.warnings]
        found.append((layout.shown(item.path), item.document, [*item.problems, *wrong, *warned]))
    return found


def _templates(layout: Layout) -> list[Found]:
    return [
        (layout.shown(item.path), item.document, [*item.problems, *item.warnings])
        for item in load_templates(layout, schemas.check)
    ]


def _result(path: str) -> tuple[Document, list[Problem]]:
    document = parse(opening.read_bytes(path, RESULT_MOST))
    return document, list(document.problems or schemas.check("result", document))


def _names(layout: Layout, config: Config, toolbox: Toolbox) -> list[Found]:
    """orchestrator.yaml, with the tools and agents that it names and that are not there: whatever
    needs them would wait or fail."""
    try:
        document = parse(opening.read_bytes(os.path.realpath(layout.config)))
    except OSError:
        return []
    said = document.data if isinstance(document.data, dict) else {}
    known = agent_names(config, toolbox.tools)
    problems = [
        problem
        for name in said.get("agents") or {}
        for problem in _absent(document, ("agents", name, "tool"), config.agents.get(name), toolbox)
    ]
    if config.default_agent not in known:
        what = f"there is no agent '{one_line(config.default_agent, 60)}'"
        hint = schemas.did_you_mean(config.default_agent, known) or ROLES_HINT
        problems.append(document.problem_at(("defaults", "agent"), what, hint))
    for name in config.limits.reserve:
        if name not in known and name not in toolbox.tools:
            what = f"there is no tool or agent '{one_line(name, 60)}'"
            hint = schemas.did_you_mean(name, known) or ROLES_HINT
            problems.append(document.problem_at(("limits", "reserve", name), what, hint))
    problems += _late_warnings(document, said.get("budgets"))
    return [(layout.shown(layout.config), document, problems)]


def _absent(
    document: Document, path: tuple[str, ...], role: Agent | None, toolbox: Toolbox
) -> Iterator[Problem]:
    """What a role has for tools that are not there."""
    for tool in absent_tools(role, toolbox.tools) if role is not None else ():
        hint = schemas.did_you_mean(tool, toolbox.tools) or ROLES_HINT
        yield document.problem_at(path, f"there is no tool '{one_line(tool, 60)}'", hint)


def _late_warnings(document: Document, said: object) -> list[Problem]:
    """Warnings of budgets that would never be given: nothing more is started before they are
    due."""
    given = said if isinstance(said, dict) else {}
    places: dict[tuple[str, ...], Any] = {
        (name,): given.get(name) for name in ("day", "run", "task")
    }
    places |= {("agents", name): own for name, own in (given.get("agents") or {}).items()}
    found = []
    for place, budget in places.items():
        soft, hard = ((budget or {}).get(key) for key in ("soft_usd", "hard_usd"))
        if soft is not None and hard is not None and soft > hard:
            what = f"soft_usd ({soft}) is more than hard_usd ({hard}): it warns of nothing"
            path = ("budgets", *place, "soft_usd")
            found.append(document.problem_at(path, what, "make it less than hard_usd"))
    return found


# -- files
# ---------------------------------------------------------------------------------------------------


def _settings_named(layout: Layout, name: str) -> list[str]:
    """The schedules, templates, agents and tools of the project that are called so."""
    held = f"{layout.schedules}/held"
    folders = (layout.schedules, held, layout.templates, layout.agents, layout.tools)
    found = [f"{folder}/{name}{suffix}" for folder in folders for suffix in SUFFIXES]
    return [layout.shown(path) for path in found if os.path.isfile(path)]


def _files_of(folder: str) -> list[str]:
    names = [name for name in sorted(os.listdir(folder)) if stem_of(name) and not is_draft(name)]
    paths = [os.path.join(folder, name) for name in names]
    return [path for path in paths if os.path.isfile(path)]


def _shown(path: str) -> str:
    """A path as people read it: from where they are, if it is below."""
    near = os.path.relpath(path)
    return near if os.path.isabs(path) and not near.startswith("..") else path


def _real(layout: Layout, found: Found) -> str:
    return os.path.realpath(f"{layout.root}/{found[0]}")


def _unreadable(shown: str, error: OSError) -> Problem:
    why = f"it cannot be read: {(error.strerror or str(error)).lower()}"
    hint = f"chmod u+r {shlex.quote(shown)}" if isinstance(error, PermissionError) else ""
    return Problem(1, 1, why, hint)
