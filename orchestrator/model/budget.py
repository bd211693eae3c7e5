"""Budgets: what may be spent, in dollars, tokens and attempts, and which gates are closed when it
has been.

Days are days of UTC. Who pays by subscription counts tokens, or attempts by the hour, where dollars
mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.model import gates
from orchestrator.model.units import DAY, HOUR
from orchestrator.records import dataclass, field

if TYPE_CHECKING:
    from orchestrator.model.run import Run

Scope = tuple[str, str]  # ("", "") everything, ("agent", name), ("run", id), ("tool", name)
Keys = tuple[str, ...]
SETTINGS = "work/orchestrator.yaml"


@dataclass(frozen=True, slots=True)
class Budget:
    """``soft`` is where a warning is given, ``hard`` where nothing more is started, both in
    dollars; ``tokens`` the same as ``hard`` in tokens, ``attempts`` how many may begin within an
    hour. None: no such limit."""

    soft: float | None = None
    hard: float | None = None
    tokens: int | None = None
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """What a budget counts: the field of `Budget`, the keys that limit it in the settings and in a
    file, and its words."""

    field: str
    key: str
    file_key: str
    form: str
    name: str = ""

    def limit(self, budget: Budget) -> float | None:
        found: float | None = getattr(budget, self.field)
        return found

    def words(self, amount: float, limit: float) -> str:
        """``$1.50 of $1.00``, ``12,000 of 10,000 tokens``."""
        return f"{self.form.format(amount)} of {self.form.format(limit)}{self.name}"


DOLLARS = Unit("hard", "hard_usd", "max_cost_usd", "${:.2f}")
TOKENS = Unit("tokens", "hard_tokens", "max_tokens", "{:,.0f}", " tokens")


@dataclass(frozen=True, slots=True)
class Budgets:
    """``day`` is for all agents together, ``agents`` for each one's day; ``run`` and ``task`` for
    those that set none.

    ``unknown`` are the dollars that an agent's attempt counts as whose cost nobody knows; None: as
    nothing.
    """

    day: Budget = Budget()
    agents: Mapping[str, Budget] = field(default_factory=dict)
    run: Budget = Budget()
    task: Budget = Budget()
    cancel: bool = False  # whether a hard limit also stops what runs
    unknown: float | None = None

    @property
    def paced(self) -> bool:
        """Whether attempts are counted by the hour."""
        return any(item.attempts is not None for item in (self.day, *self.agents.values()))

    def limit_run(self, run: Run) -> bool:
        """Whether a run may only cost so much, by its file or by the settings."""
        own = (run.max_cost, run.max_tokens, self.run.hard, self.run.tokens)
        return any(limit is not None for limit in own)


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt that runs and has cost ``so_far``; ``before`` is what earlier attempts of its task
    did, ``most`` what the task may.

    All three are in dollars, or in tokens.
    """

    id: str
    agent: str
    run: str
    so_far: float
    before: float
    most: float | None


@dataclass(slots=True)
class Spent:
    """What a day has cost so far, and runs in all; in dollars, or in tokens."""

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
    """The budget in ``{soft_usd: 1, hard_usd: 2, hard_tokens: 100000, max_attempts_per_hour:
    10}``."""
    keys = ("soft_usd", "hard_usd", "hard_tokens", "max_attempts_per_hour")
    return Budget(*((data or {}).get(key) for key in keys))


def tighter(asked: float | None, configured: float | None) -> float | None:
    """The limit that counts: a file can only tighten what the configuration allows."""
    limits = [limit for limit in (asked, configured) if limit is not None]
    return min(limits, default=None)


