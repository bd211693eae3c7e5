"""What is written down when an attempt has ended: the next one, the way back into the inbox, or the
task's last folder. Which of them it is was decided by `coordination.nextsteps`.

Each of these can be cut off at any point: the events come first, the journal or the rename last,
and each can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.coordination import chaining, plans
from orchestrator.coordination.durable import Durable
from orchestrator.coordination.life import Between, Ended, Life
from orchestrator.coordination.news import About, Finished, Listener, Remark, Requeued, Retrying
from orchestrator.coordination.nextsteps import next_link
from orchestrator.coordination.results import Results
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.taskevents import TaskEvents
from orchestrator.coordination.taskwork import TaskWork
from orchestrator.files.layout import Layout
from orchestrator.model.gates import Gate
from orchestrator.model.journal import Phase
from orchestrator.model.policy import Finish, Retry
from orchestrator.model.result import Reading
from orchestrator.model.status import Status
from orchestrator.model.units import timestamp
from orchestrator.store import plans as storedplans
from orchestrator.store.eventlog import Event, NewFile
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store


class Finishing:
    """Puts down what was decided, and tells of it."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        store: Store,
        taskwork: TaskWork,
        events: TaskEvents,
        results: Results,
        durable: Durable,
        listener: Listener,
    ) -> None:
        self._layout, self._settings, self._store = layout, settings, store
        self._taskwork, self._events, self._results = taskwork, events, results
        self._durable, self._listener = durable, listener

    async def retry(self, life: Life, entry: Entry, reading: Reading, step: Retry) -> None:
        """Another attempt follows: events, then the journal."""
        ended = self._events.attempt_event(life, reading)
        read = self._events.kept(life, reading)
        link = entry.journal.link
        following = life.route
        if step.fall_back:
            link = next_link(life) or link
            following = life.chain[link]
        said = {"phase": "attempt", "status": "running"}
        words = _why_again(life, reading, step, following.tool.name)
        again = self._events.event(life, "task_retrying", life.attempt, summary=words, **said)
        # The events first: once the journal says that another attempt follows, nobody tells of this
        # one any more.
        await self._durable.commit([ended, again])
        now = self._store.clock.wall()
        await self._durable.done(
            lambda: entry.append(
                {
                    "record": "retry",
                    "attempt": life.attempt + 1,
                    "at": now,
                    "not_before": now + step.after,
                    "link": link,
                    "next": {
                        "agent": following.agent.name,
                        "tool": following.tool.name,
                        "model": following.model,
                        "on": str(following.place) if following.place.lane else "",
                    },
                    "read": read,
                    **({"renew": True} if step.renew else {}),
                },
                sync=True,
            )
        )
        entry.close()
        if step.fall_back:
            life.route = life.chain[link]
            life.lane = life.route.lane(life.task)
        life.stage = Between(self._store.clock.monotonic() + step.after)
        self._listener.hear(Retrying(life, step.after, reading, step.fall_back, step.renew))

    async def give_back(self, life: Life, entry: Entry, reading: Reading, by: str) -> None:
        """Into the inbox, as ``by`` asked: events, then the rename."""
        await self._durable.commit(
            [
                self._events.attempt_event(life, reading),
                self._events.event(
                    life, "task_requeued", life.attempt, phase="finish", status="inbox", summary=by
                ),
            ]
        )
        await self._durable.done(
            lambda: self._store.requeue(entry, by, {"read": self._events.kept(life, reading)})
        )
        life.stage = Ended(Status.INBOX)
        self._listener.hear(Requeued(life))

    async def finish(self, life: Life, entry: Entry, reading: Reading, step: Finish) -> None:
        """Result, event, rename: in this order, each of them repeatable."""
        changed = await self._results.changed(life)
        now = timestamp(self._store.clock.wall())
        made = await self._results.artifacts(life)
        document = self._results.document(life, entry, reading, step, now, made, changed)
        follows = chaining.follows(
            self._layout, self._settings.config, life, entry, reading, step, changed
        )
        document |= follows.told(document) | plans.told(self._layout, entry.journal, step)
        if follows.why:
            self._listener.hear(Remark(About.WARNED, life.id, follows.why))
        ended = self._events.attempt_event(life, reading)  # first: readers sort by time
        done = self._finished(life, entry, reading, step, document, made)
        await self._durable.commit([ended, done], lambda: self._new_files(life, document, step))
        oddities = await self._durable.done(
            lambda: self._store.settle(
                entry,
                step.status,
                {
                    "outcome": str(reading.outcome),
                    "read": self._events.kept(life, reading),
                    **plans.record(step),
                    **follows.record(),
                },
            )
        )
        life.stage = Ended(step.status, tuple(item.id for item in follows.made))
        for oddity in oddities or ():
            said = {"phase": "finish", "status": str(step.status), "summary": oddity}
            restored = self._events.event(life, "task_restored", life.attempt, **said)
            self._store.log.commit([restored])
            self._listener.hear(Remark(About.RESTORED, life.id, oddity))
        self._listener.hear(Finished(life, reading, step.status, step.reason or reading.reason))

    def _finished(
        self,
        life: Life,
        entry: Entry,
        reading: Reading,
        step: Finish,
        document: Mapping[str, Any],
        made: Sequence[Mapping[str, Any]],
    ) -> Event:
        return self._events.event(
            life,
            "task_finished",
            life.attempt,
            phase="finish",
            status=str(step.status),
            summary=step.reason or reading.reason or "succeeded",
            outcome=str(reading.outcome),
            exit_code=reading.exit_code,
            duration_ms=reading.duration_ms,
            artifacts=[item["path"] for item in made if not item.get("missing")],
            log_paths=self._events.log_paths(life),
            usage=document.get("usage", {}),
            cost_usd=document.get("cost_usd"),
            cost_source=document.get("cost_source", ""),
            model=document.get("model"),
            error_class=reading.error_class,
            **self._taskwork.facts(life, entry),
        )

    def _new_files(self, life: Life, document: Mapping[str, Any], step: Finish) -> list[NewFile]:
        """What becomes visible with the end: the result, and a plan before it."""
        files = [storedplans.stage(self._store, life.id, step.plan)] if step.plan else []
        return [*files, self._store.stage_result(life.id, document)]

    async def held_back(self, life: Life, entry: Entry, held: Gate) -> None:
        """It begins after the release. A task that has not run at all waits in the inbox again; its
        tree stays."""
        if entry.journal.phase is not Phase.CLAIMED:
            life.attempt = entry.journal.next_attempt - 1
            life.stage = Between(self._store.clock.monotonic())
            entry.close()
            return
        now = self._store.clock.wall()
        said = {"phase": "claim", "status": "inbox", "summary": f"not started: {held.why}"}
        step = f"{life.attempt}.{int(now * 1000)}"  # it may happen again before its first attempt
        event = self._store.log.event(
            "task_requeued", life.id, step, task_id=life.id, run_id=life.task.run, **said
        )
        await self._durable.commit([event])
        await self._durable.done(lambda: self._store.requeue(entry, held.why))
        life.stage = Ended(Status.INBOX)
        self._listener.hear(Requeued(life, held.why))


def _why_again(life: Life, reading: Reading, step: Retry, tool: str) -> str:
    """What the log is told of another attempt; ``tool`` is the one that acts in it."""
    if step.why:
        return f"attempt {life.attempt + 1}: {step.why}"
    if step.renew:
        return f"attempt {life.attempt + 1}: it has a reply"
    if step.fall_back:
        return f"falls back to {tool}: {reading.reason}"
    return f"attempt {life.attempt + 1} in {step.after:g} s: {reading.reason}"
