"""Writing down what the large folders of ended tasks hold, for who reads."""

from __future__ import annotations

import time
from typing import Any

from orchestrator.files import foldercounts, scan
from orchestrator.files.layout import Layout
from orchestrator.model.status import ENDED
from orchestrator.store import atomic
from orchestrator.store.trusting import write_json

LEAST = 1000  # names from which on listing a folder takes longer than reading what was counted
SECOND = 1_000_000_000
RESTS = SECOND // 10  # nanoseconds without a change: a file system's clock ticks far more often


def keep(layout: Layout) -> None:
    """Look through the large folders that rest and are not in the state that was written down.
    OSError if the disk refuses."""
    before, after = foldercounts.written(layout), dict[str, Any]()
    for status in ENDED:
        state = foldercounts.state_of(layout.folder(status))
        if state is None:
            continue
        if foldercounts.of(layout, status, before) is not None:
            after[status] = before[status]
        elif _rests(state["changed"]):
            # What changes while it is listed makes another state of it, which nobody finds here.
            listed = scan.names(layout.folder(status))
            others = [name for name in listed if not name.endswith(foldercounts.TASK)]
            if len(listed) >= LEAST and len(others) <= foldercounts.MOST_OTHERS:
                after[status] = {**state, "tasks": scan.count(listed), "others": others}
    if after != before:
        _write(layout, after)


def _rests(changed: int) -> bool:
    """Whether a change from now on would be seen as one: not where times are whole seconds."""
    return changed % SECOND != 0 and time.time_ns() - changed > RESTS


def _write(layout: Layout, counts: dict[str, Any]) -> None:
    if counts:
        write_json(foldercounts.path(layout), counts, sync=False)
    else:
        atomic.remove(foldercounts.path(layout))
