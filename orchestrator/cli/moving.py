"""What the verbs that move a task's file have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection

from orchestrator.cli.app import App
from orchestrator.cli.options import each
from orchestrator.cli.screen.console import say
from orchestrator.cli.writing import open_store
from orchestrator.errors import FAILED, Refused
from orchestrator.model.status import Status
from orchestrator.store.transitions import Moved, Store


def move_each(
    app: App,
    words: tuple[str, ...],
    step: Callable[[Store, str], Moved],
    said: str,
    would: str,
    dry_run: bool,
    sources: Collection[Status] = (),
) -> int:
    """Do one step to every task that is named; a refusal of one does not stop the others."""
    found = each(app.layout, words)
    if dry_run:
        code = 0
        for task_id, status, _ in found:
            if sources and status not in sources:
                wanted = " or ".join(source.word for source in sources)
                say(f"error: {task_id} is {status.word}, not {wanted}")
                code = FAILED
                continue
            app.console.out(f"would {would} {task_id} ({status.word} now)")
        return code
    store = open_store(app)
    code = 0
    for task_id, _, _ in found:
        try:
            moved = step(store, task_id)
        except Refused as error:
            say(f"error: {error.message}" + (f"\nhint:  {error.hint}" if error.hint else ""))
            code = FAILED
            continue
        sign = app.console.sign(str(moved.target))
        app.console.out(
            f"{sign} {said:<12} {app.layout.shown(moved.path)}"
            if app.console.tty
            else f"{said}\t{task_id}\t{app.layout.shown(moved.path)}"
        )
    return code
