"""Budgets: what may be spent, and which gates are closed when it has been.  Dollars; days are days of UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.model.gates import Gate, GateName

DAY = 86400.0
Scope = tuple[str, str]  # ("", "") everything, ("agent", name), ("run", id), ("tool", name)


@dataclass(frozen=True, slots=True)
class Budget:
    """``soft`` is where a warning is given, ``hard`` where nothing more is started; None: no such limit."""

    soft: float | None = None
    hard: float | None = None


@dataclass(frozen=True, slots=True)
class Budgets:
    """``day`` is for all agents together, ``agents`` for each one's day; ``run`` and ``task`` for those that set none."""

    day: Budget = Budget()
    agents: Mapping[str, Budget] = field(default_factory=dict)
    run: Budget = Budget()
    task: Budget = Budget()
    cancel: bool = False  # whether a hard limit also stops what runs


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt that runs and has cost ``so_far``; ``before`` is what earlier attempts of its task did, ``most`` what the task may."""

    id: str
    agent: str
    run: str
    so_far: float
    before: float
    most: float | None


@dataclass(slots=True)
class Spent:
    """What a day has cost so far, and runs in all."""

    day: str = ""
    total: float = 0.0
    agents: dict[str, float] = field(default_factory=dict)
    runs: dict[str, float] = field(default_factory=dict)

    def add(self, agent: str, run: str, cost: float) -> None:
        """An attempt cost so much.  Only runs that are known already are counted on."""
        self.total += cost
        self.agents[agent] = self.agents.get(agent, 0.0) + cost
        if run in self.runs:
            self.runs[run] += cost


def budget_from(data: Mapping[str, Any] | None) -> Budget:
    """The budget in ``{soft_usd: 1, hard_usd: 2}``."""
    return Budget((data or {}).get("soft_usd"), (data or {}).get("hard_usd"))


def tighter(asked: float | None, configured: float | None) -> float | None:
    """The limit that counts: a file can only tighten what the configuration allows."""
    limits = [limit for limit in (asked, configured) if limit is not None]
    return min(limits, default=None)


def closed(
    budgets: Budgets, spent: Spent, run_limits: Mapping[str, float | None], midnight: float
) -> dict[Scope, Gate]:
    """The gates that spent budgets close.  ``run_limits``: what the files of these runs allow (None: they do not say)."""
    found: dict[Scope, Gate] = {}

    def close(
        scope: Scope, what: str, amount: float, limit: float, hint: str, until: float | None
    ) -> None:
        found[scope] = Gate(
            GateName.BUDGET,
            f"the budget of {what} is spent: ${amount:.2f} of ${limit:.2f}",
            hint,
            until,
            until is None,
        )

    if budgets.day.hard is not None and spent.total >= budgets.day.hard:
        close(
            ("", ""),
            f"{spent.day}",
            spent.total,
            budgets.day.hard,
            "budgets.day.hard_usd in orchestrator.yaml",
            midnight,
        )
    for name, budget in budgets.agents.items():
        amount = spent.agents.get(name, 0.0)
        if budget.hard is not None and amount >= budget.hard:
            close(
                ("agent", name),
                f"agent {name} for {spent.day}",
                amount,
                budget.hard,
                f"budgets.agents.{name} in orchestrator.yaml",
                midnight,
            )
    for run_id, limit in run_limits.items():
        allowed = tighter(limit, budgets.run.hard)
        amount = spent.runs.get(run_id, 0.0)
        if allowed is not None and amount >= allowed:
            close(
                ("run", run_id),
                f"run {run_id}",
                amount,
                allowed,
                f"max_cost_usd in work/runs/{run_id}.yaml",
                None,
            )
    return found


def overrun(
    budgets: Budgets,
    spent: Spent,
    run_limits: Mapping[str, float | None],
    running: Sequence[Running],
) -> dict[str, str]:
    """The running attempts whose budget is spent, with what they have cost so far, and in what words."""
    live = Spent(spent.day, spent.total, dict(spent.agents), dict(spent.runs))
    for item in running:
        live.add(item.agent, item.run, item.so_far)
    scopes = closed(budgets, live, run_limits, 0.0)
    found: dict[str, str] = {}
    for item in running:
        most = tighter(item.most, budgets.task.hard)
        gate = next(
            (
                scopes[scope]
                for scope in (("run", item.run), ("agent", item.agent), ("", ""))
                if scope in scopes
            ),
            None,
        )
        if most is not None and item.before + item.so_far >= most:
            found[item.id] = (
                f"the budget of the task is spent: ${item.before + item.so_far:.2f} of ${most:.2f}"
            )
        elif gate is not None:
            found[item.id] = gate.why
    return found


def warnings(budgets: Budgets, spent: Spent) -> dict[Scope, str]:
    """What is over its soft limit, in words."""
    found: dict[Scope, str] = {}
    if budgets.day.soft is not None and spent.total >= budgets.day.soft:
        found["", ""] = (
            f"{spent.day} has cost ${spent.total:.2f}, more than ${budgets.day.soft:.2f}"
        )
    for name, budget in budgets.agents.items():
        if budget.soft is not None and spent.agents.get(name, 0.0) >= budget.soft:
            found["agent", name] = (
                f"agent {name} has cost ${spent.agents[name]:.2f} on {spent.day}, more than ${budget.soft:.2f}"
            )
    for run_id, amount in spent.runs.items():
        if budgets.run.soft is not None and amount >= budgets.run.soft:
            found["run", run_id] = (
                f"run {run_id} has cost ${amount:.2f}, more than ${budgets.run.soft:.2f}"
            )
    return found
