"""What an attempt used, from wherever it is told best."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from orchestrator.model.budget import DOLLARS, TOKENS, Running, tighter
from orchestrator.model.config import Config, Model
from orchestrator.model.journal import AttemptFacts, Journal
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
from orchestrator.model.task import Task
from orchestrator.model.units import cost_of
from orchestrator.model.usage import counted
from orchestrator.tools import sessionlog
from orchestrator.tools.activity import describe
from orchestrator.tools.routing import Route

REFUSED = "permission denied"  # how warnings of that begin
BARE = "$ "  # a command is told as it is


async def with_session_log(route: Route, run_dir: str, reading: Reading, since: float) -> Reading:
    """The reading, completed by the program's own session log.

    A program that ended by itself has reported; one that was stopped, failed, or ran on a terminal
    has reported less than it used, or nothing. ``since`` is when the attempt began (seconds since
    the epoch).
    """
    log = route.tool.session_log
    whole = reading.outcome is Outcome.SUCCEEDED and bool(reading.usage)
    if log is None or (whole and not log.quota and not log.refused):
        return reading
    logged = await asyncio.to_thread(sessionlog.read, log, run_dir, reading.session, since)
    return completed(reading, logged, whole)


def completed(reading: Reading, logged: sessionlog.Logged, whole: bool) -> Reading:
    """The reading with what a session log adds to it; ``whole``: its figures are complete."""
    changes: dict[str, Any] = {"session": reading.session or logged.session}
    if logged.windows and not reading.windows:
        changes["windows"] = logged.windows
    changes["warnings"] = _with_refusals(reading.warnings, logged.refused)
    if not whole and _sum(logged.usage) > _sum(reading.usage):
        changes |= {"usage": logged.usage, "cost_usd": None, "cost_source": ""}
    return replace(reading, **changes)


def _with_refusals(
    warnings: tuple[str, ...], refused: tuple[tuple[str, Any], ...]
) -> tuple[str, ...]:
    """The warnings; of what was refused the log knows more than the output says."""
    if not refused:
        return warnings
    said = tuple(warning for warning in warnings if not warning.startswith(REFUSED))
    calls = dict.fromkeys(f"{REFUSED}: {describe(*call).removeprefix(BARE)}" for call in refused)
    return (*calls, *said)


def _sum(usage: Any) -> int:
    return int(usage.get("input", 0) + usage.get("output", 0))


def priced(reading: Reading, model: Model | None) -> Reading:
    """With a cost: what the tool reported, else what the prices make of its tokens, else said to be
    unknown.

    Tools that know no price report 0; tokens for nothing are not believed.
    """
    if reading.cost_usd is not None and cost_of(reading.cost_usd) is None:
        reading = replace(reading, cost_usd=None, cost_source="unknown")
    if reading.cost_usd or not reading.usage:
        return reading
    estimate = model.cost(reading.usage) if model is not None else None
    if estimate is None:
        return replace(reading, cost_usd=None, cost_source="unknown")
    return replace(reading, cost_usd=round(estimate, 9), cost_source="estimated")


def assumed(reading: Reading, route: Route, unknown: float | None) -> Reading:
    """With the cost that ``budgets.unknown_usd`` says, where an agent was at work and nobody knows
    what that cost."""
    if unknown is None or route.tool.parse is None or reading.cost_usd is not None:
        return reading
    return replace(reading, cost_usd=unknown, cost_source="assumed")


def probes(journal: Journal) -> int:
    """Attempts of this turn that met a limit: they cost the task no retry."""
    mine = journal.attempts[-journal.tries : -1] if journal.tries > 1 else ()
    return sum(facts.read.get("error_class") == "usage_limit" for facts in mine)


def so_far(lives: Iterable[Any]) -> tuple[list[Running], list[Running]]:
    """What running attempts have used so far, of those whose tool tells: in dollars and in
    tokens."""
    dollars, tokens = [], []
    for life in lives:
        progress = life.progress
        if life.handle is None or progress is None or not progress.how.counts:
            continue
        progress.look()
        agent, run = life.route.agent.name, life.task.run or ""
        cost, used = progress.cost or 0.0, counted(progress.usage)
        dollars.append(Running(life.id, agent, run, cost, life.cost, life.task.max_cost))
        tokens.append(Running(life.id, agent, run, used, life.tokens, life.task.max_tokens))
    return dollars, tokens


def left(task: Task, config: Config, journal: Journal) -> float | None:
    """Dollars that a task may still cost after its attempts so far; None if nobody limits it."""
    limit = tighter(task.max_cost, config.budgets.task.hard)
    return None if limit is None else max(limit - _spent(journal.attempts), 0.0)


def too_expensive(task: Task, config: Config, journal: Journal, reading: Reading) -> str:
    """Why a task gets no more attempts: what it may cost is spent.  Empty if it is not."""
    cost = (reading.cost_usd or 0.0) + _spent(journal.attempts[:-1])
    limit = tighter(task.max_cost, config.budgets.task.hard)
    if limit is not None and cost >= limit:
        return f"no more attempts: {DOLLARS.words(cost, limit)} are spent"
    used = counted(reading.usage) + tokens_of(journal.attempts[:-1])
    limit = tighter(task.max_tokens, config.budgets.task.tokens)
    if limit is not None and used >= limit:
        return f"no more attempts: {TOKENS.words(used, limit)} are used"
    return ""


def tokens_of(attempts: Iterable[AttemptFacts]) -> int:
    """Tokens of these attempts together."""
    return sum(counted(facts.read.get("usage") or {}) for facts in attempts)


def _spent(attempts: Iterable[AttemptFacts]) -> float:
    return sum(facts.read.get("cost_usd") or 0.0 for facts in attempts)
