"""What is wrong with the tasks and the settings themselves: what ``doctor`` says of what they
say."""

from __future__ import annotations

from orchestrator.errors import OrchestratorError
from orchestrator.files import configuration, scan
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model.config import Config
from orchestrator.model.run import cycle
from orchestrator.model.status import WAITING
from orchestrator.model.units import plural
from orchestrator.queries.health.check import Check, note, problem
from orchestrator.queries.world import Known, request_of
from orchestrator.tools.routing import absent_tools
from orchestrator.tools.specs import load_tools

LOOKED_AT = 2000  # waiting files whose needs are read


def invalid(known: Known) -> list[Check]:
    wrong = known.invalid
    if not wrong:
        return []
    name, judged = next(iter(wrong.items()))
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    text = f"{plural(len(wrong), 'file')} in inbox/ cannot run as written: {name} {judged.told}"
    return [problem("invalid", text + more, "orchestrator validate")]


def waiting_needs(layout: Layout, names: scan.Names = scan.names) -> dict[str, tuple[str, ...]]:
    """What each waiting or held task needs, of the first `LOOKED_AT`."""
    needs = {}
    for status in WAITING:
        for task_id, name in scan.task_names(layout.folder(status), names)[:LOOKED_AT]:
            request = request_of(layout, status, name)
            if request is not None and request.task is not None and request.task.needs:
                needs[task_id] = request.task.needs
    return needs


def circle(known: Known) -> list[Check]:
    """Tasks that wait for each other for ever."""
    found = cycle(waiting_needs(known.layout, known.names))
    if not found:
        return []
    text = f"these tasks wait for each other: {' needs '.join(found)}"
    return [problem("needs", text, "remove one of them from needs:")]


def roles(layout: Layout) -> list[Check]:
    """Roles that name a tool that does not exist."""
    try:
        config = configuration.load_config(layout)
    except OrchestratorError:  # told by the check of the settings
        config = Config()
    tools = load_tools(layout).tools
    return [
        problem(
            "agents",
            f"agent {agent.name}: there is no tool '{one_line(tool, 60)}'",
            "orchestrator agents   lists them",
        )
        for agent in config.agents.values()
        for tool in absent_tools(agent, tools)
    ]


def gates(known: Known) -> list[Check]:
    """What is held, and budgets that keep tasks from starting."""
    day = known.spent_budgets.get(("", ""), ())
    found = [*day, *known.held.values()]
    return [note("held", one_line(gate.why), gate.hint) for gate in found]
