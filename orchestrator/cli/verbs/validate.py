"""``validate``: check files without running them."""

from __future__ import annotations

import functools
import os
import shlex
import sys

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import Choice, examples, json_option
from orchestrator.cli.screen.console import say
from orchestrator.errors import INVALID, NotFound, OrchestratorError
from orchestrator.files import diagnostics, holds, named, opening, runrecords, scan, schemas
from orchestrator.files.configuration import ConfigProblems, load_config
from orchestrator.files.documents import Document, Problem, parse
from orchestrator.files.layout import Layout, is_draft, stem_of
from orchestrator.files.profiles import Profile, load_profiles
from orchestrator.files.requests import Unreadable, load, read
from orchestrator.files.schedules import load_schedules
from orchestrator.files.templating import judged, load_templates
from orchestrator.files.text import one_line
from orchestrator.model.config import Agent, Config
from orchestrator.model.units import plural
from orchestrator.queries import runs
from orchestrator.queries.health.wants import waiting_needs
from orchestrator.records import replace
from orchestrator.tools import judging
from orchestrator.tools.routing import absent_tools, agent_names
from orchestrator.tools.specs import Toolbox, load_tools

Found = tuple[str, Document, list[Problem]]
RESULT_MOST = 64 << 20  # bytes of a result that is read


@click.command(
    epilog=examples(
        "orchestrator validate",
        "orchestrator validate draft.yaml --format concise",
        "orchestrator validate work/inbox/*.yaml --format github      # in CI",
    )
)
@click.argument("files", nargs=-1, type=click.Path())
@click.option(
    "--format",
    "style",
    type=Choice(diagnostics.FORMATS),
    default="full",
    show_default=True,
    help="For people, for editors, for programs, for GitHub.",
)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option(
    "-n", "--dry-run", is_flag=True, help="Also list the tasks that the files would make."
)
@json_option
@click.pass_obj
def command(
    app: App, files: tuple[str, ...], style: str, strict: bool, dry_run: bool, as_json: bool
) -> int:
    """Check task and run files, and report all problems at once, with line, column and a hint.

    FILES are files, folders or ids of tasks; - reads one task from standard input. Without FILES
    it checks everything in work/inbox and work/held, orchestrator.yaml, the agents in work/agents
    and the tools in work/tools.
    """
    style = "json" if as_json else style
    try:
        layout: Layout | None = app.layout
    except OrchestratorError:
        if not files:
            raise
        layout = None
    found: list[Found] = []
    config, toolbox = Config(), load_tools(layout)
    if layout is not None:
        try:
            config = load_config(layout, schemas.check)
        except ConfigProblems as error:
            found.append((error.path, error.document, error.problems))
        if not files:
            found += [
                (layout.shown(path), document, problems)
                for path, document, problems in toolbox.broken
            ]
            found += _names(layout, config, toolbox)
            found += _profiles(layout, config, toolbox)
            found += _schedules(layout)
            found += _templates(layout)
    paths = [path for word in files for path in _paths(word, layout)]
    if not files and layout is not None:
        paths = [
            layout.file(folder, name)
            for folder in ("inbox", "held")
            for name in sorted(scan.names(layout.folder(folder)))
            if stem_of(name) and not is_draft(name)
        ]
    for path in paths:
        settings = _settings(path, config, toolbox, layout)
        if settings is None:
            found.append(check(path, config, toolbox, layout))
        else:
            found += [item for item in settings if item not in found]
    errors = sum(not problem.warning or strict for _, _, problems in found for problem in problems)
    bad = sum(
        any(not problem.warning or strict for problem in problems) for _, _, problems in found
    )
    text = diagnostics.render(style, found, app.console.paint, app.console.width)
    if text:
        app.console.out(text)
    if dry_run:
        app.console.table([row for path in paths for row in _made(path, config, toolbox)])
    if style == "full":
        total = len(paths)
        if errors:
            stay = (
                "It stays put and won't run until it's"
                if bad == 1
                else "They stay put and won't run until they're"
            )
            place = f" {stay} fixed." if not files and bad <= total else ""
            app.console.out(
                f"{plural(errors, 'problem')} in {bad} of {plural(max(total, bad), 'file')}.{place}"
            )
        elif app.console.tty:
            say(f"{plural(total, 'file')}, no problems")
    return INVALID if errors else 0


