"""What only the configuration shows of a file that is right by itself: unknown agents, tools that are off."""

from __future__ import annotations

from typing import Any

from orchestrator.files.documents import Problem
from orchestrator.files.requests import Request
from orchestrator.model import chain
from orchestrator.model.config import Config
from orchestrator.model.task import task_from
from orchestrator.tools.routing import RouteProblem, routes
from orchestrator.tools.specs import Toolbox


def route_problems(request: Request, config: Config, toolbox: Toolbox) -> list[Problem]:
    """What `tools.routing.routes` says of the request's task, or of every task of its run."""
    problems = []
    if request.task is not None:
        try:
            routes(request.task, config, toolbox.tools)
        except RouteProblem as error:
            problems.append(request.document.problem_at((error.key,), error.message, error.hint))
    problems += _next_agents(request, config, toolbox)
    if request.run is not None:
        for task_id, body in request.run.tasks.items():
            try:
                routes(task_from(task_id, body), config, toolbox.tools)
            except RouteProblem as error:
                key = request.run.keys[task_id]
                place: tuple[str, ...] = ("tasks", key, error.key)
                if place not in request.document.values:
                    place = (
                        ("defaults", error.key)
                        if ("defaults", error.key) in request.document.values
                        else ("tasks", key)
                    )
                problems.append(request.document.problem_at(place, error.message, error.hint))
    return problems


def _next_agents(request: Request, config: Config, toolbox: Toolbox) -> list[Problem]:
    """The same of what is to follow a task: it would be too late to say so when the task has ended."""
    document, problems = request.document, []
    for path, body in _bodies(document.data):
        short = body.get("next_agent") if isinstance(body, dict) else None
        entries = [
            *chain.entries(body, path),
            *([((*path, "next_agent"), {"agent": short})] if short else []),
        ]
        for where, entry in entries:
            keys = {key: entry[key] for key in ("agent", "tool", "model") if key in entry}
            try:
                routes(task_from("next", {"prompt": "x", **keys}), config, toolbox.tools)
            except RouteProblem as error:
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
