"""What a claim remembers of a task, and the task as it comes back from that: the file may be gone,
the settings may have changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.clock import Clock
from orchestrator.coordination.accounting import tokens_of
from orchestrator.coordination.life import Life
from orchestrator.coordination.settings import Settings
from orchestrator.files.bounds import of_task
from orchestrator.files.layout import Layout
from orchestrator.files.requests import load
from orchestrator.model.config import Agent, Config
from orchestrator.model.journal import Journal
from orchestrator.model.task import Task
from orchestrator.model.template import Template
from orchestrator.store.ledger import Entry
from orchestrator.tools.routing import Route, RouteProblem, bounded, routes
from orchestrator.tools.specs import ToolSpec


def claim_facts(task: Task, chosen: Route) -> dict[str, Any]:
    """What the claim remembers of the routing, for readers and for recovery."""
    return {
        "agent": chosen.agent.name,
        "tool": chosen.tool.name,
        "model": chosen.model,
        "run": task.run,
        "mode": chosen.mode,
        "title": task.title,
        "timeout": chosen.timeout,
        "retries": chosen.retries,
        "why": chosen.why,
        "locks": list(chosen.lane(task).locks),
        **({"low": True} if task.low else {}),
        **({"template": dict(task.template)} if task.template is not None else {}),
        **({"on": str(chosen.place)} if chosen.place.lane else {}),
    }


def life_of(settings: Settings, entry: Entry, clock: Clock) -> Life:
    """The life of a task that was claimed before, from the frozen text in its journal."""
    journal = entry.journal
    claim = journal.claim
    task = _task_of(settings, claim)
    chain, chosen = _routes_of(settings, task, journal)
    attempt = journal.attempt
    life = Life(
        claim["id"],
        claim["file"],
        task,
        chosen,
        chosen.lane(task),
        chain,
        inode=journal.inode,
        born=journal.born,
        attempt=attempt.number if attempt else 0,
        cost=sum(facts.read.get("cost_usd") or 0.0 for facts in journal.attempts),
        tokens=tokens_of(journal.attempts),
    )
    if attempt is not None and attempt.ended is None:
        now = clock.wall()
        ago = max(0.0, now - attempt.started.get("at", now))
        life.began = clock.monotonic() - ago
    return life


def _task_of(settings: Settings, claim: Mapping[str, Any]) -> Task:
    names = [*settings.config.agents, *settings.toolbox.tools]
    template = claim.get("template", {})
    request = load(
        claim["file"],
        claim["id"],
        claim["text"].encode(),
        None,
        names,
        find=lambda name: Template(name, body=template, filled=True),
    )
    return request.task or Task(id=claim["id"], title=claim.get("title") or "")


def _routes_of(settings: Settings, task: Task, journal: Journal) -> tuple[tuple[Route, ...], Route]:
    """All that could act, and the one that does."""
    try:
        chain = routes(task, settings.config, settings.toolbox.tools)
    except RouteProblem as problem:
        chosen = _unknown(journal.claim, settings.config, problem.message)
        return (chosen,), chosen
    return chain, chain[min(journal.link, len(chain) - 1)]


def _unknown(claim: Mapping[str, Any], config: Config, why: str) -> Route:
    """The configuration has changed since: what the tool has printed can still be read."""
    spec = ToolSpec(claim.get("tool") or "unknown", (), "", adapter="spec")
    return Route(
        Agent(claim.get("agent") or "unknown", (spec.name,)),
        spec,
        claim.get("model"),
        claim.get("timeout") or config.default_timeout,
        claim.get("retries") or 0,
        why,
    )


def bind(layout: Layout, life: Life) -> None:
    """Nothing of a task that an attempt in a sandbox has dropped is looser than what that attempt
    had."""
    bounds = of_task(layout, life.task)
    if bounds is not None:
        life.chain = tuple(bounded(route, bounds) for route in life.chain)
        life.route = bounded(life.route, bounds)


def route_again(settings: Settings, life: Life) -> None:
    """The next attempt goes by what is configured now, if that still knows its agent: at the same
    place of the chain."""
    place = life.chain.index(life.route) if life.route in life.chain else 0
    try:
        life.chain = routes(life.task, settings.config, settings.toolbox.tools)
    except RouteProblem:
        return
    life.route = life.chain[min(place, len(life.chain) - 1)]
    life.lane = life.route.lane(life.task)
