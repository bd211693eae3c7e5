"""The page's documents, and the files beside it that keep it current."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import click

from orchestrator.cli.screen.report_page import embedded, figures, page
from orchestrator.files.layout import Layout
from orchestrator.model.status import FINISHED
from orchestrator.model.units import show_duration, timestamp
from orchestrator.projection.index import open_index
from orchestrator.queries import live, overview, stories, tasks
from orchestrator.queries.overview import Overview
from orchestrator.queries.rows import Row
from orchestrator.queries.usage import BY, Group, Index, costs, ended, report
from orchestrator.queries.world import Known
from orchestrator.records import dataclass

EVERY = 2.0  # seconds between two looks
PAST_EVERY = 10.0  # seconds at least between two writings of what is over
SHOWN = 50  # rows of each folder
FRESH = 500  # rows of tasks that have ended, before all of them are written again
PERIODS = {"today": 0.0, "7d": 7 * 86400.0, "30d": 30 * 86400.0}
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the work directory: every part of the page goes by the same facts."""

    now: float
    known: Known
    view: Overview
    ended: list[Row]  # what ended last, however

    @property
    def opened(self) -> list[str]:
        """The tasks whose stories can be opened."""
        return list(dict.fromkeys([*stories.opened(self.view), *(row.id for row in self.ended)]))


def look_at(layout: Layout, now: float) -> Look:
    """The work directory at ``now`` (seconds since the epoch)."""
    known = Known(layout, now)
    view = overview.of(layout, now, SHOWN, known)
    return Look(now, known, view, tasks.recent(layout, SHOWN, FINISHED, known.ends))


def documents(layout: Layout, now: float, since: float) -> list[Document]:
    """What the page shows, all of it: the tasks that can be opened, what is over, and the state
    now."""
    look = look_at(layout, now)
    told = {task_id: stories.told(layout, task_id, now) for task_id in look.opened}
    tasks = {task_id: story for task_id, story in told.items() if story is not None}
    state = now_of(layout, look)
    tasks |= {run["id"]: stories.told_of_run(layout, run) for run in state["runs"]}
    return [
        {"kind": "tasks", "stamp": "", "tasks": tasks},
        past(layout, open_index(layout), now, since),
        state,
    ]


def now_of(layout: Layout, look: Look) -> dict[str, Any]:
    """The state now."""
    status = look.view.as_json()
    status["ended"] = [row.as_json() for row in look.ended]
    return {
        "kind": "live",
        "name": os.path.basename(layout.root),
        "at": round(look.now, 1),
        "every": EVERY,
        "status": status,
        "runs": live.runs(layout, look.now),
        "limits": live.limits(look.known),
    }


def past(layout: Layout, index: Index, now: float, since: float) -> dict[str, Any]:
    """What is over: the figures of each period that lies within ``since`` seconds, the list of
    tasks, the last day's attempts, how much of the plans was used."""
    today = now % 86400.0
    spans = {name: length or today for name, length in PERIODS.items() if length < since}
    spans[show_duration(since)] = since
    end = timestamp(now + 86400)
    return {
        "kind": "past",
        "periods": {
            name: _period(index, name, now - length, now) for name, length in spans.items()
        },
        "rows": [task.as_json() for task in ended(index, timestamp(now - since), end)],
        "attempts": live.timeline(index, now),
        "dropped": live.submitted(index, now),
        "curve": live.curve(index, now),
        "quotas": live.plans(layout, now),
    }


def _period(index: Index, name: str, start: float, now: float) -> dict[str, str]:
    since, until = timestamp(start), timestamp(now + 86400)
    total = (report(index, "", since, until) or [Group("")])[0]
    groups = {by: report(index, by, since, until) for by in BY}
    words = "Today (UTC)" if name == "today" else f"The last {name}"
    listed = ended(index, since, until)
    html = figures(words, total, groups, listed, costs(index, since, until))
    return {"since": since, "html": html}


