"""From an envelope to a command, by this machine's own settings: what another machine says chooses
among them and loosens none."""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.coordination import attemptfiles
from orchestrator.coordination.elsewhere.spool import Entry
from orchestrator.distributors.base import Order
from orchestrator.execution import secretstore
from orchestrator.execution.processes import TAG
from orchestrator.files.layout import ARTIFACTS
from orchestrator.model.config import Config
from orchestrator.model.sandbox import PERMISSIONS
from orchestrator.model.task import Task
from orchestrator.tools.adapters import adapter
from orchestrator.tools.invocation import (
    CannotStart,
    NotInstalled,
    Session,
    chooses_session,
    program,
    secret_values,
)
from orchestrator.tools.routing import Route, RouteProblem, routes
from orchestrator.tools.specs import ToolSpec


def route_of(
    told: Mapping[str, Any], config: Config, tools: Mapping[str, ToolSpec]
) -> tuple[Task, Route]:
    """What acts, as this machine's settings have it. Raises `CannotStart`, in words that the other
    side understands."""
    task = Task(
        id=told["task"],
        prompt=told["prompt"],
        agents=(told["agent"],),
        tool=told["tool"],
        model=told.get("model"),
        cwd=told.get("cwd"),
        env=told.get("env", {}),
        on="direct",
    )
    try:
        route, *_ = routes(task, config, tools)
    except RouteProblem as problem:
        raise CannotStart(f"this worker refuses it: {problem.message}", problem.hint) from None
    if route.sandbox.on:
        raise CannotStart(
            f"this worker's settings demand a sandbox for the agent '{route.agent.name}', and"
            " workers build none"
        )
    # The whole prompt is composed already.  Permissions and limits: the narrower of both sides.
    permissions = min(
        route.agent.permissions, told.get("permissions", "default"), key=PERMISSIONS.index
    )
    agent = replace(route.agent, instructions="", profile="", context=(), permissions=permissions)
    timeout = _shorter(told["timeout"], route.timeout)
    silence = _shorter(told.get("silence", 0.0), route.silence or 0.0)
    return task, replace(route, agent=agent, timeout=timeout, silence=silence or None)


def _shorter(one: float, other: float) -> float:
    """The shorter of two limits; 0 is none."""
    return min(one or other, other or one)


def order_of(
    told: Mapping[str, Any],
    config: Config,
    tools: Mapping[str, ToolSpec],
    entry: Entry,
    root: str,
    folder: str,
) -> Order:
    """The order for this machine's supervisors, but for its journal. ``root`` is this worker's
    project, ``folder`` where the attempt's paths begin. Blocks while secrets are fetched; raises
    `CannotStart`, `NoSecret` or OSError."""
    task, route = route_of(told, config, tools)
    known = secret_values(os.environ, config.redact)
    fetched = secretstore.fetch(route.agent.secrets, root, known) if route.agent.secrets else {}
    tag = secrets.token_hex(8)
    own = {
        **fetched,
        "ORCHESTRATOR_TASK_ID": task.id,
        "ORCHESTRATOR_ATTEMPT": str(told["attempt"]),
        "ORCHESTRATOR_ROOT": folder,
        "ORCHESTRATOR_ARTIFACTS": f"{entry.run_dir}/{ARTIFACTS}",
        TAG: tag,
    }
    session = Session(str(uuid.uuid4()) if chooses_session(route) else "")
    made = adapter(route.tool.adapter).invocation(
        task, route, config, folder, entry.run_dir, own, session
    )
    path = program(made.argv[0], made.env, root)
    if path is None:
        raise NotInstalled(f"there is no program '{made.argv[0]}' on this worker")
    hidden = attemptfiles.hidden(made, task, (*config.redact, *fetched))
    prompt_file = attemptfiles.write(entry.run_dir, made, hidden)
    return Order(
        task_id=task.id,
        attempt=told["attempt"],
        program=path,
        argv=made.argv,
        env=made.env,
        cwd=made.cwd,
        run_dir=entry.run_dir,
        stdin=prompt_file if made.stdin else None,
        tag=tag,
        journal=-1,
        cancel=entry.cancel,
        timeout=route.timeout,
        interrupt_grace=told["interrupt_grace"],
        terminate_grace=told["terminate_grace"],
        log_limit=min(told["log_limit"], config.log_limit),
        on_log_limit="end",  # a log that is cut again and again would travel again and again
        secrets=hidden,
        silence=route.silence or 0.0,
        leash=entry.leash,
        leash_limit=told["leash"],
        facts={"session": session.id} if session.id else {},
    )
