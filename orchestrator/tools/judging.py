"""What only the configuration shows of a file that is right by itself: unknown agents, tools that are off."""

from __future__ import annotations

from orchestrator.files.documents import Problem
from orchestrator.files.requests import Request
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
    if request.run is not None:
        prefix = len(request.run.id) + 1
        for task_id, body in request.run.tasks.items():
            try:
                routes(task_from(task_id, body), config, toolbox.tools)
            except RouteProblem as error:
                key = task_id[prefix:]
                place: tuple[str, ...] = ("tasks", key, error.key)
                if place not in request.document.values:
                    place = (
                        ("defaults", error.key)
                        if ("defaults", error.key) in request.document.values
                        else ("tasks", key)
                    )
                problems.append(request.document.problem_at(place, error.message, error.hint))
    return problems
