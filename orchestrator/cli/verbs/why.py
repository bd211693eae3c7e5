"""``why``: what stands between a task and its start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.app import App
from orchestrator.cli.changes import for_each
from orchestrator.cli.options import examples, ids_argument, json_option, now
from orchestrator.cli.screen.console import Console, say
from orchestrator.files.layout import Layout
from orchestrator.files.text import clean
from orchestrator.queries import runs, whereabouts, why, whyrun

if TYPE_CHECKING:
    from orchestrator.queries.why import Reasons


@click.command(epilog=examples("orchestrator why bump-deps"))
@ids_argument(runs=True, name="words")
@json_option
@click.pass_obj
def command(app: App, words: tuple[str, ...], as_json: bool) -> int:
    """Show everything that keeps a task from starting: holds, needs, times, limits, the watcher.
    This only reads files.

    For a run, show what each of its tasks waits for. Short for show --why.
    """
    return tell(app, words, as_json)


def tell(app: App, words: tuple[str, ...], as_json: bool) -> int:
    """What each of these waits for; the exit code."""
    documents = []

    def one(word: str) -> None:
        answer = _answer(app.layout, word)
        if doubt := whereabouts.several(app.layout, answer.id):
            say(f"note: {doubt}")
        if as_json:
            documents.append(("why", _document(answer)))
        else:
            _show(app.console, answer)

    code = for_each(words, one)
    if as_json:
        app.console.documents(documents, len(words) > 1)
    return code


def _document(answer: Reasons) -> dict[str, Any]:
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
    return {
        "task": answer.id,
        "status": answer.status,
        "summary": answer.summary,
        "gates": gates,
        "passed": answer.passed,
        "notes": answer.notes,
    }


def _show(console: Console, answer: Reasons) -> None:
    head = f"{console.sign(answer.status)} {answer.id}  "
    console.hang(head, console.local(clean(answer.summary)))
    for gate in answer.gates:
        sign = console.sign("problem" if gate.stuck else "waiting")
        console.hang(f"  {sign} {gate.name:<11} ", console.local(clean(gate.why)))
        if gate.hint:
            console.hang(f"    {'':<11} ", gate.hint)
    for text in answer.passed:
        console.hang(f"  {console.sign('ok')} ", text)
    for text in answer.notes:
        console.hang("  ", text)


def _answer(layout: Layout, word: str) -> Reasons:
    """Of the task that ``word`` names, or of the run."""
    known = runs.meant(layout, word)
    view = runs.view_of(layout, *known, now()) if known is not None else None
    if view is not None:
        return whyrun.reasons_of_run(layout, view, now())
    return why.reasons(layout, *whereabouts.find(layout, word), now())
