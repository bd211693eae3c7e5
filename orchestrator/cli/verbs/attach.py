"""``attach``: the terminal of a running interactive task, in this one."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes
from orchestrator.cli.consent import refuse_of_others
from orchestrator.cli.options import examples, ids_argument, json_option
from orchestrator.cli.screen.console import say
from orchestrator.cli.screen.follow import ending
from orchestrator.cli.screen.terminal import attach, has_terminal, is_open
from orchestrator.cli.selecting import of_words
from orchestrator.errors import Refused
from orchestrator.files import journals, scan
from orchestrator.model.journal import Phase
from orchestrator.model.status import Status


@click.command(
    epilog=examples(
        "orchestrator attach plan-the-release",
        "orchestrator attach plan     # Ctrl-\\ leaves; the tool goes on",
    )
)
@ids_argument(Status.RUNNING, runs=True)
@json_option
@click.pass_obj
def command(app: App, tasks: tuple[str, ...], as_json: bool) -> int:
    """Attach to a running task with mode: interactive; of several, or of a run, to one after
    another.

    Ctrl-\\ detaches, and the tool keeps running. Several people may attach at once. When the tool
    ends, the exit code is the task's.
    """
    changes = Changes(app, as_json)
    codes = [0]
    found = of_words(changes, tasks, (Status.RUNNING,), whole=False)
    refuse_of_others(app.layout, (task_id for task_id, _, _ in found), "attach to")
    for task_id, status, _ in found:
        try:
            codes.append(_attach(changes, task_id, status))
        except Refused as error:
            changes.refuse(task_id, error)
    return max(changes.end(), *codes)


def _attach(changes: Changes, task_id: str, status: Status) -> int:
    """Lend it this terminal; the exit code. `Refused` if it has none."""
    app, layout = changes.app, changes.app.layout
    journal = journals.of(layout, task_id)
    attempt = journal.attempt if journal else None
    if (
        status is not Status.RUNNING
        or journal is None
        or attempt is None
        or journal.phase is not Phase.STARTED
    ):
        raise Refused(f"{task_id} is not running", f"orchestrator why {task_id}")
    if attempt.where:
        raise Refused(
            f"{task_id} runs at {attempt.where}, not on this machine",
            f"orchestrator logs -f {task_id}   shows what it prints",
        )
    folder = layout.logs(task_id, attempt.number)
    if not is_open(folder):
        raise Refused(
            f"{task_id} is not running on a terminal",
            f"orchestrator logs -f {task_id}   shows what it prints; you can attach to tasks with"
            " mode: interactive",
        )
    if not has_terminal():
        raise Refused(
            "this is not a terminal", f"orchestrator logs -f {task_id}   shows what it prints"
        )
    say(
        f"==> {task_id} · attempt {attempt.number} · {journal.claim.get('agent', '')} · Ctrl-\\"
        " detaches; it keeps running"
    )
    if not attach(folder):
        say(f"==> detached from {task_id}; it keeps running. Again: orchestrator attach {task_id}")
        code = 0
    else:
        code = ending(app, task_id)
    place = scan.locate(layout, task_id)
    after = place[0].word if place is not None else None
    if changes.as_json and (code or after != status.word):
        changes.done(task_id, status.word, after, "")
    return code
