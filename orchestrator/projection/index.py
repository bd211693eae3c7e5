"""The index: a SQLite projection of the event log, for questions about the past.

``.state/index.sqlite`` may be deleted at any time and is rebuilt identically. It is brought up to
date when a question is asked, by reading what was appended to each event file since; the watcher
neither writes nor reads it. A file that has changed otherwise (git merged it) makes it start anew.
Where nothing can be written the index is built in memory.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from typing import Any

from orchestrator.files import eventreader, jsonlines, opening
from orchestrator.files.eventshape import fitted
from orchestrator.files.layout import Layout

VERSION = 4
# Columns of ``events``: the common fields, and those of an attempt's or task's end; tokens and
# dollars.
COLUMNS = (
    "ts",
    "event",
    "task_id",
    "run_id",
    "attempt",
    "agent",
    "tool",
    "model",
    "mode",
    "phase",
    "status",
    "summary",
    "outcome",
    "exit_code",
    "duration_ms",
    "cost_usd",
    "cost_source",
    "error_class",
    "session",
    "branch",
    "commits",
    "insertions",
    "deletions",
)
TOKENS = ("input", "cached", "cache_write", "output", "reasoning")
SCHEMA = f"""
CREATE TABLE files (file TEXT PRIMARY KEY, size INTEGER, tail BLOB);
CREATE TABLE events (event_id TEXT PRIMARY KEY, {", ".join(COLUMNS)}, {", ".join(f"{name}_tokens INTEGER" for name in TOKENS)});
CREATE INDEX by_kind ON events (event, ts);
CREATE INDEX by_task ON events (task_id, ts);
CREATE VIEW attempts AS SELECT * FROM events WHERE event = 'attempt_finished';
CREATE VIEW tasks AS SELECT * FROM events WHERE event = 'task_finished';
PRAGMA user_version = {VERSION};
"""
NO_USAGE: dict[str, Any] = {}
BATCH = 20_000
# bytes before the end of what was read, remembered to see whether a file was only appended to
MARK = 256


def open_index(layout: Layout) -> sqlite3.Connection:
    """The index, up to date and read-only from here on."""
    path = f"{layout.state}/index.sqlite"
    try:
        connection = _fresh(path)
        try:
            update(connection, layout)
        except (
            sqlite3.DatabaseError
        ):  # torn by a crash, or of another program: it holds nothing that the log does not
            connection.close()
            os.unlink(path)
            connection = _fresh(path)
            update(connection, layout)
    except (
        OSError,
        sqlite3.OperationalError,
    ):  # a disk that cannot be written, or another process that builds it just now
        connection = _prepared(_connected(":memory:"))
        update(connection, layout)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _fresh(path: str) -> sqlite3.Connection:
    connection = _connected(path)
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
            return connection
    except sqlite3.DatabaseError:
        pass
    connection.close()
    if os.path.exists(path):
        os.unlink(path)
    return _prepared(_connected(path))


def _connected(path: str) -> sqlite3.Connection:
    """For one thread at a time: questions are asked in another one than the index is made in."""
    return sqlite3.connect(path, timeout=30.0, check_same_thread=False)


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.executescript("PRAGMA synchronous = OFF;" + SCHEMA)
    return connection


def update(connection: sqlite3.Connection, layout: Layout) -> int:
    """Read what is new in the log; how many events that were."""
    count = 0
    present = {os.path.basename(path): path for path in eventreader.files(layout)}
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        known = {
            name: (size, tail)
            for name, size, tail in connection.execute("SELECT file, size, tail FROM files")
        }
        if any(
            name not in present or not _only_appended(present[name], *seen)
            for name, seen in known.items()
        ):
            # An event may be in several files (git merges them), so which ones went cannot be told:
            # from the start.
            connection.execute("DELETE FROM events")
            connection.execute("DELETE FROM files")
            known = {}
        for name, path in present.items():
            count += _read(connection, name, path, known.get(name, (0, b""))[0])
    return count


def _only_appended(path: str, size: int, tail: bytes) -> bool:
    try:
        with opening.open_log(path) as file:
            file.seek(max(0, size - MARK))
            return file.read(min(size, MARK)) == tail
    except OSError:
        return False


def _read(connection: sqlite3.Connection, name: str, path: str, start: int) -> int:
    """Add the whole lines of a file from ``start`` on."""
    try:
        with opening.open_log(path) as file:
            if os.fstat(file.fileno()).st_size <= start:
                return 0
            file.seek(start)
            end, count = start, 0
            marks = ", ".join("?" * (1 + len(COLUMNS) + len(TOKENS)))
            while lines := file.readlines(BATCH * 300):
                if not lines[-1].endswith(b"\n"):
                    lines.pop()  # somebody is writing it
                rows = list(_rows(name, end, lines))
                end += sum(map(len, lines))
                insert = (  # delivered twice, kept once
                    f"INSERT OR IGNORE INTO events VALUES ({marks})"
                )
                try:
                    connection.executemany(insert, rows)
                except (
                    sqlite3.Error,
                    OverflowError,
                    UnicodeError,
                ):  # a value that SQLite cannot keep: rare, so it is not looked for before
                    connection.executemany(
                        insert, ([_plain(value) for value in row] for row in rows)
                    )
                count += len(rows)
            file.seek(max(0, end - MARK))
            tail = file.read(min(end, MARK))
    except (FileNotFoundError, opening.NotAFile):
        return 0
    connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (name, end, tail))
    return count


def _rows(name: str, place: int, lines: list[bytes]) -> Iterator[list[Any]]:
    for line in lines:
        place += len(line)
        try:
            event = fitted(jsonlines.parse_line(line))
            if event is None:
                continue
            get, usage = event.get, event.get("usage") or NO_USAGE
            row = [get(column) for column in COLUMNS]
            row += [usage.get(token) for token in TOKENS]
            row.insert(0, str(get("event_id") or f"{name}:{place}"))
            yield row
        except (ValueError, AttributeError, RecursionError):  # a torn line costs one line
            continue


def _plain(value: Any) -> Any:
    """What SQLite can keep."""
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # a lone surrogate
    return value if isinstance(value, int) and abs(value) < 1 << 63 else str(value)
