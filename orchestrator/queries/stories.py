"""The stories of the tasks that the page can open, cut to a size that a page can carry."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import NotFound
from orchestrator.files import git, runrecords
from orchestrator.files.layout import Layout
from orchestrator.files.text import clean, visible
from orchestrator.model.isolation import change_from
from orchestrator.queries import chains, differences, printed, story, whereabouts
from orchestrator.queries.needs import checks_of
from orchestrator.queries.overview import Overview
from orchestrator.queries.story import Story

TEXT, DIFF = 8_000, 48_000  # characters of a text, of a diff
LINES = 60  # of a log
MOST = 100  # tasks


def opened(view: Overview) -> list[str]:
    """The tasks that can be opened: what needs a person, what runs, what ended last, what is
    next."""
    rows = (*view.running, *view.review, *view.recent, *view.waiting)
    ids = [*(need.id for need in view.needs), *(row.id for row in rows)]
    return list(dict.fromkeys(ids))[:MOST]


def state(layout: Layout, task_id: str) -> tuple[Any, ...]:
    """What is another one as soon as a task's story is, apart from what a running one prints; empty
    for one that is nowhere."""
    try:
        _, status, name = whereabouts.find(layout, task_id)
    except NotFound:
        return ()
    paths = (layout.file(status, name), layout.result(task_id), layout.journal(task_id))
    return (status, *map(_mark, paths))


def _mark(path: str) -> tuple[int, int, int]:
    try:
        found = os.lstat(path)
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def told(layout: Layout, task_id: str, now: float) -> dict[str, Any] | None:
    """One task for the page; None if it is nowhere."""
    try:
        task_id, status, name = whereabouts.find(layout, task_id)
    except NotFound:
        return None
    found = story.of(layout, task_id, status, name, now)
    result = found.result
    task = found.request.task if found.request else None
    facts = {
        **found.row.as_json(),
        "prompt": _cut(clean(found.prompt), TEXT),
        "answer": _cut(clean(str(result.get("message") or "")), TEXT),
        "reason": _cut(clean(str(result.get("reason") or "")), TEXT),
        "note": _cut(clean(found.note), TEXT),
        "session": clean(str(result.get("session") or "")),
        "resume": clean(str(result.get("resume") or "")),
        "checks": checks_of(dict(result)),
        "attempts": _attempts(result),
        "follows": [link.id for link in chains.before(layout, task)],
        "then": [link.id for link in chains.after(layout, task, result)],
        **_change(layout, found),
        "log": _log(layout, task_id),
    }
    return {key: value for key, value in facts.items() if value not in (None, "", [], {})}


def told_of_run(layout: Layout, run: Mapping[str, Any]) -> dict[str, Any]:
    """A run for the page (``run``: as `live.runs` tells it), with the one diff of its branch."""
    facts = {key: run[key] for key in ("id", "title", "status", "branch") if run.get(key)}
    branch = runrecords.known(layout, str(run["id"]))
    if branch is None:
        return facts
    try:
        ends = differences.ends_of_run(layout, branch)
        return {**facts, "diff": _diff(layout, layout.root, ends)}
    except git.Unclear:
        return facts


def _attempts(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    kept = ("attempt", "agent", "tool", "model", "outcome", "duration_s", "cost_usd", "reason")
    listed = result.get("attempts")
    if not isinstance(listed, list):
        return []
    return [
        {key: item[key] for key in kept if item.get(key) is not None}
        for item in listed
        if isinstance(item, Mapping)
    ]


def _change(layout: Layout, found: Story) -> dict[str, Any]:
    """Its branch and what is on it."""
    journal = found.journal
    if journal is None or not journal.tree:
        return {}
    change = change_from(journal.change)
    facts = change.facts() if change is not None else {"branch": journal.tree.get("branch")}
    try:
        folder, ends = differences.ends_of_task(layout, journal)
        return {**facts, "diff": _diff(layout, folder, ends)}
    except git.Unclear:
        return facts


def _diff(layout: Layout, folder: str, ends: list[str]) -> str:
    text = differences.between(layout, folder, ends, ["-p"])
    return _cut(visible(text[: 4 * DIFF].decode("utf-8", "surrogateescape")), DIFF)


def _log(layout: Layout, task_id: str) -> list[str]:
    """The end of what its last attempt has printed."""
    number = printed.newest(layout, task_id)
    if number is None:
        return []
    how = printed.how_shown(layout, task_id, number)
    try:
        lines = printed.lines_of(f"{layout.logs(task_id, number)}/stdout.log", how, LINES)
    except OSError:
        return []
    return [_cut(line, 400) for line in lines[-LINES:]]


def _cut(text: str, most: int) -> str:
    """At most so many characters, and a word on what is missing."""
    if len(text) <= most:
        return text
    return f"{text[:most]}\n… {len(text) - most} more characters"
