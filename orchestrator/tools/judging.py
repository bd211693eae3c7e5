"""What a file asks for and all that is wrong with it: one judgement for the watcher, ``validate``
and every verb that reads.

What only the configuration shows of a file that is right in itself (unknown agents, tools that are
off) is found here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.files import named, requests, schemas
from orchestrator.model import chain, task, template
from orchestrator.model.units import show_duration
from orchestrator.records import replace
from orchestrator.tools import routing

if TYPE_CHECKING:
    from orchestrator.files.documents import Document, Problem
    from orchestrator.files.requests import Request
    from orchestrator.model.config import Config
    from orchestrator.model.run import Run
    from orchestrator.model.task import Task
    from orchestrator.tools.specs import Toolbox


def judged(
    path: str,
    task_id: str,
    raw: bytes,
    config: Config | None,
    toolbox: Toolbox,
    agents: Collection[str],
    root: str = "",
    parsed: Document | None = None,
) -> Request:
    """What the bytes of ``path`` ask for, with all problems.

    ``config`` is None if it cannot be read: then nobody knows which roles there are, and only what
    the file shows by itself is told. ``agents``: the roles there are. ``root``: the project in which the files that it names must be,
    if it belongs to one. ``parsed``: the bytes as a document, if somebody has parsed them already.
    """
    find = config.templates.get if config is not None else None
    request = requests.load(path, task_id, raw, schemas.check, agents, find=find, parsed=parsed)
    fits = not request.errors
    if config is not None and fits:
        request.problems += route_problems(request, config, toolbox)
    elif config is not None and any(request.meant):
        one, many = request.meant
        shaped = replace(request, task=one, run=many, problems=[])
        told = {problem.message.partition(":")[0] for problem in request.errors}  # "may not set X"
        request.problems += [
            problem
            for problem in route_problems(shaped, config, toolbox)
            if problem.message.partition(":")[0] not in told
        ]
    if root and fits:
        found = named.problems(request, root)
        request.absent = any(not problem.warning for problem in found)
        request.problems += found
    return request


def route_problems(request: Request, config: Config, toolbox: Toolbox) -> list[Problem]:
    """What `tools.routing.routes` says of the request's task, or of every task of its run."""
    problems = []
    if request.task is not None:
        try:
            request.chain = routing.routes(request.task, config, toolbox.tools)
        except routing.RouteProblem as error:
            problems.append(request.document.problem_at((error.key,), error.message, error.hint))
    problems += _next_agents(request, config, toolbox)
    if request.run is not None:
        for task_id, body in request.run.tasks.items():
            try:
                routing.routes(_member(task_id, body, config), config, toolbox.tools)
            except routing.RouteProblem as error:
                place = _place(request.run, task_id, error.key, request.document)
                problems.append(request.document.problem_at(place, error.message, error.hint))
    return problems


def _member(task_id: str, body: Mapping[str, Any], config: Config) -> Task:
    """A task of a run, with what its template says."""
    found = config.templates.get(str(body.get("use") or ""))
    return task.task_from(task_id, template.merged(found, body) if found else body)


def doubts(request: Request, config: Config, toolbox: Toolbox) -> list[Problem]:
    """Warnings for each task of the request: its tools are all not installed here, or it asks for
    more time than the configuration allows."""
    asked = [request.task] if request.task is not None else []
    run = request.run
    if run is not None:
        asked = [_member(task_id, body, config) for task_id, body in run.tasks.items()]
    found = {}
    for wanted in asked:
        for key, (why, hint) in _doubts_of(wanted, config, toolbox):
            place = _place(run, wanted.id, key, request.document) if run is not None else (key,)
            found[place] = request.document.problem_at(place, why, hint, warning=True)
    return list(found.values())


def _doubts_of(
    wanted: task.Task, config: Config, toolbox: Toolbox
) -> Iterator[tuple[str, tuple[str, str]]]:
    if why := routing.missing(wanted, config, toolbox.tools):
        yield "agent", (why, "install it before this task starts")
    if wanted.timeout and wanted.timeout > config.max_timeout:
        why = f"an attempt ends after {show_duration(config.max_timeout)}"
        yield "timeout", (why, "limits.timeout in orchestrator.yaml is the most there is")


def _place(run: Run, task_id: str, key: str, document: Document) -> tuple[Any, ...]:
    """Where the file says this of a task of its run."""
    if run.contest:
        return ("compete", list(run.tasks).index(task_id)) if key == "agent" else (key,)
    own, default = (*run.place_of(task_id), key), ("defaults", key)
    if own in document.values:
        return own
    return default if default in document.values else run.place_of(task_id)


def _next_agents(request: Request, config: Config, toolbox: Toolbox) -> list[Problem]:
    """The same of what is to follow a task: it would be too late to say so when the task has
    ended."""
    document, problems = request.document, []
    for path, body in _bodies(document.data):
        short = body.get("next_agent") if isinstance(body, dict) else None
        entries = [
            *chain.entries(body, path),
            *([((*path, "next_agent"), {"agent": short})] if short else []),
        ]
        for where, entry in entries:
            following = requests.followed(request, document, entry, where)
            try:
                routing.routes(following, config, toolbox.tools)
            except routing.RouteProblem as error:
                place = where if where[-1] == "next_agent" else (*where, error.key)
                problems.append(document.problem_at(place, error.message, error.hint))
    return problems


def _bodies(data: Any) -> list[tuple[chain.Path, Any]]:
    if not isinstance(data, dict):
        return []
    tasks = data.get("tasks")
    inner = tasks.items() if isinstance(tasks, dict) else ()
    return [
        ((), data),
        (("defaults",), data.get("defaults")),
        *((("tasks", name), body) for name, body in inner),
    ]
