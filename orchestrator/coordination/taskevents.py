"""The events of a claimed task: one shape for every fact of its life. What the watcher itself does
is told by `coordination.notes`, what a person sees of it by `coordination.news`."""

from __future__ import annotations

from typing import Any

from orchestrator.coordination.life import Life
from orchestrator.coordination.settings import Settings
from orchestrator.files.layout import Layout
from orchestrator.model.result import (
    Reading,
    kept,
)
from orchestrator.store.eventlog import Event
from orchestrator.store.transitions import Store
from orchestrator.tools.invocation import by_hand


class TaskEvents:
    """Events of claimed tasks, and what the journal keeps of an attempt."""

    def __init__(self, layout: Layout, settings: Settings, store: Store) -> None:
        self.layout, self.settings, self.store = layout, settings, store

    def event(self, life: Life, kind: str, attempt: int, **fields: Any) -> Event:
        return self.store.log.event(
            kind,
            life.id,
            attempt,
            task_id=life.id,
            run_id=life.task.run,
            attempt=attempt,
            agent=life.route.agent.name,
            tool=life.route.tool.name,
            model=fields.pop("model", None) or life.route.model,
            mode=life.route.mode,
            **fields,
        )

    def started(self, life: Life, attempt: int, summary: str, **fields: Any) -> Event:
        """The supervisor has started the tool; ``summary`` names its program, or where it runs."""
        at = {"phase": "attempt", "status": "running", "summary": summary, **fields}
        return self.event(life, "attempt_started", attempt, **at)

    def attempt_event(self, life: Life, reading: Reading) -> Event:
        return self.event(
            life,
            "attempt_finished",
            life.attempt,
            phase="attempt",
            status="running",
            summary=reading.reason or str(reading.outcome),
            outcome=str(reading.outcome),
            exit_code=reading.exit_code,
            duration_ms=reading.duration_ms,
            log_paths=self.log_paths(life),
            usage=dict(reading.usage),
            cost_usd=reading.cost_usd,
            cost_source=reading.cost_source,
            session=reading.session,
            resumed=reading.resumed,
            error_class=reading.error_class,
            model=life.route.model or reading.model,
        )

    def kept(self, life: Life, reading: Reading) -> dict[str, Any]:
        """What the journal remembers of a reading, and how a person goes on in its session: the
        result, which is meant for git, is not believed about that."""
        facts = kept(reading, life.route.agent.name, life.route.tool.name, life.route.model)
        resume = by_hand(life.route, reading.session)
        return {**facts, "resume": resume} if resume else facts

    def log_paths(self, life: Life) -> list[str]:
        folder = self.layout.shown(self.layout.logs(life.id, life.attempt))
        return [f"{folder}/stdout.log", f"{folder}/stderr.log"]

    def prompt_if_wanted(self, life: Life) -> dict[str, str]:
        return {"prompt": life.task.prompt} if self.settings.config.prompts_in_events else {}
