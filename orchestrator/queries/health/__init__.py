"""What is wrong with a work directory, found by reading alone: one module for each kind of thing
that ``doctor`` looks at."""

from __future__ import annotations

from orchestrator.files.layout import Layout
from orchestrator.queries.health import log, machine, project, wants
from orchestrator.queries.health.check import Check
from orchestrator.queries.health.progress import progress
from orchestrator.queries.health.repository import index_lock, repository
from orchestrator.queries.health.tidiness import tidiness
from orchestrator.queries.health.watcher import watcher
from orchestrator.queries.world import Known


def checks(layout: Layout, now: float) -> list[Check]:
    """Everything that is looked at, good or bad."""
    known = Known(layout, now)
    return [
        project.place(layout),
        project.folders(layout),
        project.settings(layout),
        project.editors(layout),
        watcher(known),
        *progress(known),
        *tidiness(layout, known.names),
        log.clock(layout, now),
        log.events(layout),
        *log.lost_ends(layout),
        log.index(layout),
        *repository(layout),
        machine.others(layout),
        machine.disk(layout),
        *wants.invalid(known),
        *wants.circle(known),
        *wants.roles(layout),
        *wants.gates(known),
        *index_lock(layout, now),
    ]
