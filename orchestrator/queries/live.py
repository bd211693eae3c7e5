"""What the page shows of now and of the last day: runs as graphs, a timeline, costs against
budgets.

All of it is values for JSON; the page draws them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.files import quotas, runrecords
from orchestrator.files.layout import Layout
from orchestrator.model.budget import Budget
from orchestrator.model.status import RunStatus
from orchestrator.model.units import DAY, moment_of, timestamp
from orchestrator.queries.runs import RunView, view_of
from orchestrator.queries.usage import Index
from orchestrator.queries.world import Known, request_of

RUNS_SHOWN, RUN_TASKS = 6, 400  # graphs, and tasks in one
ATTEMPTS_SHOWN, MOMENTS = 2000, 200  # of the timeline, of the curve


def runs(layout: Layout, now: float) -> list[dict[str, Any]]:
    """The accepted runs that are not over, or were accepted last, with their graphs."""
    listed = sorted(runrecords.listed(layout), key=lambda item: -_accepted(layout, item[1]))
    found = []
    for run_id, name in listed[:RUNS_SHOWN]:
        view = view_of(layout, run_id, name, now)
        if view is not None:
            found.append(_graph(layout, view, name))
    return sorted(found, key=lambda run: run["status"] == RunStatus.DONE)


def _accepted(layout: Layout, name: str) -> float:
    try:
        return os.lstat(layout.file(runrecords.RUNS, name)).st_ctime
    except OSError:
        return 0.0


def _graph(layout: Layout, view: RunView, name: str) -> dict[str, Any]:
    """A run with what each of its tasks needs, and its longest way."""
    request = request_of(layout, view.folder, name)
    listed = request.run.all_tasks() if request is not None and request.run is not None else []
    needs = {task.id: task.needs for task in listed}
    took = {row.id: row.seconds or 0.0 for row in view.rows}
    tasks = [
        {
            "id": row.id,
            "status": row.status,
            "seconds": row.seconds,
            "detail": row.detail,
            "needs": [need for need in needs.get(row.id, ()) if need in took],
        }
        for row in view.rows[:RUN_TASKS]
    ]
    return {
        "id": view.id,
        "title": view.title,
        "status": str(view.status),
        "done": view.done,
        "total": len(view.rows),
        "branch": view.branch,
        "tasks": tasks,
        "critical": critical(needs, took),
    }


def critical(needs: Mapping[str, Sequence[str]], took: Mapping[str, float]) -> list[str]:
    """The chain of tasks, first one first, that has taken longest: ``took`` are seconds. A circle
    is cut where it closes."""
    best: dict[str, tuple[float, str]] = {}
    for start in took:
        waiting, open_ = [start] if start not in best else [], {start}
        while waiting:
            task_id = waiting[-1]
            known = [need for need in needs.get(task_id, ()) if need in took]
            missing = next((need for need in known if need not in best and need not in open_), None)
            if missing is not None:
                waiting.append(missing)
                open_.add(missing)
                continue
            before = max(
                ((best[need][0], need) for need in known if need in best), default=(0.0, "")
            )
            best[task_id] = (before[0] + took[task_id], before[1])
            waiting.pop()
    last = max(best, key=lambda task_id: best[task_id][0], default="")
    if not last or not best[last][0]:
        return []
    chain = []
    while last:
        chain.append(last)
        last = best[last][1]
    return chain[::-1]


def limits(known: Known) -> dict[str, Any]:
    """What today (UTC) has cost, against its budgets: for all, and for each agent that has one or
    has spent something."""
    dollars, tokens = known.spent_today
    budgets = known.in_force.budgets
    names = sorted({*budgets.agents, *(name for name, cost in dollars.agents.items() if cost)})
    return {
        "day": _budget(budgets.day, dollars.total, tokens.total),
        "agents": {
            name: _budget(
                budgets.agents.get(name, Budget()),
                dollars.agents.get(name, 0.0),
                tokens.agents.get(name, 0.0),
            )
            for name in names
        },
        "closed": [gate.why for gates in known.spent_budgets.values() for gate in gates],
    }


def _budget(budget: Budget, dollars: float, tokens: float) -> dict[str, Any]:
    facts = {
        "spent_usd": round(dollars, 6),
        "soft_usd": budget.soft,
        "hard_usd": budget.hard,
        "tokens": int(tokens),
        "hard_tokens": budget.tokens,
    }
    return {name: value for name, value in facts.items() if value is not None}


def plans(layout: Layout, now: float) -> list[dict[str, Any]]:
    """How much of the tools' plans was used over the last days: points of seconds since the epoch
    and the part used (1.0: all)."""
    return [
        {"tool": tool, "window": window, "points": points}
        for tool in quotas.tools(layout)
        for window, points in quotas.history(layout, tool).items()
        if points[-1][0] > now - 8 * DAY
    ]


def timeline(index: Index, now: float) -> list[list[Any]]:
    """The attempts that have ended in the last day, the newest first: task, attempt, agent, start,
    end, outcome.

    Moments are seconds since the epoch.
    """
    rows = index.execute(
        "SELECT task_id, attempt, agent, ts, duration_ms, outcome FROM events "
        "WHERE event = 'attempt_finished' AND ts >= ? ORDER BY ts DESC LIMIT ?",
        (timestamp(now - DAY), ATTEMPTS_SHOWN),
    )
    found = []
    for task_id, attempt, agent, ts, took, outcome in rows:
        end = _tenth(ts)
        if task_id and end is not None:
            start = round(end - (took or 0) / 1000, 1)
            found.append([task_id, attempt or 1, agent or "", start, end, outcome or "failed"])
    return found


def submitted(index: Index, now: float) -> dict[str, float]:
    """When the tasks of the last day were dropped, in seconds since the epoch."""
    rows = index.execute(
        "SELECT task_id, min(ts) FROM events WHERE event = 'task_submitted' AND ts >= ? "
        "GROUP BY task_id ORDER BY 2 DESC LIMIT ?",
        (timestamp(now - DAY), ATTEMPTS_SHOWN),
    )
    moments = {task_id: _tenth(ts) for task_id, ts in rows if task_id}
    return {task_id: moment for task_id, moment in moments.items() if moment is not None}


def curve(index: Index, now: float) -> list[list[float]]:
    """What the last day has cost, added up: moments (seconds since the epoch) and dollars."""
    rows = index.execute(
        "SELECT ts, cost_usd FROM events WHERE event = 'attempt_finished' AND ts >= ? "
        "AND cost_usd > 0 ORDER BY ts",
        (timestamp(now - DAY),),
    )
    total, points = 0.0, []
    for ts, cost in rows:
        total += cost
        moment = _tenth(ts)
        if moment is not None:
            points.append([moment, round(total, 4)])
    every = len(points) // MOMENTS + 1
    return points[::every] + points[-1:]


def _tenth(ts: object) -> float | None:
    moment = moment_of(ts)
    return None if moment is None else round(moment, 1)
