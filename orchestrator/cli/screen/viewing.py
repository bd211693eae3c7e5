"""What the footer shows, composed of what the watcher knows and what the files say.

It reads logs: nobody asks for it in the loop, nor while a key is drawn.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

from orchestrator.cli.screen.console import Console
from orchestrator.cli.screen.footer import Doing, Row, View
from orchestrator.cli.screen.panefiles import PaneFiles
from orchestrator.coordination.life import Checking, Ending, Life
from orchestrator.coordination.settings import Settings
from orchestrator.coordination.watch import Watcher
from orchestrator.files import quotas
from orchestrator.files.layout import Layout
from orchestrator.files.results import status_of
from orchestrator.files.text import one_line
from orchestrator.model import hold
from orchestrator.model.question import headline
from orchestrator.model.status import Status
from orchestrator.model.units import show_wait

MUCH = 0.5  # of a window: from here on the footer tells
WAITING_MOST = 200  # waiting tasks that can be selected
RUN_MOST = 200  # members of a run whose progress is looked at
RUN_AGAIN = 2.0  # seconds between looks at it


class Viewing:
    """Looks at one watcher, which it never changes."""

    def __init__(
        self,
        console: Console,
        layout: Layout,
        settings: Settings,
        files: PaneFiles,
        watcher: Watcher,
    ) -> None:
        self._console, self._layout, self._settings = console, layout, settings
        self._files, self._rooms = files, watcher.rooms
        self._began = time.monotonic()
        self._runs: dict[str, tuple[float, str]] = {}  # by id: when it was looked at, what was seen

    def look(self) -> View:
        """What is so now."""
        now, seen, rooms = time.monotonic(), self._files.seen, self._rooms
        rooms.today.turn()
        lives = sorted(
            rooms.running.values(),
            key=lambda life: (life.retry_at is not None, life.began or now),
        )
        return View(
            [self._doing(life, now) for life in lives],
            self._settings.config.limits.running,
            self._counts(),
            self._notes(),
            rooms.today.cost,
            self._settings.config.budgets.day.hard,
            rooms.today.tokens,
            now - self._began,
            rooms.health.fault,
            rooms.signals.draining,
            rooms.signals.interrupted,
            needs=seen.needs,
            waiting=[*self._waiting(), *seen.held],
            ended=seen.ended,
            now=time.time(),
            all_held=hold.ALL in rooms.holds.gates,
        )

    def _counts(self) -> tuple[tuple[str, int], ...]:
        waiting, seen = self._rooms.waitlist, self._files.seen
        listed = sum(
            name not in waiting.tasks.waiting for name in list(waiting.todo)
        )  # after a change of the settings some are in both
        return (
            ("waiting", len(waiting.tasks.waiting) + listed + len(waiting.later.open)),
            *(seen.counts or [("done", self._rooms.tally["done"])]),
            ("invalid", len(waiting.complaints.invalid)),
            ("editing", len(waiting.later.open)),
        )

    def _notes(self) -> list[str]:
        """What is held, whose plan is used up, and what else is not as it should be."""
        wall = self._rooms.clock.wall()
        notes = [
            f"{hold.words(scope)} held"
            + (f" until {self._console.clock(gate.until)}" if gate.until else "")
            for scope, gate in list(self._rooms.holds.gates.items())
        ]
        notes += [
            f"{tool} {window.words(wall)}"
            for tool, windows in quotas.read(self._layout, wall).items()
            for window in windows
            if window.used >= MUCH
        ]
        if self._settings.problem:
            notes.append("settings held" if self._settings.held else "settings wrong")
        if self._rooms.hints.silent:
            notes.append("no notifications")
        return notes

    def _waiting(self) -> list[Row]:
        """Tasks that wait, and the first thing that each waits for."""
        rows = []
        every = list(self._rooms.waitlist.tasks.waiting.values())
        for waiting in itertools.islice(every, WAITING_MOST):
            why = waiting.gates[0].why if waiting.gates else "a free slot"
            rows.append(Row(waiting.id, "waiting", "waiting", one_line(why, 200)))
        return rows

    def _doing(self, life: Life, now: float) -> Doing:
        progress, retry_at = life.progress, life.retry_at
        common: dict[str, Any] = {
            "id": life.id,
            "agent": life.route.agent.name,
            "run": self._run_so_far(life, now),
            "model": life.route.model or "",
            "attempt": life.attempt,
            "title": life.task.title or "",
            "branch": life.tree.branch if life.tree is not None else "",
            "interactive": life.route.mode == "interactive",
        }
        if retry_at is not None:
            return Doing(
                **common,
                sign="retrying",
                line=f"attempt {life.attempt + 1} {show_wait(max(0.0, retry_at - now))}",
            )
        asked = self._rooms.asking.open.get(life.id)
        if progress is not None and not asked:
            progress.look()
        if asked:
            line = f"asks you: {headline(asked[0].question)}"
        elif life.route.mode == "interactive":
            line = f"orchestrator attach {life.id}"
        elif progress is not None:
            line = f"{life.where}: {progress.line}" if life.where else progress.line
        elif isinstance(life.stage, Checking):
            line = f"check {life.stage.name}"
        elif isinstance(life.stage, Ending):
            line = "finishing"
        else:
            line = life.where or "starting"
        return Doing(
            **common,
            lent=bool(asked) and not life.in_slot,
            seconds=max(0.0, now - life.began) if life.began else 0.0,
            limit=life.route.timeout,
            line=line,
            cost_usd=life.cost + (progress.cost or 0.0 if progress else 0.0),
            tokens=(
                sum(progress.usage.get(kind, 0) for kind in ("input", "output")) if progress else 0
            ),
        )

    def _run_so_far(self, life: Life, now: float) -> str:
        """``release-0.2 2/4``: looked at every other second, and only while a task of the run is on
        the screen."""
        run_id = life.task.run or ""
        run = self._rooms.groups.get(run_id) if run_id else None
        if run is None or len(run.members) > RUN_MOST:
            return run_id
        seen = self._runs.get(run_id)
        if seen is None or now - seen[0] > RUN_AGAIN:
            done = sum(status_of(self._layout, member) is Status.DONE for member in run.members)
            seen = self._runs[run_id] = (now, f"{run_id} {done}/{len(run.members)}")
        return seen[1]
