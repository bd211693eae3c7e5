"""``import``: import task files of an older format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import Choice, dry_run_option, examples, json_option
from orchestrator.cli.screen.console import say
from orchestrator.cli.writing import open_config, open_store
from orchestrator.coordination import importing
from orchestrator.coordination.importing import Fate, Plan, Source
from orchestrator.errors import INVALID
from orchestrator.files import diagnostics, opening, scan, schemas
from orchestrator.files.documents import Document
from orchestrator.files.layout import stem_of
from orchestrator.files.requests import load
from orchestrator.model.config import Config
from orchestrator.model.meanings import FINAL
from orchestrator.model.status import Status
from orchestrator.model.units import plural
from orchestrator.store.submitting import Submission, submit_all
from orchestrator.store.yamltext import task_text
from orchestrator.tools.judging import route_problems
from orchestrator.tools.routing import agent_names
from orchestrator.tools.specs import Toolbox

ORDER = (*sorted(FINAL), Status.HELD, Status.INBOX)


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
@json_option
@click.pass_obj
def command(app: App, paths: tuple[str, ...], to: str | None, dry_run: bool, as_json: bool) -> int:
    """Import task files, single ones or whole folders, and report what became of each.

    Files in the current format are copied unchanged. From other formats, import builds a prompt of
    all their text, maps agent, priority and dependencies, and keeps bookkeeping keys as x-<key>.
    It also reads plain Markdown (the text is the prompt), Taskmaster's tasks.json and the folders
    of Backlog.md. Finished tasks keep their bytes, go to done/, failed/, cancelled/ or archive/,
    and never run. A task with an unknown status is held.
    """
    config, toolbox = open_config(app)
    store = open_store(app, dry_run)
    found = [
        item for path, base in importing.files(paths) for item in importing.sources(path, base)
    ]
    coming = [item for item in found if isinstance(item, Source)]
    known = importing.known_to(importing.name_all(coming), app.layout)
    agents = agent_names(config, toolbox.tools)
    target = Status(to) if to else None
    outcome: dict[int, Plan | Fate] = {
        number: importing.plan(item, known, agents, target) if isinstance(item, Source) else item
        for number, item in enumerate(found)
    }
    plans = {number: item for number, item in outcome.items() if isinstance(item, Plan)}
    if to is None:
        importing.hold_twins(list(plans.values()))
    ids_ = {item.source.task_id for item in plans.values()}
    fates = {number: item for number, item in outcome.items() if isinstance(item, Fate)}
    # Finished ones first: what has their id is not offered, even for a moment.
    coming_: dict[int, Submission] = {}
    for number in sorted(plans, key=lambda number: (ORDER.index(plans[number].status), number)):
        made = _submission(app, plans[number], ids_, config, toolbox)
        if isinstance(made, Fate):
            fates[number] = made
        else:
            coming_[number] = made
    submit_all(store, list(coming_.values()), "task_imported")
    fates |= {number: _fate(plans[number], item) for number, item in coming_.items()}
    if as_json:
        _document(app, [fates[number] for number in sorted(fates)])
    else:
        for number in sorted(fates):
            _print(app, fates[number])
    counted = {
        what: sum(fate.what == what for fate in fates.values())
        for what in ("imported", "unchanged", "invalid", "refused", "skipped")
    }
    told = ", ".join(f"{count} {what}" for what, count in counted.items() if count)
    say(
        (f"{plural(len(fates), 'file')}: {told}" if fates else "there is nothing to import")
        + (" (dry run: nothing was written)" if dry_run else "")
    )
    return INVALID if counted["invalid"] or counted["refused"] else 0


def _submission(
    app: App, plan: Plan, coming: set[str], config: Config, toolbox: Toolbox
) -> Submission | Fate:
    """What is to be written, or what has become of it: it is invalid, or it exists already."""
    source = plan.source
    raw = (
        plan.text if isinstance(plan.text, bytes) else task_text(_here(app, plan, coming)).encode()
    )
    if plan.status not in FINAL:
        request = load(
            f"{source.task_id}{plan.suffix}", source.task_id, raw, schemas.check, offered=False
        )
        if not request.errors:
            request.problems += route_problems(request, config, toolbox)
        if request.errors:
            problems, document = request.errors, request.document
            return Fate(source.path, "invalid", problems=problems, document=document)
    existing = app.layout.file(plan.status, source.task_id + plan.suffix)
    if os.path.exists(existing) and opening.read_bytes(existing) == raw:
        return Fate(source.path, "unchanged", f"{_shown(plan)} is already the same")
    summary = f"from {os.path.basename(source.path)}"
    return Submission(source.task_id, raw, plan.suffix, plan.status, summary)


def _fate(plan: Plan, item: Submission) -> Fate:
    """What has become of it: in a rehearsal it would be written."""
    if item.refused is not None:
        return Fate(plan.source.path, "refused", item.refused.message, plan.notes)
    return Fate(plan.source.path, "imported", _shown(plan), plan.notes)


def _shown(plan: Plan) -> str:
    return f"work/{plan.status}/{plan.source.task_id}{plan.suffix}"


def _here(app: App, plan: Plan, coming: set[str]) -> Mapping[str, Any]:
    """The task as it will be; a need that is nowhere is told of."""
    assert not isinstance(plan.text, bytes)
    for need in plan.text.get("needs", ()):
        if need not in coming and scan.locate(app.layout, need) is None:
            plan.notes.append(
                f"needs {need}, which is not here: it waits until that exists and is done"
            )
    return plan.text


def _document(app: App, fates: list[Fate]) -> None:
    changed = []
    for fate in fates:
        if fate.what == "imported":
            folder, _, name = fate.text.removeprefix("work/").partition("/")
            to = Status(folder).word
            changed.append({"id": stem_of(name), "from": None, "to": to, "file": fate.path})
    refused = [
        {"id": fate.path, "why": fate.text or "; ".join(str(p.message) for p in fate.problems)}
        for fate in fates
        if fate.what in ("invalid", "refused")
    ]
    app.console.json("change", {"changed": changed, "refused": refused})


def _print(app: App, fate: Fate) -> None:
    console = app.console
    shown = os.path.relpath(fate.path)
    shown = fate.path if shown.startswith("../..") else shown
    if fate.what == "invalid":
        console.block(
            diagnostics.render(
                "full",
                [(shown, fate.document or Document(""), fate.problems)],
                console.paint,
                console.width,
            )
        )
        return
    sign = {"imported": "ok", "unchanged": "note", "skipped": "note", "refused": "problem"}[
        fate.what
    ]
    console.hang(
        f"{console.sign(sign)} {fate.what:<9} ",
        shown + (f" -> {fate.text}" if fate.what == "imported" else f": {fate.text}"),
    )
    for note in fate.notes:
        console.hang(" " * 12, note)
