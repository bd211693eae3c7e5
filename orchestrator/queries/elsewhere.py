"""Of attempts that other machines have: where they are, and what is known of the workers there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.files import journals, pools
from orchestrator.files.layout import Layout
from orchestrator.model.gates import Gate, GateName
from orchestrator.model.journal import AttemptFacts, Phase
from orchestrator.model.units import plural, show_duration


def place(attempt: AttemptFacts) -> str:
    """``farm``, ``farm/w1``: who has an attempt; empty for this machine."""
    worker = str(attempt.started.get("worker") or "")
    return "/".join(filter(None, (attempt.where, worker)))


def silence(layout: Layout, attempt: AttemptFacts) -> str:
    """``no word from w1 for 40s``, if that is so; else empty."""
    name = str(attempt.started.get("worker") or "")
    for worker in _workers(layout, attempt.where):
        if worker.get("name") == name and worker.get("silent"):
            return f"no word from {name} for {show_duration(worker['silent'])}"
    return ""


def waits(
    layout: Layout, attempt: AttemptFacts, phase: Phase, now: float
) -> tuple[str, list[Gate]]:
    """What is to be said of an attempt that was offered elsewhere and has not ended: a sentence,
    and what it waits for."""
    where, pool = attempt.where, str(attempt.dispatched.get("pool", ""))
    if phase is Phase.STARTED:
        quiet = silence(layout, attempt)
        return f"it is running at {place(attempt)}{f'; {quiet}' if quiet else ''}", []
    since = show_duration(max(0.0, now - float(attempt.dispatched.get("at", now))))
    before = _before(layout, attempt)
    ahead = f", {before} before it" if before else ""
    dispatch = str(attempt.dispatched.get("dispatch", ""))
    gate = Gate(GateName.PLACE, _takers(layout, where, pool, dispatch), f"on: {where}")
    return f"it has waited at {where} for {since}{ahead}", [gate]


def _takers(layout: Layout, where: str, pool: str, dispatch: str) -> str:
    """Who could take what is offered in this pool, in words."""
    told = pools.read(layout).get(where)
    if told is None:
        return f"a worker of the pool {pool} should take it"
    if told.get("broker"):
        return f"the broker does not answer: {told['broker']}"
    jobs = told.get("jobs")
    if isinstance(jobs, dict) and dispatch in jobs:
        return str(jobs[dispatch])[:1000]
    takers = [worker for worker in _workers(layout, where) if pool in worker.get("pools", ())]
    if not takers:
        tool, *labels = pool.split("+")
        command = " ".join(("orchestrator worker", *(f"--label {label}" for label in labels)))
        return f"there is no worker for {pool}: {command}, on a machine that has {tool}"
    return f"workers for {pool}: {', '.join(_state(worker) for worker in takers[:10])}"


def _state(worker: Mapping[str, Any]) -> str:
    if worker.get("silent"):
        state = f"no word for {show_duration(worker['silent'])}"
    elif worker.get("busy", 0) >= worker.get("slots", 0):
        state = "full"
    else:
        state = f"{worker['slots'] - worker['busy']} free"
    return f"{worker.get('name')} ({state})"


def _workers(layout: Layout, where: str) -> list[Mapping[str, Any]]:
    return list(pools.read(layout).get(where, {}).get("workers", {}).values())


def _before(layout: Layout, attempt: AttemptFacts) -> str:
    """How many others were offered in the same pool before, and wait still; empty if none."""
    mine = attempt.dispatched
    count = 0
    for journal in journals.active(layout):
        other = journal.attempt
        if journal.phase is Phase.DISPATCHED and other is not None and other.where == attempt.where:
            same = other.dispatched.get("pool") == mine.get("pool")
            count += bool(same and other.dispatched.get("at", 0.0) < mine.get("at", 0.0))
    return plural(count, "task") if count else ""
