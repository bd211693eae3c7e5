"""Accepted runs, as far as the choice of what runs next is concerned."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from orchestrator.coordination.intake import RunFile
from orchestrator.files import runfacts, runrecords
from orchestrator.files.layout import Layout
from orchestrator.files.requests import load, read
from orchestrator.model.gates import Lane, Limits
from orchestrator.model.run import Run
from orchestrator.store import runs
from orchestrator.store.transitions import Store


class Groups:
    """Reads each run file once; a run that has none has no limits."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._runs: dict[str, Run | None] = {}

    def accept(self, store: Store, name: str, look: RunFile) -> None:
        """Take a run from the inbox and place its tasks there; raises as `store.runs.accept`."""
        runs.accept(store, look.run, name, look.content)
        self._runs[look.run.id] = look.run
        with suppress(OSError):
            info = os.stat(self.layout.file(runrecords.RUNS, name))
            _remember(self.layout, look.run, info)

    def get(self, run_id: str | None) -> Run | None:
        """An accepted run; None if there is none of this id."""
        if not run_id:
            return None
        if run_id not in self._runs:
            self._runs[run_id] = self._read(run_id)
        return self._runs[run_id]

    def forget(self, run_id: str) -> None:
        """Its file is to be read again."""
        self._runs.pop(run_id, None)

    def is_file_of(self, run_id: str, place: tuple[str, str]) -> bool:
        """Whether the file in another folder than runs/ is that of a run, and no task of the same
        id."""
        return self._load(run_id, place) is not None

    def _read(self, run_id: str) -> Run | None:
        place = runrecords.place(self.layout, run_id)
        return self._load(run_id, place) if place is not None else None

    def _load(self, run_id: str, place: tuple[str, str]) -> Run | None:
        path = self.layout.file(*place)
        try:
            content = read(path)
            found = runfacts.known(self.layout, run_id, content.stat)
            if found is None:
                found = load(path, run_id, content.raw).run
                _remember(self.layout, found, content.stat)
        except Exception:  # whatever its file says by now: it only costs this run its limits
            return None
        return found

    def limited(self, limits: Limits, lanes: Iterable[Lane]) -> Limits:
        """The limits with those of the runs in these lanes."""
        per_run = {
            lane.run: run.max_parallel
            for lane in lanes
            if lane.run and (run := self.get(lane.run)) is not None and run.max_parallel
        }
        return replace(limits, per_run=per_run) if per_run else limits


def _remember(layout: Layout, run: Run | None, info: os.stat_result) -> None:
    with suppress(OSError):  # then it is read the next time, and remembered
        if run is not None:
            runs.remember(layout, run, info)
