"""``work/schedules/*.yaml``: what is made again and again.  Settings, and trusted like them; one
that is wrong is left out, alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from orchestrator.files import documents, listing, opening, requests, templates
from orchestrator.files.layout import Layout, is_draft, stem_of
from orchestrator.files.scan import settings_names
from orchestrator.model import ids
from orchestrator.model import schedule as schedule_model
from orchestrator.records import dataclass

if TYPE_CHECKING:
    from orchestrator.files.requests import Check
    from orchestrator.model.schedule import Schedule
    from orchestrator.model.template import Find

ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class ScheduleFile:
    """What one file says; ``schedule`` is None if it has problems."""

    name: str
    path: str
    document: documents.Document
    schedule: Schedule | None = None
    problems: tuple[documents.Problem, ...] = ()


def load_schedules(
    layout: Layout, check: Check | None = None, folder: str = ""
) -> list[ScheduleFile]:
    """Every schedule in ``work/schedules`` (or the folder below it), those with problems
    included."""
    place = f"{layout.schedules}/{folder}" if folder else layout.schedules
    return [
        _load(f"{place}/{name}", stem_of(name), check)
        for name in settings_names(place)
        if name.endswith(ENDINGS) and not is_draft(name)
    ]


def _load(path: str, name: str, check: Check | None) -> ScheduleFile:
    try:
        document = documents.parse(opening.read_bytes(os.path.realpath(path), 1 << 20))
    except OSError as error:
        why = error.strerror or str(error)
        return ScheduleFile(
            name, path, documents.Document(""), problems=(documents.Problem(1, 1, why),)
        )
    problems = list(document.problems) or (check("schedule", document) if check else [])
    if not problems:
        problems = _meaning(document, name, check, templates.beside(path.replace("/held/", "/")))
    if problems:
        return ScheduleFile(name, path, document, problems=tuple(problems))
    return ScheduleFile(name, path, document, schedule_model.schedule_from(name, document.data))


def _meaning(
    document: documents.Document, name: str, check: Check | None, find: Find
) -> list[documents.Problem]:
    """What a schema cannot say."""
    why = ids.problem(f"{name}-20260101T0000")
    if why:
        return [documents.Problem(1, 1, f"the name '{name[:60]}' {why}", "rename the file")]
    data = document.data if isinstance(document.data, dict) else {}
    if ("cron" in data) == ("every" in data):
        hint = "keep one of them" if "cron" in data else 'write  cron: "0 3 * * 1-5"  or  every: 6h'
        return [
            document.problem_at(("every",), "a schedule has either cron or every", hint, key=True)
        ]
    try:
        schedule_model.schedule_from(name, data)
    except (ValueError, KeyError, TypeError) as error:
        key = next(
            (key for key in ("cron", "tz", "every") if key in data and _blames(key, data)), "task"
        )
        return [document.problem_at((key,), str(error))]
    return _of_task(document, name, check, find)


def _blames(key: str, data: dict[str, Any]) -> bool:
    """Whether this key alone is what is wrong."""
    try:
        schedule_model.schedule_from("x", {"every": "6h", "task": {}, key: data[key]})
    except ValueError:
        return True
    return False


def _of_task(
    document: documents.Document, name: str, check: Check | None, find: Find
) -> list[documents.Problem]:
    """The problems of what it makes, at their places in this file."""
    if "use" in document.data and "task" in document.data:
        what, hint = "a schedule has either task or use", "put use: in task:"
        return [document.problem_at(("use",), what, hint, key=True)]
    return made(name, document, check, find).errors


def made(
    name: str, document: documents.Document, check: Check | None, find: Find
) -> requests.Request:
    """What a schedule makes, as if it were a file of the inbox; which files a pattern is about is
    asked when its time has come."""
    task_id = f"{name}-20260101T0000"
    files, body = listing.anything, _body(document)
    return requests.load(f"{name}.yaml", task_id, b"", check, parsed=body, find=find, files=files)


def _body(document: documents.Document) -> documents.Document:
    """The part of a schedule that is a task or a run, at its places in this file."""
    if "use" in document.data:
        body = schedule_model.body_of(document.data)
        return documents.Document(document.text, body, values=document.values, keys=document.keys)
    return documents.Document(
        document.text,
        document.data["task"],
        values={path[1:]: span for path, span in document.values.items() if path[:1] == ("task",)},
        keys={
            path[1:]: span
            for path, span in document.keys.items()
            if len(path) > 1 and path[0] == "task"
        },
    )
