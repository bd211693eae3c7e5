"""``show``: the whole story of one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.app import App
from orchestrator.cli.changes import for_each
from orchestrator.cli.options import examples, ids_argument, json_option, now
from orchestrator.cli.screen.console import say
from orchestrator.cli.screen.task_page import TaskPage
from orchestrator.cli.verbs import runs as runs_verb
from orchestrator.cli.verbs import why as why_verb
from orchestrator.errors import NotFound
from orchestrator.files.layout import Layout
from orchestrator.model.status import Status
from orchestrator.queries import chains, runs, story, whereabouts

if TYPE_CHECKING:
    from orchestrator.queries.runs import RunView
    from orchestrator.queries.story import Story

Links = tuple[list[chains.Link], list[chains.Link]]


@click.command(
    epilog=examples(
        "orchestrator show review-retry",
        "orchestrator show retry          # any unique part of the id",
        "orchestrator show retry --why    # what it waits for",
        "orchestrator show retry --json | jq .result.outcome",
    )
)
@ids_argument(runs=True, name="words")
@click.option("--full", is_flag=True, help="The whole prompt and message.")
@click.option("--why", "reasons", is_flag=True, help="Only what it waits for, as why prints it.")
@json_option
@click.pass_obj
def command(app: App, words: tuple[str, ...], full: bool, reasons: bool, as_json: bool) -> int:
    """Show everything about a task: where it is, how it went, where its files are. For a run, show
    its tasks."""
    if reasons:
        return why_verb.tell(app, words, as_json)
    documents = []

    def one(word: str) -> None:
        if as_json:
            documents.append(_document(app.layout, word))
        else:
            if word != words[0]:
                app.console.out()
            _tell(app, word, full)

    code = for_each(words, one)
    if as_json:
        app.console.documents(documents, len(words) > 1)
    return code


def _meant(layout: Layout, word: str) -> RunView | tuple[str, Status, str]:
    """The run or the task that ``word`` names: a run's whole name comes before a part of its tasks'
    names."""
    try:
        task_id, status, name = whereabouts.find(layout, word)
    except NotFound:
        view = _run(layout, word)
        if view is None:
            raise
        return view
    view = _run(layout, word) if task_id != word else None
    return view if view is not None and view.id == word else (task_id, status, name)


def _tell(app: App, word: str, full: bool) -> None:
    layout, found = app.layout, _meant(app.layout, word)
    if not isinstance(found, tuple):
        runs_verb.show_run(app, found)
        return
    moment = now()
    _note(layout, found[0])
    told = story.of(layout, *found, moment)
    before, after = _links(layout, told)
    TaskPage(app.console, layout, told, found[1], before, after, full, moment).show()


def _document(layout: Layout, word: str) -> tuple[str, dict[str, Any]]:
    """The kind of the document, and what is in it."""
    meant = _meant(layout, word)
    if not isinstance(meant, tuple):
        return "run", {"run": meant.as_json()}
    _note(layout, meant[0])
    found = story.of(layout, *meant, now())
    links = _links(layout, found)
    return "task", {
        "task": found.row.as_json(),
        "request": found.text,
        "result": dict(found.result),
        "note": found.note,
        "events": found.history,
        "chain": [link.as_json() for link in links[0]],
        "follow_ups": [link.as_json() for link in links[1]],
    }


def _note(layout: Layout, task_id: str) -> None:
    if doubt := whereabouts.several(layout, task_id):
        say(f"note: {doubt}")


def _links(layout: Layout, found: Story) -> Links:
    asked = found.request.task if found.request else None
    return chains.before(layout, asked), chains.after(layout, asked, found.result)


def _run(layout: Layout, run: str) -> RunView | None:
    """The run that ``run`` names, if there is one."""
    known = runs.find_run(layout, run)
    return runs.view_of(layout, *known, now()) if known else None
