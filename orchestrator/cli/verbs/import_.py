"""``import``: take over task files of an older format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import Choice, dry_run_option, examples
from orchestrator.cli.screen.console import say
from orchestrator.cli.writing import open_config, open_store
from orchestrator.coordination.intake import route_problems
from orchestrator.errors import INVALID, NotFound, Refused
from orchestrator.files import diagnostics, opening, scan, schemas
from orchestrator.files.documents import Document, Problem, parse
from orchestrator.files.layout import SUFFIXES, is_draft, stem_of
from orchestrator.files.requests import Request, Unreadable, load, read
from orchestrator.model import ids
from orchestrator.model.status import Status
from orchestrator.model.units import plural
from orchestrator.store.transitions import Store, task_text
from orchestrator.tools.routing import agent_names

# What a folder, or the file's own status, meant in older work directories.
MEANING = {
    "inbox": Status.INBOX,
    "new": Status.INBOX,
    "todo": Status.INBOX,
    "open": Status.INBOX,
    "assigned": Status.INBOX,
    "in_progress": Status.INBOX,
    "in-progress": Status.INBOX,
    "ready": Status.INBOX,
    "pending": Status.INBOX,
    "blocked": Status.HELD,
    "fridge": Status.HELD,
    "backlog": Status.HELD,
    "held": Status.HELD,
    "paused": Status.HELD,
    "deferred": Status.HELD,
    "on_hold": Status.HELD,
    "done": Status.DONE,
    "completed": Status.DONE,
    "complete": Status.DONE,
    "finished": Status.DONE,
    "error": Status.FAILED,
    "failed": Status.FAILED,
    "cancelled": Status.CANCELLED,
    "canceled": Status.CANCELLED,
    "archive": Status.ARCHIVE,
    "archived": Status.ARCHIVE,
}
FINAL = (Status.DONE, Status.FAILED, Status.CANCELLED, Status.ARCHIVE)


@dataclass(slots=True)
class Fate:
    """What became of one file."""

    path: str
    what: str  # imported, unchanged, invalid, skipped, refused
    text: str = ""
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    document: Document | None = None


@click.command(
    epilog=examples(
        "orchestrator import ../old-project/work --dry-run",
        "orchestrator import old/inbox/*.yaml",
        "orchestrator import old/assigned --to held      # look at them first",
    )
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@click.option(
    "--to",
    type=Choice(["inbox", "held"]),
    help="Where unfinished tasks go. Default: what their folder meant.",
)
@dry_run_option
@click.pass_obj
def command(app: App, paths: tuple[str, ...], to: str | None, dry_run: bool) -> int:
    """Take over task files, single ones or whole folders, and say what became of each.

    Files of today's format are taken as they are.  Of older ones the prompt is built from title, description,
    context, requirements and criteria; agent, priority and dependencies are mapped; all other keys are kept as
    x-<key>.  Finished tasks keep their bytes and go to done/, failed/, cancelled/ or archive/: they are not run.
    """
    config, toolbox = open_config(app)
    agents = agent_names(config, toolbox.tools)
    store = open_store(app)
    fates = []
    files = _files(paths)
    aliases = _aliases([path for path, _ in files])
    for path, base in files:
        fate = _import(
            app,
            store,
            path,
            base,
            agents,
            config,
            toolbox,
            Status(to) if to else None,
            dry_run,
            aliases,
        )
        _print(app, fate)
        fates.append(fate)
    counted = {
        what: sum(fate.what == what for fate in fates)
        for what in ("imported", "unchanged", "invalid", "refused", "skipped")
    }
    say(
        f"{plural(len(fates), 'file')}: "
        + ", ".join(f"{count} {what}" for what, count in counted.items() if count)
        + (" (dry run: nothing was written)" if dry_run else "")
    )
    return INVALID if counted["invalid"] or counted["refused"] else 0


def _files(paths: tuple[str, ...]) -> list[tuple[str, str]]:
    """Every file, with the folder that was named on the command line."""
    found = []
    for path in paths:
        if os.path.isdir(path):
            for folder, folders, names in os.walk(path):
                folders.sort()
                found += [(os.path.join(folder, name), path) for name in sorted(names)]
        elif os.path.lexists(path):
            found.append((path, os.path.dirname(path) or "."))
        else:
            raise NotFound(f"there is no file {path}")
    return found


def _aliases(paths: list[str]) -> dict[str, str]:
    """What files call themselves -> the id they get, which is their name: dependencies may use either."""
    found: dict[str, str] = {}
    for path in paths:
        stem = stem_of(os.path.basename(path))
        try:
            data = parse(read(path).raw, path.endswith(".md")).data if stem else None
        except (Unreadable, OSError):
            continue
        own = data.get("id", data.get("task_id")) if isinstance(data, dict) else None
        if isinstance(own, str):
            found[own] = stem if not ids.problem(stem) else ids.slug(stem, 100)
    return found


def _needs(
    app: App, data: Mapping[str, Any], aliases: Mapping[str, str], notes: list[str]
) -> dict[str, Any]:
    """The task with its needs as the ids that the tasks have here."""
    result = dict(data)
    needs = []
    for need in data.get("needs", ()):
        known = aliases.get(need, need)
        if known != need:
            notes.append(f"needs {need}: that is {known} here")
        elif need not in aliases.values() and scan.locate(app.layout, need) is None:
            notes.append(f"needs {need}, which is not here: it waits until that exists and is done")
        needs.append(known)
    if needs:
        result["needs"] = needs
    return result


def _import(
    app: App,
    store: Store,
    path: str,
    base: str,
    agents: list[str],
    config: Any,
    toolbox: Any,
    to: Status | None,
    dry_run: bool,
    aliases: Mapping[str, str],
) -> Fate:
    name = os.path.basename(path)
    if not name.endswith(SUFFIXES) or is_draft(name):
        return Fate(path, "skipped", "not a task file: its name does not end in .yaml, .yml or .md")
    try:
        raw = read(path).raw
    except (Unreadable, OSError) as error:
        return Fate(
            path,
            "invalid",
            problems=[Problem(1, 1, getattr(error, "strerror", None) or str(error))],
            document=Document(""),
        )
    if name.endswith(".md") and not raw.removeprefix(b"\xef\xbb\xbf").startswith(b"---"):
        return Fate(path, "skipped", "a Markdown file without front matter is no task")
    stem = stem_of(name)
    task_id = stem if not ids.problem(stem) else ids.slug(stem, 100)
    request = load(path, task_id, raw, schemas.check, agents)
    if not request.errors:
        request.problems += route_problems(request, config, toolbox)
    if request.errors:
        return Fate(path, "invalid", problems=request.errors, document=request.document)
    target, notes = _target(path, base, request)
    if to is not None and target in (Status.INBOX, Status.HELD):
        target = to
    if task_id != stem:
        notes.append(f"the id became {task_id}")
    suffix = name[len(stem) :]
    text = request.document.text
    if request.legacy is not None and target not in FINAL:
        notes += request.legacy.notes
        text, suffix = task_text(_needs(app, request.legacy.data, aliases, notes)), ".yaml"
    shown = f"work/{target}/{task_id}{suffix}"
    existing = app.layout.file(target, task_id + suffix)
    if os.path.exists(existing) and opening.read_text(existing) == text:
        return Fate(path, "unchanged", f"{shown} is the same already")
    try:
        if dry_run:
            store.check_free(task_id)
        else:
            store.submit(
                task_id,
                text,
                suffix,
                target,
                "task_imported",
                summary=f"from {os.path.basename(path)}",
            )
    except Refused as error:
        return Fate(path, "refused", error.message, notes)
    return Fate(path, "imported", shown, notes)


def _target(path: str, base: str, request: Request) -> tuple[Status, list[str]]:
    """Where the task belongs: its folder decides, as it did there; a status in the file that disagrees is reported."""
    inside = os.path.relpath(
        os.path.dirname(os.path.abspath(path)), os.path.dirname(os.path.abspath(base))
    )
    folder = next((part for part in reversed(inside.split(os.sep)) if part.lower() in MEANING), "")
    by_folder = MEANING.get(folder.lower())
    said = request.legacy.status if request.legacy else ""
    by_status = MEANING.get(said)
    notes = []
    agree = (
        by_folder is None
        or by_status is None
        or by_folder is by_status
        or (by_folder is Status.ARCHIVE and by_status in FINAL)
    )
    if not agree:
        notes.append(f"its status says '{said}', its folder says '{folder}': the folder counts")
    elif said and by_status is None:
        notes.append(f"its status '{said}' is unknown")
    return by_folder or by_status or Status.INBOX, notes


def _print(app: App, fate: Fate) -> None:
    console = app.console
    shown = os.path.relpath(fate.path)
    shown = fate.path if shown.startswith("../..") else shown
    if fate.what == "invalid":
        console.out(
            diagnostics.render(
                "full", [(shown, fate.document or Document(""), fate.problems)], console.paint
            )
        )
        return
    sign = {"imported": "ok", "unchanged": "note", "skipped": "note", "refused": "problem"}[
        fate.what
    ]
    console.out(
        f"{console.sign(sign)} {fate.what:<9} {shown}"
        + (f" -> {fate.text}" if fate.what == "imported" else f": {fate.text}")
    )
    for note in fate.notes:
        console.out(f"            {note}")
