"""Whether the log is whole, and what is made from it."""

from __future__ import annotations

import os
import sqlite3
from urllib.parse import quote

from orchestrator.files import eventreader, jsonlines, opening
from orchestrator.files.layout import Layout
from orchestrator.model.units import plural, show_duration, when
from orchestrator.queries.health.check import Check, mendable, note, ok, problem
from orchestrator.queries.unlogged import unlogged

AHEAD = 60.0  # seconds that clocks may differ by


def clock(layout: Layout, now: float) -> Check:
    """Whether the clock goes back behind what has been written: retries, dates of events and
    not_before depend on it."""
    newest = next((str(event.get("ts", "")) for event in eventreader.newest_first(layout)), "")
    ahead = _ahead(newest, now)
    if ahead > AHEAD:
        return problem(
            "clock",
            f"the newest event is {show_duration(ahead)} in the future",
            "set the clock; another machine's may be wrong",
        )
    return ok("clock", "events are not in the future")


def _ahead(moment: str, now: float) -> float:
    try:
        return when(moment) - now if moment else 0.0
    except ValueError:
        return 0.0


def events(layout: Layout) -> Check:
    paths = eventreader.files(layout)
    bad = sum(jsonlines.read(path)[1] for path in paths)
    if bad:
        return note("events", f"{plural(bad, 'line')} damaged (skipped)")
    return ok("events", f"{plural(len(paths), 'file')}, every line whole")


def lost_ends(layout: Layout) -> list[Check]:
    """Results that no event speaks of."""
    missing = [journal.task_id for journal in unlogged(layout)]
    if not missing:
        return []
    named = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
    words = (
        f"{plural(len(missing), 'result')} without an event: the log has lost the end of {named}"
    )
    return [mendable("events", words, "writes it again", status="note")]


def index(layout: Layout) -> Check:
    """The index is made from the log, so nothing about it can be a problem; it may be large, or of
    no use."""
    path = f"{layout.state}/index.sqlite"
    try:
        with opening.open_file(path) as file:  # sqlite would wait at a pipe
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return ok("index", "none yet; report and events --sql build it")
    try:
        count = _count(path)
    except sqlite3.Error as error:
        words = f"cannot be read ({error}); the next report builds it again"
        return note("index", words, f"rm {layout.shown(path)}")
    return ok("index", f"{plural(count, 'event')}, {size / 2**20:.1f} MiB")


def _count(path: str) -> int:
    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])
    finally:
        connection.close()
