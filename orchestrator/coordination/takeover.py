"""What is taken up that this watcher did not begin: what another one left, what a crash or the disk
broke off, what git brought.

It is the same after a start and after a disk that refused for a while: the ledger says what is
unfinished.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.coordination.endedattempts import retry_due
from orchestrator.coordination.health import Health
from orchestrator.coordination.life import Between, Ending, Life
from orchestrator.coordination.news import About, Listener, Remark
from orchestrator.coordination.resuming import Resuming
from orchestrator.errors import OrchestratorError
from orchestrator.model import ids
from orchestrator.store import following, recovery, runs
from orchestrator.store.recovery import Step, Unfinished
from orchestrator.store.transitions import Store

FOREIGN = "it was in running/ but never claimed on this machine; approve, reject or retry it"


class Takeover:
    """Finds what is unfinished, beside the tasks that are ``running`` here."""

    def __init__(
        self,
        store: Store,
        resuming: Resuming,
        running: Mapping[str, Life],
        health: Health,
        listener: Listener,
    ) -> None:
        self.store, self.resuming, self.running = store, resuming, running
        self.health, self.listener = health, listener
        self._blocked: set[str] = set()  # journals that are not understood, told once

    def tidy(self) -> None:
        """Once, at the start: clear away what watchers that were killed have left half written."""
        for text in (*recovery.tidy(self.store), *recovery.take_up(self.store)):
            self.listener.hear(Remark(About.TIDIED, "", text))

    def complete_runs(self) -> None:
        """Place what a crash, or a disk that refused, left half placed."""
        try:
            for run_id in runs.complete(self.store):
                self.listener.hear(Remark(About.TIDIED, run_id, f"completed run {run_id}"))
            following.complete(self.store)
        except (OSError, OrchestratorError) as error:
            self.health.failed(error)

    def strays(self, first: bool) -> Iterator[tuple[Life, Unfinished]]:
        """Every unfinished task that is not ours yet, to be taken up. At the ``first`` look even
        what somebody works on."""
        mine = frozenset(ids.key(task_id) for task_id in self.running)
        for found in recovery.unfinished(self.store, mine):
            if found.step is Step.ADOPT and not first:
                found.entry.close()  # `orchestrator run` is at it
                continue
            life = self.resuming.life_of(found.entry)
            if found.step is Step.RETRY:
                life.stage = Between(retry_due(found.entry.journal.last, self.store.clock))
                found.entry.close()
            elif found.step is Step.FINISH:
                life.stage = Ending()
            yield life, found

    def foreign(self) -> None:
        """Tell of journals that are not understood, and have people decide what git brought into
        running/."""
        for text in recovery.newly_blocked(self.store, self._blocked):
            self.listener.hear(Remark(About.TIDIED, "", text))
        for task_id in recovery.foreign(self.store):
            if task_id in self.running:
                continue
            said = {"task_id": task_id, "phase": "claim", "status": "review", "summary": FOREIGN}
            self.store.log.note(self.store.log.event("task_foreign", task_id, 0, **said))
            self.listener.hear(Remark(About.FOREIGN, task_id, FOREIGN))
