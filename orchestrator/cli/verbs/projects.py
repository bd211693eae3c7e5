"""``projects``: the projects of this person, and what each is at."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import dry_run_option, examples, json_option, now, words_of
from orchestrator.cli.screen.projects import rows
from orchestrator.errors import NotFound
from orchestrator.files import projects as files
from orchestrator.files.nearness import Near
from orchestrator.files.ownership import find_own_layout
from orchestrator.queries.projects import all_projects
from orchestrator.store import projects as store


def complete_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in words_of(item.name for item in files.listed()) if incomplete in name]


@click.command(
    epilog=examples(
        "orchestrator projects add .",
        "orchestrator projects",
        "orchestrator projects acme-api",
        "orchestrator projects remove acme-api",
        "orchestrator status --all",
    )
)
@click.argument(
    "words", nargs=-1, metavar="[NAME | add DIR | remove NAME]", shell_complete=complete_names
)
@click.option("--name", help="With add: its name. Default: the name of its folder.")
@dry_run_option
@json_option
@click.pass_obj
def command(
    app: App,
    words: tuple[str, ...],
    name: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """List your projects, or those that you name, and their state. add remembers a project, remove
    forgets it; neither touches anything in it.

    Each is a link in $XDG_CONFIG_HOME/orchestrator/projects. When one project uses up the limit of
    a built-in tool, the tool is held in all of them.
    """
    action, more = (words[0], words[1:]) if words[:1] in (("add",), ("remove",)) else ("", words)
    if name is not None and action != "add":
        raise click.UsageError("--name needs: orchestrator projects add")
    if action and len(more) > 1:
        raise click.UsageError(f"orchestrator projects {action} takes one project")
    where = next(iter(more), None)
    if action == "add":
        _add(app, where, name or "", dry_run, as_json)
    elif action == "remove":
        _remove(app, where, dry_run, as_json)
    else:
        _show(app, more, as_json)


def _show(app: App, names: Sequence[str], as_json: bool) -> None:
    wanted = {_known(app, word).name for word in names}
    found = [item for item in all_projects(now()) if not wanted or item.name in wanted]
    if as_json:
        app.console.json("projects", {"projects": [item.as_json() for item in found]})
        return
    app.console.table(rows(app.console, found))
    if not found and app.console.tty:
        app.console.out("no projects yet: orchestrator projects add .")


def _known(app: App, word: str) -> files.Project:
    """The project with this name, or in this folder; `NotFound` if there is none."""
    known = files.listed()
    root = os.path.realpath(os.path.join(app.start, word))
    found = next((item for item in known if item.name == word), None)
    found = found or next((item for item in known if item.root == root), None)
    if found is None:
        near = Near([*(item.name for item in known), "add", "remove"]).close_to(word)
        hint = f"did you mean '{near}'?" if near else "orchestrator projects   lists them"
        raise NotFound(f"there is no project '{word}'", hint)
    return found


def _add(app: App, where: str | None, name: str, dry_run: bool, as_json: bool) -> None:
    layout = find_own_layout(os.path.join(app.start, where or "."))
    if dry_run:
        made = store.chosen(layout, name)
        _told(app, made, None, "added", f"would add {made}: {layout.root}", as_json)
        return
    made = store.add(layout, name)
    _told(app, made, None, "added", f"added {made}: {layout.root}", as_json)


def _remove(app: App, where: str | None, dry_run: bool, as_json: bool) -> None:
    if not where:
        raise click.UsageError("which project? orchestrator projects remove NAME")
    found = _known(app, where)
    if dry_run:
        line = f"would remove {found.name}; {found.root} stays as it is"
        _told(app, found.name, "added", None, line, as_json)
        return
    store.remove(found.name)
    line = f"removed {found.name}; {found.root} stays as it is"
    _told(app, found.name, "added", None, line, as_json)


def _told(
    app: App, name: str, before: str | None, after: str | None, line: str, as_json: bool
) -> None:
    if as_json:
        changed = [{"id": name, "from": before, "to": after}]
        app.console.json("change", {"changed": changed, "refused": []})
    else:
        app.console.out(line)
