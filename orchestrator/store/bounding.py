"""Writing down what bounds a dropped task, durably and before the task can be seen (see
`files.bounds`)."""

from __future__ import annotations

import json
import threading

from orchestrator.files import bounds as kept
from orchestrator.files.layout import Layout
from orchestrator.model.sandbox import Bounds, tighter_bounds
from orchestrator.store import smallfiles

_one_at_a_time = threading.Lock()


def keep(layout: Layout, task_id: str, bounds: Bounds) -> None:
    """From here on the task of this id is bound, for good.

    What bound it before goes on to hold: two attempts may drop the same name at once, and only one
    of them wins it.
    """
    path = kept.path_of(layout, task_id)
    with _one_at_a_time:
        before = kept.of_id(layout, task_id)
        both = bounds if before is None else tighter_bounds(bounds, before)
        data = json.dumps(both.as_record()).encode() + b"\n"
        smallfiles.put(layout, path, data, "bounds")
