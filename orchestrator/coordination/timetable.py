"""Making what schedules ask for, when its time has come.

The id of what is made is the due time: a second watcher, or a crash before the progress was written
down, meets a taken id. Progress is what was due and is settled; it only spares work and tells
missed times from new ones.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace

from orchestrator.clock import Clock
from orchestrator.errors import Taken
from orchestrator.files import scan
from orchestrator.files.layout import Layout
from orchestrator.files.schedulestate import State, state_of
from orchestrator.model.schedule import Schedule, turn
from orchestrator.model.status import OPEN
from orchestrator.store import atomic, smallfiles
from orchestrator.store.transitions import Store
from orchestrator.store.yamltext import task_text

AHEAD = 120.0  # seconds that progress may lie ahead of the clock before the clock was set back


class Timetable:
    """The schedules of one work directory."""

    def __init__(self, layout: Layout, store: Store, clock: Clock) -> None:
        self.layout, self.store, self.clock = layout, store, clock
        self._due: dict[str, float] = {}  # when (wall clock) each is to be looked at again
        self._known: Mapping[str, Schedule] | None = None
        self._seen = 0.0

    def look(self, schedules: Mapping[str, Schedule]) -> list[str]:
        """Make what is due; the names of the files that were placed in the inbox. OSError and
        `StoreFault` if the disk refuses."""
        now = self.clock.wall()
        if now < self._seen or self._known is not schedules:
            self._due = {}
            self._forget(schedules)
            self._known = schedules
        self._seen = now
        made = []
        for schedule in schedules.values():
            if self._due.get(schedule.name, now) <= now:
                made += self._turn(schedule, now)
        return made

    def seconds_left(self, schedules: Mapping[str, Schedule]) -> list[float]:
        """In how many seconds the next moment comes; nothing if there is none."""
        now = self.clock.wall()
        return [max(0.0, self._due.get(name, now) - now) for name in schedules]

    def _turn(self, schedule: Schedule, now: float) -> list[str]:
        state = state_of(self.layout, schedule.name)
        if state is None:
            state = State(now, now)
            self._remember(schedule.name, state)
        if state.after > now + AHEAD:  # the clock was set back: what is made already has its ids
            state = replace(state, after=now, first=min(state.first, now))
            self._remember(schedule.name, state)
        due = schedule.due(state.after, now, state.first)
        wanted = turn(schedule, due, now, self._busy(schedule) if due else "")
        for moment, why in wanted.leave:
            self._skipped(schedule, moment, why)
            state = replace(state, left=why)
        made = []
        for moment in wanted.make:
            task_id = schedule.id_at(moment)
            made += make(self.store, schedule, task_id)
            state = replace(state, made=task_id, left="")
        if due:
            self._remember(schedule.name, replace(state, after=due[-1]))
        following = schedule.next(now, state.first)
        self._due[schedule.name] = following if following is not None else now + 86400.0
        return made

    def _busy(self, schedule: Schedule) -> str:
        for status in OPEN:
            for task_id, _ in scan.task_names(self.layout.folder(status)):
                if schedule.made(task_id):
                    return task_id
        return ""

    def _skipped(self, schedule: Schedule, moment: float, why: str) -> None:
        task_id = schedule.id_at(moment)
        event = self.store.log.event(
            "schedule_skipped",
            task_id,
            0,
            task_id=task_id,
            phase="submit",
            summary=why,
            schedule=schedule.name,
        )
        self.store.log.commit_and_wait([event])

    def _remember(self, name: str, state: State) -> None:
        path = self.layout.schedule_state(name)
        smallfiles.replace(self.layout, path, asdict(state), "schedule")

    def _forget(self, schedules: Mapping[str, Schedule]) -> None:
        """One that is held, or removed, has not missed anything when it comes back."""
        for name in scan.names(os.path.dirname(self.layout.schedule_state("x"))):
            if name.removesuffix(".json") not in schedules:
                atomic.remove(f"{os.path.dirname(self.layout.schedule_state('x'))}/{name}")


def make(store: Store, schedule: Schedule, task_id: str) -> list[str]:
    """Place what a schedule makes, under this id; the name of its file, or nothing if it was made
    before."""
    modeline = "run" if "tasks" in schedule.body else "task"
    try:
        store.submit(
            task_id,
            task_text(schedule.body, modeline),
            summary=f"by schedule {schedule.name}",
            schedule=schedule.name,
        )
    except Taken:
        return []
    return [f"{task_id}.yaml"]
