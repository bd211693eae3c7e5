"""``why``: what stands between a task and its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import complete_ids, examples, json_option, now
from orchestrator.files.layout import Layout
from orchestrator.files.text import clean
from orchestrator.queries import runs, whereabouts, why, whyrun

if TYPE_CHECKING:
    from orchestrator.queries.why import Reasons


@click.command(epilog=examples("orchestrator why bump-deps"))
@click.argument("task", shell_complete=complete_ids(runs=True))
@json_option
@click.pass_obj
def command(app: App, task: str, as_json: bool) -> None:
    """Everything that keeps a task from starting: holds, needs, times, limits, the watcher.  Reads files only.

    Of a run, what each of its tasks waits for.
    """
    answer = _answer(app.layout, task)
    if as_json:
        gates = [
            {
                "name": gate.name,
                "why": gate.why,
                "hint": gate.hint,
                "until": gate.until,
                "stuck": gate.stuck,
            }
            for gate in answer.gates
        ]
        app.console.json(
            "why",
            {
                "task": answer.id,
                "status": answer.status,
                "summary": answer.summary,
                "gates": gates,
                "passed": answer.passed,
            },
        )
        return
    head = f"{app.console.sign(answer.status)} {answer.id}  "
    app.console.hang(head, app.console.local(clean(answer.summary)))
    for gate in answer.gates:
        sign = app.console.sign("problem" if gate.stuck else "waiting")
        app.console.hang(f"  {sign} {gate.name:<11} ", app.console.local(clean(gate.why)))
        if gate.hint:
            app.console.hang(f"    {'':<11} ", gate.hint)
    for text in answer.passed:
        app.console.hang(f"  {app.console.sign('ok')} ", text)


def _answer(layout: Layout, word: str) -> Reasons:
    """Of the task that ``word`` names, or of the run."""
    known = runs.meant(layout, word)
    view = runs.view_of(layout, *known, now()) if known is not None else None
    if view is not None:
        return whyrun.reasons_of_run(layout, view, now())
    return why.reasons(layout, *whereabouts.find(layout, word), now())
