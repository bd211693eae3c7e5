"""What is wrong with the tasks and the settings of a work directory: the part of ``doctor`` that judges what they say."""

from __future__ import annotations

import os

from orchestrator.errors import OrchestratorError
from orchestrator.files import configuration, git, scan
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model.config import Config
from orchestrator.model.run import cycle
from orchestrator.model.status import Status
from orchestrator.model.units import plural, show_duration
from orchestrator.queries.health import Check
from orchestrator.queries.world import Known, request_of
from orchestrator.tools.specs import load_tools

LOOKED_AT = 2000  # waiting files whose needs are read
OLD_LOCK = 60.0  # seconds after which a git that works is no longer believed to hold its lock


def findings(layout: Layout, now: float) -> list[Check]:
    """What is wrong; empty if nothing is."""
    known = Known(layout, now)
    return [
        *_invalid(known),
        *_circle(layout),
        *_roles(layout),
        *_held(known),
        *index_lock(layout, now),
    ]


def _invalid(known: Known) -> list[Check]:
    wrong = known.invalid
    if not wrong:
        return []
    name, judged = next(iter(wrong.items()))
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    text = f"{plural(len(wrong), 'file')} in inbox/ cannot run as written: {name} {judged.told}"
    return [Check("invalid", "problem", text + more, "orchestrator validate")]


def _circle(layout: Layout) -> list[Check]:
    """Tasks that wait for each other for ever."""
    needs = {}
    for status in (Status.INBOX, Status.HELD):
        for task_id, name in scan.task_names(layout.folder(status))[:LOOKED_AT]:
            request = request_of(layout, status, name)
            if request is not None and request.task is not None and request.task.needs:
                needs[task_id] = request.task.needs
    found = cycle(needs)
    if not found:
        return []
    text = f"these tasks wait for each other: {' needs '.join(found)}"
    return [Check("needs", "problem", text, "take one of them out of needs:")]


def _roles(layout: Layout) -> list[Check]:
    """Roles that name a tool that does not exist."""
    try:
        config = configuration.load_config(layout)
    except OrchestratorError:  # told by the check of the settings
        config = Config()
    tools = load_tools(layout).tools
    return [
        Check(
            "agents",
            "problem",
            f"agent {agent.name}: there is no tool '{one_line(tool, 60)}'",
            "orchestrator tools   lists them",
        )
        for agent in config.agents.values()
        for tool in agent.tools
        if tool not in tools
    ]


def _held(known: Known) -> list[Check]:
    """What is held, and budgets that keep tasks from starting."""
    gates = [*known.held.values()]
    spent = known.day_budget
    if spent is not None:
        gates.insert(0, spent)
    return [Check("held", "note", one_line(gate.why), gate.hint) for gate in gates]


def index_lock(layout: Layout, now: float) -> list[Check]:
    """A git that was killed leaves its lock behind, and every later commit fails."""
    try:
        repository = git.nearest(layout.root)
        if repository is None:
            return []
        path = f"{repository.git_dir}/index.lock"
        age = now - os.lstat(path).st_mtime
    except (git.Unclear, OSError):
        return []
    if age < OLD_LOCK:
        return []
    text = (
        f"{layout.shown(path)} is {show_duration(age)} old: git commits nothing while it is there"
    )
    return [Check("index.lock", "problem", text, f"if no git runs: rm {layout.shown(path)}")]
