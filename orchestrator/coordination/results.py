"""The result of a task: what `results/<id>.yaml` says when it has ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.coordination import artifacts, questions
from orchestrator.coordination.endedattempts import brief
from orchestrator.coordination.life import Life
from orchestrator.coordination.readings import BEFORE
from orchestrator.coordination.taskevents import TaskEvents
from orchestrator.coordination.tasktrees import TaskTrees
from orchestrator.coordination.taskwork import TaskWork
from orchestrator.files.layout import ARTIFACTS, Layout
from orchestrator.model.policy import Finish
from orchestrator.model.result import (
    Reading,
    attempt_entry,
    result,
    total_cost,
    total_usage,
)
from orchestrator.model.units import timestamp
from orchestrator.store.ledger import Entry
from orchestrator.tools import changes, secrecy
from orchestrator.tools.invocation import (
    by_hand,
)


class Results:
    """Composes result documents from the journal, the tree and what the attempt left."""

    def __init__(
        self, layout: Layout, tasktrees: TaskTrees, taskwork: TaskWork, events: TaskEvents
    ) -> None:
        self.layout, self.tasktrees, self.taskwork, self.events = (
            layout,
            tasktrees,
            taskwork,
            events,
        )

    async def changed(self, life: Life) -> list[str]:
        """The files that its attempts changed; secrets that an agent has put into a name are
        masked, here and below."""
        changed: list[str] = secrecy.everywhere(await self._changed(life), life.secrets)
        return changed

    async def _changed(self, life: Life) -> list[str]:
        if life.change is not None:
            return list(life.change.files)
        logs = [self.layout.logs(life.id, number) for number in range(1, life.attempt + 1)]
        looks = [f"{log}/{BEFORE}" for log in logs]
        if not any(map(os.path.lexists, looks)):
            return []
        return await asyncio.to_thread(changes.since, self.layout.root, self.layout.work, looks)

    def document(
        self,
        life: Life,
        entry: Entry,
        reading: Reading,
        step: Finish,
        now: str,
        made: Sequence[Mapping[str, Any]],
        changed: list[str],
    ) -> dict[str, Any]:
        attempts, readings = [], []
        for facts in entry.journal.attempts:
            newest = facts.number == life.attempt
            its = reading if newest else brief(facts)
            who = self.events.kept(life, reading) if newest else facts.read
            readings.append(its)
            attempts.append(
                attempt_entry(
                    facts.number,
                    timestamp(facts.started["at"]) if "at" in facts.started else "",
                    timestamp(facts.ended["at"]) if facts.ended else now,
                    its,
                    **{name: who.get(name) for name in ("agent", "tool", "model")},
                )
            )
        cost, source = total_cost(readings)
        claim = {
            **entry.journal.claim,
            "agent": life.route.agent.name,
            "tool": life.route.tool.name,
            "model": life.route.model or reading.model,
            "why": life.route.why,
        }
        folder = self.layout.logs(life.id, life.attempt)
        return result(
            life.id,
            str(reading.outcome),
            claim,
            attempts,
            reading,
            reason=step.reason,
            resume=by_hand(life.route, reading.session),
            files_changed=changed,
            question=questions.asked(self.layout, life, reading),
            usage=total_usage(item.usage for item in readings),
            cost_usd=cost,
            cost_source=source,
            finished_at=now,
            artifacts=list(made),
            notes=list(life.task.notes),
            log=self.layout.shown(folder) + "/" if os.path.isdir(folder) else "",
            **self.taskwork.facts(life, entry),
        )

    async def artifacts(self, life: Life) -> list[dict[str, Any]]:
        """Declared files, present or missing, and what the attempt left in
        $ORCHESTRATOR_ARTIFACTS."""
        folder = f"{self.layout.logs(life.id, life.attempt)}/{ARTIFACTS}"
        declared = {path: self.tasktrees.file(life, path) for path in life.task.artifacts}
        if not declared and artifacts.none(folder):
            return []
        found = await asyncio.to_thread(artifacts.collect, self.layout, declared.values(), folder)
        for item, path in zip(found, declared, strict=False):  # as the task names them
            item["path"] = path
        made: list[dict[str, Any]] = secrecy.everywhere(found, life.secrets)
        return made
