"""An attempt in words that mean the same on any machine: no command, no path, no inherited
environment, no secret.

Who executes it builds the command from its own settings (`Order.portable`). What is sent is in the
journal before it leaves, so that the next watcher knows it without asking anybody.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from orchestrator import __version__
from orchestrator.coordination import attemptfiles
from orchestrator.coordination.tasktrees import Claimed, TaskTrees
from orchestrator.distributors.base import Order
from orchestrator.errors import StoreFault
from orchestrator.files.layout import Layout
from orchestrator.model.config import Config
from orchestrator.model.journal import AttemptFacts
from orchestrator.store.ledger import Entry
from orchestrator.tools.invocation import CannotStart, Session, compose_prompt
from orchestrator.tools.routing import scripted
from orchestrator.tools.taskenv import allowed

VERSION = 1  # of what is sent


def order(
    layout: Layout,
    config: Config,
    tasktrees: TaskTrees,
    life: Claimed,
    entry: Entry,
    tag: str,
    told: str,
) -> Order:
    """The order of an attempt that is executed elsewhere; its folders are made already. Its journal
    is still ``entry``'s.

    Raises `CannotStart` or `StoreFault`.
    """
    route, task = life.route, life.task
    if route.sandbox.on:
        raise CannotStart(
            f"it must run in a sandbox, and {route.place.name} builds none", "on: direct"
        )
    folder = tasktrees.folder(life)
    # A session is a file of the machine where it began: the next attempt may be on another one.
    prompt = compose_prompt(
        task,
        route.agent,
        folder,
        Session(told=told, plan=life.planning),
        elsewhere=True,
        script=scripted(route.agent, route.tool),
    )
    run_dir = layout.logs(life.id, life.attempt)
    try:
        attemptfiles.write_prompt(run_dir, prompt)
    except OSError as error:
        raise StoreFault(f"{layout.shown(run_dir)}/prompt.md: {error.strerror}") from None
    told_of = {
        "v": VERSION,
        "version": __version__,
        "dispatch": uuid.uuid4().hex,
        "task": life.id,
        "attempt": life.attempt,
        "agent": route.agent.name,
        "tool": route.tool.name,
        "model": route.model,
        "permissions": route.agent.permissions,
        "labels": list(route.place.labels),
        "where": route.place.name,
        "pool": route.place.pool(route.tool.name),
        "prompt": prompt,
        "cwd": task.cwd or ".",
        "env": allowed(task.env, route.agent, route.tool, config),
        "timeout": route.timeout,
        "silence": route.silence or 0.0,
        "log_limit": config.log_limit,
        "on_log_limit": config.on_log_limit,
        "artifacts": list(task.artifacts),
        "code": code(life, entry),
        "edits": route.edits,
        "given": given(life, config),
    }
    return _order(config, life.id, life.attempt, run_dir, folder, tag, layout, told_of)


def code(life: Claimed, entry: Entry) -> dict[str, Any]:
    """The commit that the attempt begins from and the branch that its work comes back to; empty
    without a tree of its own."""
    if life.tree is None:
        return {}
    return {"commit": entry.journal.change.get("tip") or life.tree.base, "branch": life.tree.branch}


def given(life: Claimed, config: Config) -> list[str]:
    """Paths of files that the attempt is to have, whatever its commit holds: those to be read
    first, and what trees get."""
    placed = config.trees.copy if life.tree is not None else ()
    return list(dict.fromkeys((*(life.task.context or life.route.agent.context), *placed)))


def again(layout: Layout, config: Config, facts: AttemptFacts, run_dir: str, journal: int) -> Order:
    """The order of an attempt that has been dispatched before, from its record."""
    known = facts.dispatched
    told_of: Mapping[str, Any] = known.get("order", {})
    return _order(
        config,
        str(told_of.get("task", "")),
        facts.number,
        run_dir,
        str(known.get("folder", layout.root)),
        str(known.get("tag", "")),
        layout,
        told_of,
        journal,
    )


def record(order: Order, now: float) -> dict[str, Any]:
    """The record that is durable before the order leaves."""
    told_of = order.portable
    return {
        "record": "dispatched",
        "attempt": order.attempt,
        "at": now,
        "where": told_of["where"],
        "pool": told_of["pool"],
        "dispatch": told_of["dispatch"],
        "tag": order.tag,
        "folder": order.cwd,
        "offered": "",
        "order": dict(told_of),
        **({"plan": True} if order.facts.get("plan") else {}),
    }


def _order(
    config: Config,
    task_id: str,
    attempt: int,
    run_dir: str,
    folder: str,
    tag: str,
    layout: Layout,
    told_of: Mapping[str, Any],
    journal: int = -1,
) -> Order:
    return Order(
        task_id=task_id,
        attempt=attempt,
        program="",
        argv=(),
        env={},
        cwd=folder,
        run_dir=run_dir,
        stdin=None,
        tag=tag,
        journal=journal,
        cancel=layout.cancel_request(task_id),
        timeout=float(told_of.get("timeout", 0.0)),
        interrupt_grace=config.interrupt_grace,
        terminate_grace=config.terminate_grace,
        log_limit=int(told_of.get("log_limit", config.log_limit)),
        on_log_limit=str(told_of.get("on_log_limit", config.on_log_limit)),
        silence=float(told_of.get("silence", 0.0)),
        portable=told_of,
    )


def words(record: Mapping[str, Any]) -> str:
    """Where it is offered, for people."""
    return f"{record['where']}: pool {record['pool']}"
