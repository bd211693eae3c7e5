"""What follows from the end of a task: decided when it ends, by what its file and its role say
then.

The texts of the tasks to be made are kept in the journal with the end, so that an approval weeks
later makes what was decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from orchestrator.files.layout import Layout
from orchestrator.model.chain import Ended, Made, planned
from orchestrator.model.config import Config
from orchestrator.model.isolation import Change
from orchestrator.model.policy import Finish
from orchestrator.model.result import Reading
from orchestrator.model.task import Task
from orchestrator.records import dataclass
from orchestrator.store.ledger import Entry
from orchestrator.store.yamltext import task_text
from orchestrator.tools.routing import Route


class Cause(Protocol):
    """What is asked here of a task that has ended."""

    id: str
    task: Task
    route: Route
    attempt: int
    change: Change | None


@dataclass(frozen=True, slots=True)
class Follows:
    """The tasks to be made, now or later; ``why`` there are none although some were asked for."""

    made: Sequence[Made] = ()
    why: str = ""
    times: int = 1

    def record(self) -> dict[str, Any]:
        """For the journal: the ends of tasks that nothing follows say nothing."""
        if not self.made:
            return {"times": self.times} if self.times > 1 else {}
        then = [
            {"id": item.id, "at": list(item.at), "text": task_text(item.data)} for item in self.made
        ]
        return {"times": self.times, "then": then}

    def told(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """For the result."""
        told: dict[str, Any] = {}
        if self.made:
            told["follow_ups"] = [{"task": item.id, "on": item.on} for item in self.made]
        if self.why:
            told["warnings"] = [*document.get("warnings", ()), self.why]
        return told


def follows(
    layout: Layout,
    config: Config,
    life: Cause,
    entry: Entry,
    reading: Reading,
    step: Finish,
    changed: Sequence[str],
) -> Follows:
    """What the end of this task leads to."""
    task, agent = life.task, life.route.agent
    listed = [*task.then, *agent.then]
    times = entry.journal.times + 1
    if not listed:
        return Follows(times=times if entry.journal.times else 1)
    change = life.change
    ended = Ended(
        step.status,
        reading.outcome,
        task.title,
        agent.name,
        layout.shown(layout.result(life.id)),
        layout.shown(layout.logs(life.id, life.attempt)) + "/",
        change.branch if change else "",
        change.base if change else "",
        change.tip if change and not entry.journal.merged else "",
        reading.data,
        bool(changed),
        agent.role.merge != "never",
        times,
    )
    asked = {
        "chain": task.chain,
        "depth": task.depth,
        "run": task.run,
        "priority": task.priority if task.priority != "normal" else None,
        "prompt": task.prompt,
        "prompt_file": task.prompt_file,
    }
    made, why = planned(life.id, asked, listed, ended, config.depth)
    return Follows(made, why, times)
