"""``why``: what stands between a task and its start."""

from __future__ import annotations

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import complete_ids, examples, json_option, now
from orchestrator.files.text import clean
from orchestrator.queries import whereabouts
from orchestrator.queries.why import reasons


@click.command(epilog=examples("orchestrator why bump-deps"))
@click.argument("task", shell_complete=complete_ids())
@json_option
@click.pass_obj
def command(app: App, task: str, as_json: bool) -> None:
    """Everything that keeps a task from starting: holds, needs, times, limits, the watcher.  Reads files only."""
    answer = reasons(app.layout, *whereabouts.find(app.layout, task), now())
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
