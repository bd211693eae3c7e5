"""What a large accepted run comes to, remembered beside its file: reading ten thousand tasks takes
seconds, and they lie in the inbox.

It counts as long as the run's file is the same one. Whoever could write it could as well write the
run's file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from orchestrator.files import jsonlines, opening
from orchestrator.files.layout import Layout
from orchestrator.model import ids
from orchestrator.model.run import Run

LARGE = 32 << 10  # bytes of a run's file from which on it is worth it
FACTS = tuple("id title max_parallel on_failure max_cost max_tokens contest".split())


def folder(layout: Layout) -> str:
    """Where they are."""
    return f"{layout.state}/facts"


def path_of(layout: Layout, run_id: str) -> str:
    """The file about one run."""
    return f"{folder(layout)}/{ids.key(run_id)}.json"


def stamp(info: os.stat_result) -> list[int]:
    """What tells whether a run's file is another one; moving it changes none of these."""
    return [info.st_ino, info.st_size, info.st_mtime_ns]


def facts(run: Run, info: os.stat_result) -> dict[str, Any]:
    """What is remembered of a run whose file is this one: everything but what its tasks say."""
    own = {name: getattr(run, name) for name in FACTS}
    return {**own, "members": list(run.members), "stamp": stamp(info)}


def known(layout: Layout, run_id: str, info: os.stat_result) -> Run | None:
    """A run without its tasks' texts; None if it is not remembered, or its file is another one by
    now."""
    try:
        data = jsonlines.loads(opening.read_bytes(path_of(layout, run_id)))
    except (OSError, ValueError):
        return None
    return _run(data) if isinstance(data, dict) and data.get("stamp") == stamp(info) else None


def _run(data: Mapping[str, Any]) -> Run | None:
    members = data.get("members")
    if not isinstance(members, list) or any(name not in data for name in FACTS):
        return None
    own = {name: data[name] for name in FACTS}
    return Run(tasks={}, members=tuple(map(str, members)), **own)
