"""The index is a projection: it says what the log says, whatever happened to either of them."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

from orchestrator.projection.index import open_index
from orchestrator.queries.usage import percentile, report


def event(number: int, kind: str = "attempt_finished", **more) -> dict:
    day = 20 + number % 3
    return {
        "ts": f"2026-11-{day}T10:00:{number % 60:02d}.000Z",
        "event_id": f"t{number}/1/{kind}",
        "event": kind,
        "task_id": f"t{number}",
        "run_id": None,
        "attempt": 1,
        "agent": ("claude", "codex")[number % 2],
        "tool": "x",
        "model": "m",
        "mode": "batch",
        "phase": "attempt",
        "status": "running",
        "summary": "s",
        "outcome": "failed" if number % 5 == 0 else "succeeded",
        "duration_ms": 1000 * (number + 1),
        "usage": {"input": 10, "output": 1},
        "cost_usd": 0.5,
        "cost_source": "reported",
        **more,
    }


def write(project, name: str, events: list[dict], mode: str = "w") -> Path:
    path = project.work / "events" / name
    with open(path, mode) as file:
        file.writelines(json.dumps(item) + "\n" for item in events)
    return path


def everything(project) -> list[tuple]:
    index = open_index(project.layout)
    try:
        return index.execute("SELECT * FROM events ORDER BY event_id").fetchall()
    finally:
        index.close()


def rebuilt(project) -> list[tuple]:
    Path(f"{project.layout.state}/index.sqlite").unlink()
    return everything(project)


def test_it_follows_the_log_however_it_changes(project):
    write(project, "2026-11-20.aaaa-watch.jsonl", [event(number) for number in range(10)])
    assert len(everything(project)) == 10
    path = write(
        project, "2026-11-20.aaaa-watch.jsonl", [event(number) for number in range(10, 15)], "a"
    )
    with open(path, "a") as file:
        file.write('{"ts": "2026')  # somebody is writing
    assert len(everything(project)) == 15
    with open(path, "a") as file:
        file.write(
            '-11-20T11:00:00Z", "event_id": "late", "event": "task_held"}\nnot json\n{"event_id": [1], "event": {"a": 1}}\n'
        )
    assert len(everything(project)) == 16 and everything(project) == rebuilt(project)
    write(
        project, "2026-11-21.bbbb-watch.jsonl", [event(3), event(50)]
    )  # git brought another clone's: one is the same event
    assert len(everything(project)) == 17
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(
        "".join(lines[:5] + [json.dumps(event(99)) + "\n"] + lines[5:])
    )  # merge=union puts lines into the middle
    assert len(everything(project)) == 18 and everything(project) == rebuilt(project)
    path.unlink()
    assert len(everything(project)) == 2


@pytest.mark.parametrize("damage", [b"", b"not a database", "truncate", "other version"])
def test_a_damaged_index_is_made_anew(project, damage):
    write(project, "2026-11-20.aaaa-watch.jsonl", [event(number) for number in range(500)])
    before = everything(project)
    path = Path(f"{project.layout.state}/index.sqlite")
    if damage == "truncate":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "other version":
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version = 99")
    else:
        path.write_bytes(damage)
    assert everything(project) == before


def test_report_sums_what_the_log_says(project):
    write(
        project,
        "2026-11-20.aaaa-watch.jsonl",
        [item for number in range(30) for item in (event(number), event(number, "task_finished"))],
    )
    index = open_index(project.layout)
    (total,) = report(index, "", "2026", "2027")
    assert (total.tasks, total.succeeded, total.attempts, total.cost_usd, total.tokens) == (
        30,
        24,
        30,
        15.0,
        {"input": 300, "output": 30},
    )
    assert (total.median_s, total.p95_s) == (15.0, 29.0)
    assert [(group.name, group.tasks) for group in report(index, "agent", "2026", "2027")] == [
        ("claude", 15),
        ("codex", 15),
    ]
    assert [group.name for group in report(index, "day", "2026-11-21", "2027")] == [
        "2026-11-21",
        "2026-11-22",
    ]
    assert percentile([1.0], 0.95) == 1.0 and percentile([1.0, 2.0], 0.5) == 1.0


def test_report_and_query_as_a_person_sees_them(project):
    project.config("agents: {sh: {tool: shell, command: [sh]}}\n")
    project.drop("a.yaml", "agent: sh\nprompt: 'true'\n")
    project.drop("b.yaml", "agent: sh\nprompt: exit 3\n")
    project.run("watch", "--until-empty", code=1)
    found = project.json("report")
    assert (
        found["kind"] == "report"
        and found["total"]["tasks"] == 2
        and found["by_agent"][0]["success"] == 0.5
    )
    assert project.run("report").stdout.splitlines()[-1].split("\t")[:3] == ["sh", "2", "50%"]
    assert (
        project.run("query", "SELECT task_id, exit_code FROM tasks ORDER BY task_id").stdout
        == "task_id\texit_code\na\t0\nb\t3\n"
    )
    assert project.json("query", "SELECT count(*) AS n FROM attempts")["rows"] == [[2]]
    for wrong in (
        "SELECT nothing",
        "DELETE FROM events",
        "DROP TABLE events",
        "ATTACH 'x.db' AS x; SELECT 1",
        "not sql",
        "PRAGMA user_version = 5",
    ):
        done = project.run("query", wrong, code=None)
        if "user_version" not in wrong:
            assert done.returncode == 2 and "SQLite says" in done.stderr, (wrong, done)
    assert len(project.json("query", "SELECT * FROM tasks")["rows"]) == 2
    assert "no tasks ended in" in project.run("report", "--since", "1ms").stdout
    project.run("report", "--since", "yesterday", code=2)


def test_where_nothing_can_be_written_it_is_built_in_memory(project):
    write(project, "2026-11-20.aaaa-watch.jsonl", [event(1)])
    os.rename(project.layout.state, project.layout.state + ".away")
    try:
        assert len(everything(project)) == 1
    finally:
        os.rename(project.layout.state + ".away", project.layout.state)


@pytest.mark.slow
def test_a_large_log_costs_what_is_new(project):
    """Ratios, not times: bringing it up to date with ten new events costs nothing like building it."""
    write(project, "2026-11-20.aaaa-watch.jsonl", [event(number) for number in range(60_000)])
    began = time.perf_counter()
    open_index(project.layout).close()
    built = time.perf_counter() - began
    write(
        project,
        "2026-11-20.aaaa-watch.jsonl",
        [event(number) for number in range(60_000, 60_010)],
        "a",
    )
    began = time.perf_counter()
    index = open_index(project.layout)
    assert index.execute("SELECT count(*) FROM attempts").fetchone() == (60_010,)
    assert time.perf_counter() - began < built / 3
