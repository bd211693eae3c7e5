"""What was done, how long it took and what it cost: sums over the index."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.errors import USAGE, OrchestratorError
from orchestrator.libraries import later
from orchestrator.records import asdict, dataclass, field

if TYPE_CHECKING:
    import sqlite3

    Index = sqlite3.Connection
else:
    sqlite3 = later("sqlite3")
    Index = object  # for annotations only

SECONDS = 30.0  # that a question may take
GRACE = 0.5  # seconds more, in which SQLite may say itself that it was interrupted
MOST_ROWS = 1_000_000  # of an answer
MOST_BYTES = 64 << 20  # of one value: SQLite itself makes them of a gigabyte
MOST_ANSWER = 256 << 20  # bytes of all values of an answer
EACH = 16  # bytes that a value takes besides its text
FORBIDDEN = ("load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "sqlite_log")

# A task counts once, by its last end: one that failed and was done when it ran again is done.
LAST = """SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY task_id ORDER BY ts DESC, rowid DESC) AS newest
  FROM events WHERE event = 'task_finished' AND ts >= ? AND ts < ?) WHERE newest = 1"""
BY = ("agent", "tool", "model", "day", "run")


@dataclass(slots=True)
class Group:
    """Sums for one agent, tool, model, day or run. Tasks are counted once, where they ended last,
    attempts where they were made.

    ``median_s`` and ``p95_s`` are of attempts; ``cost_usd`` is what is known, ``unknown`` how many
    attempts used tokens at an unknown price. ``commits``, ``insertions`` and ``deletions`` are
    those of tasks with a branch of their own.
    """

    name: str
    tasks: int = 0
    succeeded: int = 0
    attempts: int = 0
    cost_usd: float = 0.0
    unknown: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    median_s: float | None = None
    p95_s: float | None = None
    commits: int = 0
    insertions: int = 0
    deletions: int = 0

    @property
    def total_tokens(self) -> int:
        """Tokens sent and received; cached and reasoning ones are among them."""
        return self.tokens.get("input", 0) + self.tokens.get("output", 0)

    @property
    def success(self) -> float | None:
        """The share of tasks that succeeded."""
        return self.succeeded / self.tasks if self.tasks else None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "tasks": self.tasks,
            "succeeded": self.succeeded,
            "success": self.success,
            "attempts": self.attempts,
            "cost_usd": round(self.cost_usd, 6),
            "unknown_cost_attempts": self.unknown,
            "tokens": self.tokens,
            "median_s": self.median_s,
            "p95_s": self.p95_s,
            "commits": self.commits,
            "insertions": self.insertions,
            "deletions": self.deletions,
        }


def report(index: Index, by: str, since: str, until: str) -> list[Group]:
    """Groups by one of `BY` (or ``""``: everything in one), the costliest first, days in order.
    Moments are timestamps."""
    column = {"": "''", "day": "substr(ts, 1, 10)", "run": "run_id"}.get(by, by)
    groups: dict[str, Group] = {}

    def group(name: str | None) -> Group:
        return groups.setdefault(name or "", Group(name or ""))

    chosen = "FROM events WHERE event = ? AND ts >= ? AND ts < ?"
    for name, tasks, good, *work in index.execute(
        f"SELECT {column} AS grp, count(*), sum(outcome = 'succeeded'), sum(commits),"
        f" sum(insertions), sum(deletions) FROM ({LAST}) GROUP BY grp",
        (since, until),
    ):
        found = group(name)
        found.tasks, found.succeeded = tasks, good or 0
        found.commits, found.insertions, found.deletions = (count or 0 for count in work)
    for row in index.execute(
        f"SELECT {column} AS grp, count(*), sum(cost_usd), sum(cost_source = 'unknown'),"
        " sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(output_tokens),"
        f" sum(reasoning_tokens) {chosen} GROUP BY grp",
        ("attempt_finished", since, until),
    ):
        found = group(row[0])
        found.attempts, found.cost_usd, found.unknown = row[1], row[2] or 0.0, row[3] or 0
        found.tokens = {
            kind: count
            for kind, count in zip(
                ("input", "cached", "cache_write", "output", "reasoning"), row[4:], strict=True
            )
            if count
        }
    durations: dict[str, list[float]] = {}
    for name, milliseconds in index.execute(
        f"SELECT {column} AS grp, duration_ms {chosen} AND duration_ms IS NOT NULL ORDER BY"
        " duration_ms",
        ("attempt_finished", since, until),
    ):
        durations.setdefault(name or "", []).append(milliseconds / 1000)
    for name, sorted_ in durations.items():
        group(name).median_s, group(name).p95_s = (
            percentile(sorted_, 0.5),
            percentile(sorted_, 0.95),
        )
    return sorted(
        groups.values(),
        key=lambda item: item.name if by == "day" else (-item.cost_usd, -item.tasks, item.name),
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """A finished task, as the index knows it."""

    ended: str
    task: str
    run: str
    agent: str
    tool: str
    model: str
    outcome: str
    duration_s: float | None
    tokens: int
    cost_usd: float | None
    summary: str

    def as_json(self) -> dict[str, Any]:
        """Without what is empty."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "", 0)} | {
            "ended": self.ended,
            "task": self.task,
        }