class LivePage:
    """Keeps ``PATH`` current until it is stopped: four scripts beside it, of which only what has
    changed is written again.

    The list of what has ended may be long: it is in a script of its own, and only what is new
    since that was written is in the script that changes with every task.
    """

    def __init__(self, layout: Layout, path: str, since: float) -> None:
        self._layout, self._path, self._since = layout, path, since
        self._base = os.path.splitext(path)[0]
        self._stamps = {"rows": "", "past": "", "tasks": ""}
        self._listed: dict[str, Document] = {}  # of the list in its script: the rows, by task
        self._read: tuple[Any, ...] = ()
        self._past_at = 0.0
        self._stories: dict[str, tuple[tuple[Any, ...], Document]] = {}

    def begin(self) -> None:
        """Write the page itself."""
        name = os.path.basename(self._layout.root)
        _write(self._path, page(name, [], os.path.basename(self._base)))

    def look(self, now: float, stopped: bool = False) -> None:
        """Write what has changed since the last look, and the state now."""
        look = look_at(self._layout, now)
        document = now_of(self._layout, look)
        self._tell_tasks(look, document["runs"])
        self._tell_past(now, stopped)
        self._tell("data", {**document, "stamps": self._stamps, "stopped": stopped})

    def _tell_tasks(self, look: Look, runs: list[Document]) -> None:
        now, running = look.now, {row.id for row in look.view.running}
        before, self._stories = self._stories, {}
        changed = False
        for task_id in look.opened:
            state = stories.state(self._layout, task_id)
            known = before.get(task_id)
            if known is None or known[0] != state or task_id in running:
                story = stories.told(self._layout, task_id, now)
                if story is None:
                    continue
                changed = changed or known is None or known[1] != story
                known = (state, story)
            self._stories[task_id] = known
        for run in runs:
            known = before.get(run["id"])
            if known is None or known[0] != (run,):
                known, changed = ((run,), stories.told_of_run(self._layout, run)), True
            self._stories[run["id"]] = known
        if changed or before.keys() != self._stories.keys() or not self._stamps["tasks"]:
            self._stamps["tasks"] = str(now)
            tasks = {task_id: story for task_id, (_, story) in self._stories.items()}
            self._tell("tasks", {"kind": "tasks", "stamp": str(now), "tasks": tasks})

    def _tell_past(self, now: float, last: bool) -> None:
        if self._past_at <= now < self._past_at + PAST_EVERY and not last:
            return
        index = open_index(self._layout)
        mark = index.execute("SELECT max(rowid), (SELECT sum(size) FROM files) FROM events")
        read = (*mark.fetchone(), timestamp(now)[:10], live.plans(self._layout, now))
        self._past_at = now
        if read != self._read:
            self._read = read
            self._stamps["past"] = str(now)
            document = past(self._layout, index, now, self._since)
            self._tell("past", {**document, "rows": self._fresh(document["rows"], now)})

    def _fresh(self, rows: list[Document], now: float) -> list[Document]:
        """Those that are not in the script of the list yet; none if it has been written again."""
        fresh = [row for row in rows if self._listed.get(row["task"]) != row]
        if len(fresh) <= FRESH and self._stamps["rows"]:
            return fresh
        self._listed = {row["task"]: row for row in rows}
        self._stamps["rows"] = str(now)
        self._tell("rows", {"kind": "rows", "rows": rows})
        return []

    def _tell(self, name: str, document: Document) -> None:
        _write(f"{self._base}.{name}.js", f"orchestrator({embedded(document)})\n")


def _write(path: str, text: str) -> None:
    """Replace a file as a whole: a browser reads the old one or the new one."""
    with click.open_file(path, "w", encoding="utf-8", atomic=True) as file:
        file.write(text)


def follow(layout: Layout, path: str, since: float) -> None:
    """Keep a page current until Ctrl-C."""
    live_page = LivePage(layout, path, since)
    live_page.begin()
    try:
        while True:
            live_page.look(time.time())
            time.sleep(EVERY)
    except KeyboardInterrupt:
        live_page.look(time.time(), stopped=True)
