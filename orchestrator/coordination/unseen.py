"""What a task that an attempt in a sandbox has dropped may name: files that this attempt could see.

Else its prompt would carry what walls hide: we read the files for it, and nothing hides them from
us.
"""

from __future__ import annotations

from orchestrator.coordination.walls import SHOWN, UNSEEN, real
from orchestrator.files.bounds import of_task
from orchestrator.files.layout import Layout
from orchestrator.model.sandbox import STRICT, covered
from orchestrator.model.task import Task
from orchestrator.tools.invocation import CannotStart, project_path, text_of

HIDDEN = (*UNSEEN, "inbox")


def refuse(layout: Layout, task: Task, folder: str) -> None:
    """`CannotStart` if a dropped task names what its parent could not see. ``folder`` is where its
    own paths begin."""
    bounds = of_task(layout, task)
    if bounds is None:
        return
    work = real(layout.work)
    hidden = [work] if bounds.sandbox.level == STRICT else [f"{work}/{name}" for name in HIDDEN]
    shown = [f"{work}/{name}" for name in SHOWN]
    shown += [tree] if covered(tree := real(folder), [work]) else []
    for path in filter(None, (task.prompt_file, task.result_schema, *task.context)):
        found = project_path(folder, path)
        if covered(found, hidden) and not covered(found, shown):
            raise CannotStart(f"'{path}' is hidden from {bounds.parent}, which made this task")
    schema = task.result_schema
    if schema and text_of(folder, "result.schema", schema) != text_of(
        layout.root, "result.schema", schema
    ):
        raise CannotStart(f"'{schema}' is not the same in the tree as in the project")