def ended(index: Index, since: str, until: str) -> list[Ended]:
    """The tasks that finished in this time, the newest first."""
    return [
        Ended(
            row[0],
            row[1],
            row[2] or "",
            row[3] or "",
            row[4] or "",
            row[5] or "",
            row[6] or "",
            row[7] / 1000 if row[7] is not None else None,
            row[8] or 0,
            row[9],
            "" if row[6] == "succeeded" else row[10] or "",
        )
        for row in index.execute(
            "SELECT ts, task_id, run_id, agent, tool, model, outcome, duration_ms,"
            " coalesce(input_tokens, 0) + coalesce(output_tokens, 0), cost_usd, summary FROM"
            f" ({LAST}) ORDER BY ts DESC",
            (since, until),
        )
    ]


def costs(index: Index, since: str, until: str) -> dict[str, dict[str, float]]:
    """US dollars by day and agent."""
    found: dict[str, dict[str, float]] = {}
    for day, agent, cost in index.execute(
        "SELECT substr(ts, 1, 10), agent, sum(cost_usd) FROM events WHERE event ="
        " 'attempt_finished' AND ts >= ? AND ts < ? GROUP BY 1, 2",
        (since, until),
    ):
        found.setdefault(day, {})[agent or ""] = cost or 0.0
    return found


def _authorized(action: int, first: str | None, second: str | None, *_: object) -> int:
    """Reading only: no other file (ATTACH, VACUUM INTO), no extension, no setting, no write."""
    if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE):
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in FORBIDDEN:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def ask(index: Index, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The answer to a question in SQL: names of columns, rows. Raises `OrchestratorError` with what
    SQLite says. ``index`` is asked in a thread: one call of a function (``instr`` of two long
    texts) may take hours, and nothing of SQLite can interrupt it. It is left behind then."""
    found: list[tuple[list[str], list[tuple[Any, ...]]]] = []
    wrong: list[Exception] = []
    end = time.monotonic() + SECONDS

    def look() -> None:
        try:
            found.append(_answer(index, sql, end))
        except Exception as error:
            wrong.append(error)

    asking = threading.Thread(target=look, daemon=True)
    asking.start()
    asking.join(SECONDS + GRACE)
    if time.monotonic() > end and not found:
        raise OrchestratorError(
            f"the question took longer than {SECONDS:.0f} s", "ask for less: WHERE, LIMIT"
        )
    for error in wrong:
        if isinstance(error, sqlite3.Error | sqlite3.Warning | UnicodeError):
            raise OrchestratorError(
                f"SQLite says: {error}",
                'to see the tables: orchestrator events --sql "SELECT sql FROM sqlite_master"',
                USAGE,
            ) from None
        raise error
    return found[0]


def _answer(index: Index, sql: str, end: float) -> tuple[list[str], list[tuple[Any, ...]]]:
    index.set_authorizer(_authorized)
    index.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    index.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    cursor = index.execute(sql)
    rows = list(_bounded(cursor))
    return [column[0] for column in cursor.description or ()], rows


def _bounded(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """The same rows.  `OrchestratorError` where they become more than `MOST_ROWS`, or
    `MOST_ANSWER`."""
    room = MOST_ANSWER
    for number, row in enumerate(rows):
        if number == MOST_ROWS:
            raise OrchestratorError(
                f"the answer has more than {MOST_ROWS:,} rows", "ask for less: WHERE, LIMIT"
            )
        room -= len(row) * EACH
        room -= sum(len(value) for value in row if isinstance(value, str | bytes))
        if room < 0:
            raise OrchestratorError(
                f"the answer is longer than {MOST_ANSWER >> 20} MiB", "ask for less: WHERE, LIMIT"
            )
        yield row


def percentile(sorted_: list[float], share: float) -> float:
    """The nearest-rank percentile of sorted figures."""
    return sorted_[max(0, math.ceil(share * len(sorted_)) - 1)]
