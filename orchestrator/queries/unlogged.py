"""Tasks that ended here and of whose end the event log has nothing: git or a person has taken a log
away."""

from __future__ import annotations

from orchestrator.files import eventreader, journals, scan
from orchestrator.files.layout import Layout
from orchestrator.model.journal import Journal, Phase


def unlogged(layout: Layout) -> list[Journal]:
    """The journals of tasks that have a result and no event of their end, in order of their ids."""
    finished = {
        str(event.get("task_id"))
        for event in eventreader.newest_first(layout)
        if event.get("event") == "task_finished"
    }
    results = {name.removesuffix(".yaml") for name in scan.names(layout.folder("results"))}
    found = []
    for task_id in sorted(results - finished):
        journal = journals.of(layout, task_id)
        if journal is not None and journal.phase is Phase.FINAL and journal.attempts:
            found.append(journal)
    return found
