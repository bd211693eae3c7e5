"""Plan first: an agent reads, changes nothing and answers with a plan; approved by a person, it
goes on with its rights.

That an attempt was to plan stands in the record of its start, its plan in the record of the task's
end, and a person's yes in what the next attempt is told (`store.plans`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestrator.coordination import questions
from orchestrator.coordination.life import Life
from orchestrator.files.layout import Layout
from orchestrator.files.text import clean, one_line
from orchestrator.model.journal import Journal
from orchestrator.model.policy import Finish
from orchestrator.model.question import headline
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome, Status
from orchestrator.model.task import Task
from orchestrator.store.plans import MOST
from orchestrator.tools.planning import LEVEL
from orchestrator.tools.routing import Route


def wanted(task: Task, route: Route, journal: Journal) -> bool:
    """Whether the next attempt is to plan: its file or its role asks for that, and nobody has
    approved a plan yet."""
    return (task.plan or route.agent.role.plan) and not journal.approved


def narrow(life: Life) -> None:
    """Have its attempts plan: they read only, and what proves or follows work is not for plans."""
    life.planning = True
    life.chain = tuple(_reading(route) for route in life.chain)
    life.route = _reading(life.route)
    life.task = replace(life.task, result_schema="", artifacts=(), then=())


def _reading(route: Route) -> Route:
    role = route.agent.role
    ask = (
        "deny" if role.ask == "deny" else ""
    )  # nobody grants in the middle what a plan is not to have
    agent = replace(route.agent, permissions=LEVEL, then=(), role=replace(role, ask=ask))
    return replace(route, agent=agent, checks=())


def facts(life: Life) -> dict[str, Any]:
    """For the record of an attempt's start."""
    return {"plan": True} if life.planning else {}


def understood(layout: Layout, life: Life, reading: Reading) -> Reading:
    """The reading of an attempt; one that was to plan and has no plan, nor a question, has
    failed."""
    if not life.planning or reading.outcome is not Outcome.SUCCEEDED:
        return reading
    if _plan(reading) or questions.asked(layout, life, reading):
        return reading
    why = "it ended without a plan"
    return replace(reading, outcome=Outcome.FAILED, error_class="incomplete", reason=why)


def finish(reading: Reading, changed: Sequence[str]) -> Finish:
    """A plan waits in review, and its reason names what changed nevertheless."""
    plan = _plan(reading)
    also = (
        f"; it was supposed to change nothing, but changed {', '.join(changed[:5])}"
        if changed
        else ""
    )
    return Finish(Status.REVIEW, f"plan: {one_line(headline(plan), 160)}{also}", plan)


def _plan(reading: Reading) -> str:
    whole = isinstance(reading.answer, str) and reading.message.strip()  # the message may be cut
    said = reading.answer if whole else reading.message
    return clean(said).strip()[:MOST]


def told(layout: Layout, journal: Journal, step: Finish) -> dict[str, Any]:
    """For the result: where the plan is, and whether somebody has approved it."""
    if not step.plan and not journal.approved:
        return {}
    task_id = journal.task_id
    return {"plan": {"file": layout.shown(layout.plan(task_id)), "approved": not step.plan}}


def record(step: Finish) -> dict[str, Any]:
    """For the record of the task's end."""
    return {"plan": step.plan} if step.plan else {}


def again(told_already: str, journal: Journal) -> str:
    """What an attempt that begins a new session is told: an approved plan as well, which only the
    session before has."""
    plan = journal.approved
    return (
        told_already
        if not plan or plan in told_already
        else f"{plan}\n{told_already}".rstrip("\n") + "\n"
    )