def spent_gates(
    budgets: Budgets,
    spent: tuple[Spent, Spent],
    runs: Iterable[Run],
    begun: Iterable[tuple[float, str]],
    now: float,
) -> list[dict[Scope, gates.Gate]]:
    """All gates that budgets close, in dollars, in tokens and in attempts.

    ``spent`` is in dollars and in tokens, of ``runs`` as well; ``begun`` is that of `paced`.
    """
    listed, midnight = list(runs), (now // DAY + 1) * DAY
    dollars, tokens = spent
    return [
        closed(budgets, dollars, file_limits(listed, DOLLARS), midnight, DOLLARS),
        closed(budgets, tokens, file_limits(listed, TOKENS), midnight, TOKENS),
        paced(budgets, begun, now),
    ]


def file_limits(runs: Iterable[Run], unit: Unit) -> dict[str, float | None]:
    """What the files of these runs allow each of them."""
    return {run.id: run.max_tokens if unit is TOKENS else run.max_cost for run in runs}


def closed(
    budgets: Budgets,
    spent: Spent,
    run_limits: Mapping[str, float | None],
    midnight: float,
    unit: Unit = DOLLARS,
) -> dict[Scope, gates.Gate]:
    """The gates that spent budgets close. ``run_limits``: what the files of these runs allow (None:
    they do not say)."""
    found: dict[Scope, gates.Gate] = {}

    def close(
        scope: Scope,
        what: str,
        amount: float,
        limit: float,
        keys: Keys,
        until: float | None,
        file: str = SETTINGS,
    ) -> None:
        why = f"the budget of {what} is spent: {unit.words(amount, limit)}"
        found[scope] = _gate(why, keys, file, until)

    limit = unit.limit(budgets.day)
    if limit is not None and spent.total >= limit:
        keys: Keys = ("budgets", "day", unit.key)
        close(("", ""), f"{spent.day}", spent.total, limit, keys, midnight)
    for name, budget in budgets.agents.items():
        amount, limit = spent.agents.get(name, 0.0), unit.limit(budget)
        if limit is not None and amount >= limit:
            keys = ("budgets", "agents", name, unit.key)
            close(("agent", name), f"agent {name} for {spent.day}", amount, limit, keys, midnight)
    for run_id, of_file in run_limits.items():
        limit = tighter(of_file, unit.limit(budgets.run))
        amount = spent.runs.get(run_id, 0.0)
        if limit is not None and amount >= limit:
            keys, file = (unit.file_key,), f"work/runs/{run_id}.yaml"
            if limit != of_file:
                keys, file = ("budgets", "run", unit.key), SETTINGS
            close(("run", run_id), f"run {run_id}", amount, limit, keys, None, file)
    return found


def _gate(why: str, keys: Keys, file: str, until: float | None) -> gates.Gate:
    hint = f"raise {'.'.join(keys)} in {file}"
    return gates.Gate(gates.GateName.BUDGET, why, hint, until, until is None, keys=keys)


def paced(
    budgets: Budgets, begun: Iterable[tuple[float, str]], now: float
) -> dict[Scope, gates.Gate]:
    """The gates that ``max_attempts_per_hour`` closes. ``begun``: when attempts began (seconds),
    and of which agents."""
    recent = sorted((moment, agent) for moment, agent in begun if now - HOUR < moment <= now)
    found: dict[Scope, gates.Gate] = {}
    every: list[tuple[Scope, Keys, Budget]] = [(("", ""), ("day",), budgets.day)]
    every += [(("agent", name), ("agents", name), item) for name, item in budgets.agents.items()]
    for scope, place, budget in every:
        mine = [moment for moment, agent in recent if scope[1] in ("", agent)]
        most = budget.attempts
        if most is None or len(mine) < most:
            continue
        who = f" of agent {scope[1]}" if scope[1] else ""
        why = f"{len(mine)} attempts{who} started within the last hour, which is the limit"
        until = mine[-most] + HOUR if most else None
        keys = ("budgets", *place, "max_attempts_per_hour")
        found[scope] = _gate(why, keys, SETTINGS, until)
    return found


def overrun(
    budgets: Budgets,
    spent: Spent,
    run_limits: Mapping[str, float | None],
    running: Sequence[Running],
    unit: Unit = DOLLARS,
) -> dict[str, str]:
    """The running attempts whose budget is spent, with what they have cost so far, and in what
    words."""
    live = Spent(spent.day, spent.total, dict(spent.agents), dict(spent.runs))
    for item in running:
        live.add(item.agent, item.run, item.so_far)
    scopes = closed(budgets, live, run_limits, 0.0, unit)
    found: dict[str, str] = {}
    for item in running:
        most = tighter(item.most, unit.limit(budgets.task))
        gate = next(
            (
                scopes[scope]
                for scope in (("run", item.run), ("agent", item.agent), ("", ""))
                if scope in scopes
            ),
            None,
        )
        if most is not None and item.before + item.so_far >= most:
            amount = unit.words(item.before + item.so_far, most)
            found[item.id] = f"the budget of the task is spent: {amount}"
        elif gate is not None:
            found[item.id] = gate.why
    return found


def warnings(budgets: Budgets, spent: Spent) -> dict[Scope, str]:
    """What is over its soft limit, in words."""
    found: dict[Scope, str] = {}
    if budgets.day.soft is not None and spent.total >= budgets.day.soft:
        found["", ""] = passed(spent.day, spent.total, budgets.day.soft)
    for name, budget in budgets.agents.items():
        if budget.soft is not None and spent.agents.get(name, 0.0) >= budget.soft:
            who = f"on {spent.day}, agent {name}"
            found["agent", name] = passed(who, spent.agents[name], budget.soft)
    for run_id, amount in spent.runs.items():
        if budgets.run.soft is not None and amount >= budgets.run.soft:
            found["run", run_id] = passed(f"run {run_id}", amount, budgets.run.soft)
    return found


def passed(what: str, cost: float, soft: float) -> str:
    """That a soft limit is reached, in words."""
    return f"{what} has cost ${cost:.2f}: its soft limit of ${soft:.2f} is reached"
