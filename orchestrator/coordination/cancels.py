"""Requests to stop a claimed task, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from orchestrator.coordination.life import (
    Acting,
    Between,
    Checking,
    Departed,
    Ended,
    Ending,
    Life,
    Moving,
    Starting,
)
from orchestrator.coordination.news import Cancelling, Listener
from orchestrator.coordination.notes import Notes
from orchestrator.coordination.runningtasks import RunningTasks
from orchestrator.coordination.waitlist import Waitlist
from orchestrator.files import scan
from orchestrator.files.layout import Layout
from orchestrator.model.attempt import end_from
from orchestrator.store.transitions import Store


class Cancels:
    """Finds the requests that lie in folders, is told the others (`request`), and ends the attempts
    they mean."""

    def __init__(
        self,
        layout: Layout,
        store: Store,
        running: Mapping[str, Life],
        waitlist: Waitlist,
        runningtasks: RunningTasks,
        notes: Notes,
        listener: Listener,
    ) -> None:
        self.layout, self.store, self.running = layout, store, running
        self.waitlist, self.runningtasks = waitlist, runningtasks
        self.notes, self.listener = notes, listener

    def look(self) -> None:
        """Files named ``running/<id>.cancel``, and requests that verbs left in the state folder."""
        for word in scan.cancel_requests(self.layout):
            if word in self.running:
                self.request(self.running[word], "a file in running/")
        if scan.names(f"{self.layout.state}/cancel"):
            for life in list(self.running.values()):
                if self.store.cancel_request(life.id) is not None:
                    self._carry_out(life)

    def request(self, life: Life, by: str) -> None:
        """Have it stopped; ``by`` says who wants that."""
        fresh = self.store.request_cancel(life.id, by)
        self._carry_out(life)
        if fresh:
            said = {"task_id": life.id, "phase": "request", "status": "running", "summary": by}
            self.notes.write("task_cancel_requested", life.id, life.attempt, **said)
            self.listener.hear(Cancelling(life, by))

    def _carry_out(self, life: Life) -> None:
        match life.stage:
            case Between():
                self._between(life)
            case Acting(handle=handle) | Checking(handle=handle):
                handle.cancel()
            case Moving() | Starting() | Ending() | Ended() | Departed():
                pass  # whoever brings it on looks for the request
            case _:
                assert_never(life.stage)

    def _between(self, life: Life) -> None:
        """No other attempt follows the last one."""
        self.waitlist.tasks.ready.remove(life.id)
        entry = self.store.ledger.open(life.id)
        if entry is None:
            return
        facts = entry.journal.attempt
        entry.lock()
        if facts is not None and facts.ended is not None:
            self.runningtasks.end(life, entry, end_from(facts.ended))
