"""What becomes of a task's work when an attempt has ended: saved, proven, and then to review,
merged, or done. The tree itself is made and saved by `coordination.tasktrees`, checks run in
`coordination.proof`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestrator.coordination import answering, merges, plans, questions
from orchestrator.coordination.proof import Proof, Running
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.tasktrees import Claimed, TaskTrees
from orchestrator.errors import OrchestratorError
from orchestrator.files.layout import Layout
from orchestrator.model.isolation import Change, Role, protected, reviewing, verdict
from orchestrator.model.policy import Finish, Retry
from orchestrator.model.question import headline
from orchestrator.model.result import Reading
from orchestrator.model.runbranch import conflict_turn, within_run
from orchestrator.model.status import Status
from orchestrator.store import conflictnotes, saving, trees
from orchestrator.store.ledger import Entry
from orchestrator.store.mergeplans import CannotMerge
from orchestrator.store.transitions import Store
from orchestrator.tools import secrecy
from orchestrator.tools.routing import Route


class TaskWork:
    """The steps between the end of an attempt and the folder that its task ends in."""

    def __init__(
        self, layout: Layout, settings: Settings, store: Store, tasktrees: TaskTrees, proof: Proof
    ) -> None:
        self.layout, self.settings, self.store = layout, settings, store
        self.tasktrees, self.proof = tasktrees, proof
        self._queues: dict[str, asyncio.Lock] = {}  # by target: who ended first is merged first

    async def judged(
        self, life: Running, entry: Entry, reading: Reading, run_dir: str
    ) -> tuple[Entry, Reading]:
        """The reading once the attempt's work is saved and, if it ended well, proven.

        The entry comes back open and locked.  OSError if the disk refuses; then it may be repeated.
        """
        try:
            change = await self.tasktrees.saved(life, entry, run_dir)
        except OrchestratorError as error:  # the tree stays as it is, and says so
            change = None
            life.change = None
            why = f"its work could not be saved and is in its tree: {error.message}"
            reading = replace(reading, warnings=(*reading.warnings, why))
        if self.tasktrees.drops(life):
            lost = await asyncio.to_thread(self.tasktrees.collect, life)
            reading = replace(reading, warnings=(*reading.warnings, *lost))
        if change is not None:
            reading = replace(reading, warnings=(*reading.warnings, *change.warnings))
        reading = await answering.checked(life, reading, run_dir)
        return await self.proof.proven(life, entry, reading)

    def again(self, route: Route, reading: Reading, red: int) -> bool:
        """Whether an attempt that was not proven is followed by another.

        ``red`` is how many before it were not either. A command that is run again would do the
        same.
        """
        speaks = route.tool.can_resume or route.edits or route.isolated
        return reading.error_class == "verify" and speaks and red < route.agent.role.verify_retries

    async def destination(
        self, life: Claimed, entry: Entry, step: Finish, reading: Reading, changed: Sequence[str]
    ) -> Finish | Retry:
        """Where a task goes that has ended well: done only if nobody is to look at it and nothing
        is to be merged.

        In a run the first conflict is a turn for its own session; the second waits for a person.
        An agent chooses names of files and branches: the reason has no secret that is in one.
        """
        found = await self._destination(life, entry, step, reading, changed)
        if isinstance(found, Retry):
            return replace(found, why=secrecy.mask(found.why, life.secrets))
        return replace(found, reason=secrecy.mask(found.reason, life.secrets))

    async def _destination(
        self, life: Claimed, entry: Entry, step: Finish, reading: Reading, changed: Sequence[str]
    ) -> Finish | Retry:
        if step.status is not Status.DONE:
            return step
        if life.tree is not None and life.change is None:
            return Finish(Status.REVIEW, "its work could not be saved; it is in its tree")
        asked = questions.asked(self.layout, life, reading)
        if asked:
            return Finish(Status.REVIEW, f"asks: {headline(asked)}")
        if life.planning:
            return plans.finish(reading, changed)
        role = reviewing(life.route.agent.role, self.settings.config.review, life.task.review)
        if merges.run_of(self.layout, entry.journal) is not None:
            role = within_run(role)
        found = verdict(role, life.change, changed)
        try:
            touched = await self._protected(role, life.change)
        except OrchestratorError as error:
            return Finish(Status.REVIEW, f"its files cannot be listed: {error.message}")
        also = f"; it changes files that prove it: {', '.join(touched[:5])}" if touched else ""
        if found.step == "review":
            return Finish(Status.REVIEW, found.reason + also)
        if found.step == "merge" and also:
            return Finish(Status.REVIEW, also[2:])
        if found.step == "merge":
            return await self._merged(life, entry, step)
        return step

    async def _protected(self, role: Role, change: Change | None) -> list[str]:
        """Files of a change that prove the work of its role."""
        if change is None or not role.protect:
            return []  # without a thread: most tasks have none
        repo = await asyncio.to_thread(trees.repository, self.layout)
        return protected(role.protect, await asyncio.to_thread(saving.paths, repo, change))

    async def _merged(self, life: Claimed, entry: Entry, step: Finish) -> Finish | Retry:
        """Done, once it is merged; what cannot be merged waits for a person, with the reason."""
        try:
            target = str(entry.journal.tree.get("target", ""))
            async with self._queues.setdefault(target, asyncio.Lock()):
                config = self.settings.config
                made = await asyncio.to_thread(merges.land, self.store, config, entry)
        except CannotMerge as error:
            if error.conflicts and self._may_resolve(entry):
                self._tell_conflict(life, entry, error)
                return Retry(0.0, why=error.message)
            if error.conflicts:
                files = secrecy.everywhere(error.conflicts, life.secrets)
                why = secrecy.mask(error.message, life.secrets)
                conflictnotes.write(self.layout, life.id, why, files)
            return Finish(Status.REVIEW, error.message)
        except OrchestratorError as error:
            return Finish(Status.REVIEW, error.message)
        return Finish(step.status, made)

    def _tell_conflict(self, life: Claimed, entry: Entry, error: CannotMerge) -> None:
        assert life.change is not None
        text = conflict_turn(life.change, life.change.target, error.message)
        if text.strip() not in entry.journal.told:  # we were cut off after it was said
            said = {"record": "told", "text": text, "conflict": True}
            entry.append({**said, "at": self.store.clock.wall()}, sync=True)

    def _may_resolve(self, entry: Entry) -> bool:
        """Whether its own session gets a turn at a conflict with what else is in its run."""
        return not entry.journal.collided and merges.run_of(self.layout, entry.journal) is not None

    def facts(self, life: Claimed, entry: Entry) -> dict[str, Any]:
        """What a result and an event tell of the work; nothing for a task without a tree and
        checks."""
        facts: dict[str, Any] = {}
        if life.change is not None:
            facts |= life.change.facts()
        if life.checks:
            facts["checks"] = [result.as_entry() for result in life.checks]
        if entry.journal.merged:
            facts["merged"] = entry.journal.merged
        return {key: value for key, value in facts.items() if value not in ("", None)}
