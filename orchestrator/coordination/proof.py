"""Proof before done: checks run in a task's tree, as attempts of their own under the same
supervision.

A check has its own record of start and end in the task's journal, so that a watcher that takes over
goes on with it and never runs one twice that has ended.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from orchestrator.coordination.endedattempts import end_record, reopened
from orchestrator.coordination.life import Checking, Ending, Stage
from orchestrator.coordination.sandboxing import Sandboxes
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.tasktrees import Claimed, TaskTrees, own_environment
from orchestrator.distributors.base import Distributor, ExecutionHandle, Order
from orchestrator.files.layout import ARTIFACTS, Layout
from orchestrator.files.text import last_lines
from orchestrator.model.attempt import AttemptEnd, end_from
from orchestrator.model.isolation import Check, CheckResult
from orchestrator.model.journal import AttemptFacts, Journal
from orchestrator.model.result import Reading
from orchestrator.model.status import Outcome
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store
from orchestrator.tools import secrecy
from orchestrator.tools.invocation import CannotStart, environment, program, secret_values

LINES = 30  # that an agent is told of a red check
FOLDER = "checks"


class Running(Claimed, Protocol):
    """A claimed task.  Its stage is who can be asked to stop its check; its ``secrets`` are what
    none of its texts may have."""

    stage: Stage
    secrets: tuple[str, ...]


class Proof:
    """Runs the checks of tasks."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        distributor: Distributor,
        tasktrees: TaskTrees,
        sandboxes: Sandboxes,
    ) -> None:
        self.layout, self.settings, self.store = layout, settings, store
        self.distributor, self.tasktrees, self.sandboxes = distributor, tasktrees, sandboxes

    async def proven(self, life: Running, entry: Entry, reading: Reading) -> tuple[Entry, Reading]:
        """The reading of an attempt that ended well, after its declared files and its checks were
        looked at.

        The entry comes back open and locked; it is another one if a check ran.
        """
        life.checks = ()
        if reading.outcome is not Outcome.SUCCEEDED:
            return entry, reading
        missing = [
            path
            for path in life.task.artifacts
            if not os.path.lexists(self.tasktrees.file(life, path))
        ]
        results: list[CheckResult] = []
        for name in life.route.checks:
            check = self.settings.config.checks.get(name)
            if (
                check is None
            ):  # the settings have changed since it was routed: what cannot be proven is not proven
                results.append(CheckResult(name, False, cause="this check is no longer configured"))
                continue
            entry, result = await self._result(life, entry, check)
            results.append(result)
            # Also of one that a former watcher began: what must not have appeared goes now.
            told = await self.sandboxes.after(self.folder(life, name))
            told = tuple(f"the check {name}: {text}" for text in told)
            reading = replace(reading, warnings=(*reading.warnings, *told))
            if result.cause == "cancelled":
                reason = "cancelled while a check ran"
                return entry, replace(
                    reading, outcome=Outcome.CANCELLED, error_class="cancelled", reason=reason
                )
        life.checks = tuple(results)
        red = [f"the file {path} was not made" for path in missing]
        red += [result.told for result in results if not result.passed]
        if red:
            reading = replace(
                reading,
                outcome=Outcome.FAILED,
                error_class="verify",
                reason=f"not proven: {'; '.join(red)}",
            )
        return entry, reading

    async def _result(self, life: Running, entry: Entry, check: Check) -> tuple[Entry, CheckResult]:
        for facts in entry.journal.checks:
            ended = facts.ended
            same = facts.number == life.attempt and facts.started.get("check") == check.name
            if same and ended is not None and ended.get("record") != "lost":
                return entry, self._reading(life, check, end_from(ended))
        run_dir = self.folder(life, check.name)
        os.makedirs(f"{run_dir}/{ARTIFACTS}", exist_ok=True)
        if life.tree is not None and not life.tree.is_there:  # it would run in what a link leads to
            return entry, CheckResult(check.name, False, cause="its tree is gone")
        order = self._order(life, check, run_dir)
        if order is None:
            return entry, CheckResult(
                check.name, False, cause=f"there is no program '{check.command[0]}'"
            )
        try:
            order = await self.sandboxes.around(life, order, drops=False)
        except CannotStart as error:
            return entry, CheckResult(check.name, False, cause=error.message)
        order = replace(order, journal=entry.detach())
        handle = self.distributor.dispatch(order, lambda _: None)
        end = await self._checked(life, handle, check.name)
        entry = await reopened(self.store, life.id, life.records)
        self._complete(entry, life.attempt, end)
        return entry, self._reading(life, check, end)

    async def resume(self, life: Running, entry: Entry) -> Entry:
        """Wait for the check that a former watcher left running."""
        facts = entry.journal.checks[-1]
        handle = self.distributor.adopt(facts, entry.path)
        if self.store.cancel_request(life.id) is not None:
            handle.cancel()
        end = await self._checked(life, handle, str(facts.started.get("check", "")))
        self._complete(entry, facts.number, end)
        return entry

    async def _checked(self, life: Running, handle: ExecutionHandle, name: str) -> AttemptEnd:
        """Wait for a check, which can be cancelled meanwhile."""
        life.stage = Checking(handle, name)
        end = await handle.wait()
        life.stage = Ending()
        return end

    def _complete(self, entry: Entry, number: int, end: AttemptEnd) -> None:
        """Have the check's end in the journal, if its supervisor could not write it."""
        checks = entry.journal.checks
        if checks and checks[-1].ended is None:
            entry.append(end_record(number, end, self.store.clock.wall()), sync=True)

    def folder(self, life: Claimed, name: str) -> str:
        """Where a check of the newest attempt prints to."""
        return f"{self.layout.logs(life.id, life.attempt)}/{FOLDER}/{name}"

    def _order(self, life: Running, check: Check, run_dir: str) -> Order | None:
        config, tag = self.settings.config, secrets.token_hex(8)
        cwd = self.tasktrees.folder(life)
        own = own_environment(self.layout, life, run_dir, tag)
        env = environment(life.route, life.task, config, own, {"project": cwd, "run_dir": run_dir})
        path = program(check.command[0], env, cwd)
        if path is None:
            return None
        return Order(
            task_id=life.id,
            attempt=life.attempt,
            program=path,
            argv=check.command,
            env=env,
            cwd=cwd,
            run_dir=run_dir,
            stdin=None,
            tag=tag,
            journal=-1,
            cancel=self.layout.cancel_request(life.id),
            timeout=check.timeout,
            interrupt_grace=config.interrupt_grace,
            terminate_grace=config.terminate_grace,
            log_limit=config.log_limit,
            on_log_limit=config.on_log_limit,
            secrets=_hidden(secret_values(env, config.redact), life),
            facts={"check": check.name},
        )

    def _reading(self, life: Claimed, check: Check, end: AttemptEnd) -> CheckResult:
        folder = self.folder(life, check.name)
        lines = [
            *last_lines(f"{folder}/stdout.log", LINES),
            *last_lines(f"{folder}/stderr.log", LINES),
        ]
        cause = {"timeout": f"took longer than {check.timeout:g} s"}.get(end.cause, end.cause)
        passed = not end.cause and end.code == 0
        return CheckResult(
            check.name, passed, end.code, end.duration_ms / 1000, cause, tuple(lines[-LINES:])
        )

    def words(self, task_id: str, journal: Journal) -> str:
        """What an agent is told of the attempt before, that was not proven; empty if that was not
        so."""
        before = journal.attempt
        if before is None or before.read.get("error_class") != "verify":
            return ""
        text = f"Your work is not accepted yet: {before.read.get('reason', '')}.\n"
        for facts in journal.checks:
            ended = facts.ended or {}
            if facts.number != before.number or (ended.get("code") == 0 and not ended.get("cause")):
                continue
            name = str(facts.started.get("check", ""))
            folder = f"{self.layout.logs(task_id, before.number)}/{FOLDER}/{name}"
            lines = [
                *last_lines(f"{folder}/stdout.log", LINES),
                *last_lines(f"{folder}/stderr.log", LINES),
            ]
            text += f"\nThe check '{name}' printed last:\n" + "".join(
                f"    {line}\n" for line in lines[-LINES:]
            )
        return text + "\nFix this, and end when the checks would pass.\n"


def _hidden(given: Sequence[str], life: Running) -> tuple[str, ...]:
    """What a check may not print: secrets that it is given, and those of the attempt, which may
    have left them in a file. The longest first."""
    return tuple(sorted({*secrecy.forms(given), *life.secrets}, key=len, reverse=True))


def reds(attempts: Sequence[AttemptFacts]) -> int:
    """How many of these attempts ended well and were not proven."""
    return sum(facts.read.get("error_class") == "verify" for facts in attempts)