@functools.lru_cache(maxsize=1)
def _needs(layout: Layout) -> dict[str, tuple[str, ...]]:
    """What every waiting task needs, read once for all files."""
    return waiting_needs(layout)


def _paths(word: str, layout: Layout | None) -> list[str]:
    """The files that a word means: a file, those of a folder, or the task or run with this id (or a
    part of it)."""
    if os.path.isdir(word):
        return [
            os.path.join(word, name)
            for name in sorted(os.listdir(word))
            if stem_of(name) and not is_draft(name) and os.path.isfile(os.path.join(word, name))
        ]
    if word == "-" or layout is None or os.path.lexists(word) or os.sep in word:
        return [word]
    run = runs.meant(layout, word)
    place = runrecords.place(layout, run[0]) if run is not None else None
    if place is not None:
        return [layout.shown(layout.file(*place))]
    try:
        _, status, name = scan.find(layout, word)
    except NotFound:
        return [word]
    return [layout.shown(layout.file(status, name))]


def _made(path: str, config: Config, toolbox: Toolbox) -> list[list[str]]:
    """The tasks that a file would make, with what they are about; none if it is not valid."""
    if path == "-":
        return []
    try:
        raw = read(path).raw
    except (OSError, Unreadable):
        return []
    name = stem_of(os.path.basename(path))
    agents, find = agent_names(config, toolbox.tools), config.templates.get
    request = load(path, name, raw, schemas.check, agents, find=find)
    own = [request.task] if request.task else []
    tasks = request.run.all_tasks() if request.run else own
    return [[task.id, one_line(task.title, 120)] for task in tasks]


def _warned(profile: Profile) -> list[Problem]:
    return [replace(problem, warning=True) for problem in profile.warnings]


def _schedules(layout: Layout) -> list[Found]:
    return [
        (layout.shown(item.path), item.document, list(item.problems))
        for folder in ("", "held")
        for item in load_schedules(layout, schemas.check, folder)
    ]


def _templates(layout: Layout) -> list[Found]:
    return [
        (layout.shown(item.path), item.document, list(item.problems))
        for item in load_templates(layout, schemas.check)
    ]


def _profiles(layout: Layout, config: Config, toolbox: Toolbox) -> list[Found]:
    found = []
    for item in load_profiles(layout, schemas.check):
        role = config.agents.get(item.name) if "tool" in item.body else None
        wrong = _tools(item.document, ("tool",), role, toolbox)
        found.append(
            (layout.shown(item.path), item.document, [*item.problems, *wrong, *_warned(item)])
        )
    return found


def _names(layout: Layout, config: Config, toolbox: Toolbox) -> list[Found]:
    """Tools and agents that the settings name and that are not there: whatever needs them would
    wait or fail."""
    try:
        document = parse(opening.read_bytes(os.path.realpath(layout.config)))
    except OSError:
        return []
    known, problems = agent_names(config, toolbox.tools), []
    said = document.data if isinstance(document.data, dict) else {}
    for name in said.get("agents") or {}:
        problems += _tools(document, ("agents", name, "tool"), config.agents.get(name), toolbox)
    if config.default_agent not in known:
        what = f"there is no agent '{one_line(config.default_agent, 60)}'"
        hint = (
            schemas.did_you_mean(config.default_agent, known) or "orchestrator agents   lists them"
        )
        problems.append(document.problem_at(("defaults", "agent"), what, hint))
    for name in config.limits.reserve:
        if name not in known and name not in toolbox.tools:
            what = f"there is no tool or agent '{one_line(name, 60)}'"
            hint = schemas.did_you_mean(name, known) or "orchestrator agents   lists them"
            problems.append(document.problem_at(("limits", "reserve", name), what, hint))
    problems += _budgets(document, said.get("budgets"))
    return [(layout.shown(layout.config), document, problems)] if problems else []


def _budgets(document: Document, said: object) -> list[Problem]:
    """Warnings that would never be given: nothing more is started before they are due."""
    given = said if isinstance(said, dict) else {}
    agents = given.get("agents") or {}
    places = [(name,) for name in ("day", "run", "task")] + [("agents", name) for name in agents]
    found = []
    for place in places:
        budget = agents.get(place[1]) if len(place) > 1 else given.get(place[0])
        soft, hard = ((budget or {}).get(key) for key in ("soft_usd", "hard_usd"))
        if soft is not None and hard is not None and soft > hard:
            what = f"soft_usd ({soft}) is more than hard_usd ({hard}): it warns of nothing"
            path = ("budgets", *place, "soft_usd")
            found.append(document.problem_at(path, what, "make it less than hard_usd"))
    return found


def _tools(
    document: Document, path: tuple[str, ...], role: Agent | None, toolbox: Toolbox
) -> list[Problem]:
    """What a role has for tools that are not there."""
    return [
        document.problem_at(
            path,
            f"there is no tool '{one_line(tool, 60)}'",
            schemas.did_you_mean(tool, toolbox.tools) or "orchestrator agents   lists them",
        )
        for tool in (absent_tools(role, toolbox.tools) if role is not None else ())
    ]


def _settings(
    path: str, config: Config, toolbox: Toolbox, layout: Layout | None
) -> list[Found] | None:
    """What is wrong with a settings file that lies where it belongs; None if it is no such file."""
    if layout is None or path == "-":
        return None
    real = os.path.realpath(path)
    if real == os.path.realpath(layout.config):
        return _names(layout, config, toolbox)  # the rest of it was judged before anything else
    folder = os.path.dirname(real)
    if folder == os.path.realpath(layout.folder("results")):
        document = parse(opening.read_bytes(real, RESULT_MOST))
        wrong = document.problems or schemas.check("result", document)
        return [(layout.shown(path), document, list(wrong))]
    if folder == os.path.realpath(layout.folder("held")) and holds.is_hold(os.path.basename(real)):
        return [(layout.shown(path), *holds.judged(real, schemas.check))]
    if folder == os.path.realpath(layout.templates):
        item = judged(real, schemas.check)
        return [(layout.shown(path), item.document, list(item.problems))]
    if folder in (os.path.realpath(layout.schedules), os.path.realpath(f"{layout.schedules}/held")):
        return [
            item
            for item in _schedules(layout)
            if os.path.realpath(f"{layout.root}/{item[0]}") == real
        ]
    if folder == os.path.realpath(layout.tools):
        broken = [item for item in toolbox.broken if os.path.realpath(item[0]) == real]
        return [(layout.shown(path), document, problems) for path, document, problems in broken]
    if folder == os.path.realpath(layout.agents):
        return [
            item for item in _profiles(layout, config, toolbox) if item[0] == layout.shown(real)
        ]
    return None


def check(path: str, config: Config, toolbox: Toolbox, layout: Layout | None) -> Found:
    """One file's problems: YAML, schema, meaning, and whether what it names is configured."""
    shown = (
        os.path.relpath(path)
        if os.path.isabs(path) and not os.path.relpath(path).startswith("..")
        else path
    )
    if path == "-":
        raw, shown = sys.stdin.buffer.read(), "stdin"
    else:
        try:
            raw = read(path).raw
        except FileNotFoundError:
            raise NotFound(
                f"there is no file {path}", "it is not the id of a task either: orchestrator list"
            ) from None
        except Unreadable as error:
            return shown, Document(""), [Problem(1, 1, str(error))]
        except OSError as error:
            why = f"it cannot be read: {(error.strerror or str(error)).lower()}"
            hint = f"chmod u+r {shlex.quote(shown)}" if isinstance(error, PermissionError) else ""
            return shown, Document(""), [Problem(1, 1, why, hint)]
    name = os.path.basename(path)
    request = judging.judged(
        path if path != "-" else "stdin.yaml",
        stem_of(name) or "stdin",
        raw,
        config,
        toolbox,
        agent_names(config, toolbox.tools),
        layout.root if layout is not None else "",
    )
    if not request.errors:
        request.problems += judging.absent_programs(request, config, toolbox)
    if layout is not None:
        request.problems += named.unknown_needs(request, layout, os.path.dirname(path) or ".")
    if layout is not None and request.task is not None and request.task.needs:
        request.problems += named.circle(request, _needs(layout))
    return (
        shown,
        request.document,
        sorted(request.problems, key=lambda problem: (problem.line, problem.column)),
    )
