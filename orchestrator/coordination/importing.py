"""Taking over task files of other formats: what each becomes and where it belongs. Decides; `store`
writes.

Where a task goes: its folder decides, as it did there. Only a file in a folder of open work, or in
one that means nothing, goes by its own status; and a status that nobody knows is held. Nothing that
was finished or shelved becomes work again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from orchestrator.errors import NotFound
from orchestrator.files import aliases as work_aliases
from orchestrator.files import collections, scan, schemas
from orchestrator.files.documents import MAX_BYTES, Document, Problem, parse
from orchestrator.files.layout import Layout, is_draft, stem_of
from orchestrator.files.profiles import leniently
from orchestrator.files.requests import Request, Unreadable, load, read
from orchestrator.model import ids, legacy, names
from orchestrator.model.aliases import Aliases
from orchestrator.model.dependencies import Known
from orchestrator.model.meanings import FINAL, Said, folder_of, plain, status_of
from orchestrator.model.meanings import said as said_of
from orchestrator.model.status import Status
from orchestrator.patterns import regex
from orchestrator.records import dataclass

MANY = 64 << 20  # bytes of a file with many tasks
HISTORY = frozenset(".git .hg .svn .jj".split())
# What package managers and build tools fill, by its name, or by a file in it: of virtual
# environments, and of caches (bford.info/cachedir).
MACHINE_MADE = frozenset(
    "node_modules bower_components site-packages __pycache__ .tox .nox .gradle .terraform".split()
)
MARKS = ("pyvenv.cfg", "CACHEDIR.TAG")


@dataclass(slots=True)
class Source:
    """One task to be: where it stands, what its id will be, its bytes, the folders around it from
    the named one inwards."""

    path: str
    stem: str
    suffix: str
    raw: bytes
    folders: list[str]
    data: Mapping[str, Any] | None = None  # of one of many in a file
    document: Document | None = None
    task_id: str = ""
    inner: list[str] = field(default_factory=list)  # what its subtasks are called

    @property
    def content(self) -> Any:
        """What it says: ``data``, or what is in its document."""
        if self.data is None and self.document:
            return self.document.data
        return self.data

    @property
    def own(self) -> list[object]:
        """What it calls itself."""
        data = self.content
        if not isinstance(data, Mapping):
            return []
        return [
            data[key]
            for key in ("id", "task_id", "key", "x-id")
            if isinstance(data.get(key), (str, int))
        ]


@dataclass(slots=True)
class Fate:
    """What became of one file, or of one task of a file."""

    path: str
    what: str  # imported, unchanged, invalid, skipped, refused
    text: str = ""
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    document: Document | None = None


@dataclass(slots=True)
class Plan:
    """What one source is to become."""

    source: Source
    status: Status
    text: bytes | Mapping[str, Any]
    suffix: str
    notes: list[str]


def files(paths: tuple[str, ...]) -> list[tuple[str, str]]:
    """Every file, in the order in which people count, with the folder that was named on the command
    line."""
    found = []
    for path in paths:
        if os.path.isdir(path):
            for folder, folders, listed in scan.walk(path):
                inner = sorted((name for name in folders if name not in HISTORY), key=_natural)
                made = [name for name in inner if _is_machine_made(os.path.join(folder, name))]
                folders[:] = [name for name in inner if name not in made]
                found += [
                    (os.path.join(folder, name), path)
                    for name in (*made, *sorted(listed, key=_natural))
                ]
        elif os.path.lexists(path):
            found.append((path, os.path.dirname(path) or "."))
        else:
            raise NotFound(f"there is no file {path}")
    return found


def _is_machine_made(folder: str) -> bool:
    """Whether programs fill a folder: nobody keeps tasks there, and there can be 100,000 files."""
    name = os.path.basename(folder)
    return name in MACHINE_MADE or any(os.path.lexists(f"{folder}/{mark}") for mark in MARKS)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """``task-10`` comes after ``task-2``."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def sources(path: str, base: str) -> Iterator[Source | Fate]:
    """The tasks in a file, or why it has none."""
    name, around = os.path.basename(path), _folders(path, base)
    why = _passed_over(path, name, base)
    if why:
        yield Fate(path, "skipped", why)
        return
    try:
        raw = read(path, most=MANY if name.endswith(".json") else MAX_BYTES).raw
    except (Unreadable, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        yield Fate(path, "invalid", problems=[Problem(1, 1, why)], document=Document(""))
        return
    if name.endswith(".json"):
        yield from _from_json(path, raw, around)
        return
    many = [] if name.endswith(".md") else collections.listed_in_yaml(raw)
    if many:
        yield from _of_many(path, many, around)
        return
    stem = stem_of(name)
    yield Source(path, stem, name[len(stem) :], raw, around, document=_parse(raw, name))


def _passed_over(path: str, name: str, base: str) -> str:
    if os.path.isdir(path):
        return "programs fill this folder; name it to import from it all the same"
    if names.is_copy(name):
        return f"it looks like a copy: {names.copy_of(name)}"
    stem = name.removesuffix(".json") if name.endswith(".json") else stem_of(name)
    if not stem or is_draft(name):
        return "not a task file: its name does not end in .yaml, .yml, .md or .json"
    if name.endswith(".md") and plain(stem) in collections.NOT_TASKS:
        return "it describes the tasks and is not one"
    above, parts = os.path.dirname(os.path.abspath(path)), [name]
    for _ in range(len(_folders(path, base)) + 1):
        if parts[-1] in collections.BACKLOG_OTHERS and collections.backlog_root(above):
            return "Backlog.md keeps no tasks there"
        parts.append(os.path.basename(above))
        above = os.path.dirname(above)
    return ""


def _folders(path: str, base: str) -> list[str]:
    """The folders around a file, from the named one inwards; of a Backlog.md folder, those in
    it."""
    folder = os.path.dirname(os.path.abspath(path))
    inside = os.path.relpath(folder, os.path.dirname(os.path.abspath(base))).split(os.sep)
    top = os.path.dirname(os.path.abspath(base))
    for number, _ in enumerate(inside):
        if collections.backlog_root(os.path.join(top, *inside[: number + 1])):
            return inside[number + 1 :]
    return inside


def _parse(raw: bytes, name: str) -> Document:
    """The document; front matter that is no YAML is taken line by line, Markdown without any is a
    prompt."""
    markdown = name.endswith(".md")
    if markdown and not raw.removeprefix(b"\xef\xbb\xbf").startswith(b"---"):
        return parse(b"---\n---\n" + raw.removeprefix(b"\xef\xbb\xbf"), markdown=True)
    document = parse(raw, markdown)
    return leniently(document) if markdown and document.problems else document


def _from_json(path: str, raw: bytes, around: list[str]) -> Iterator[Source | Fate]:
    try:
        many = collections.listed(collections.read_json(raw))
    except ValueError as error:
        place = (getattr(error, "lineno", 1), getattr(error, "colno", 1))
        text = Document(raw.decode("utf-8", "replace"))
        yield Fate(
            path, "invalid", problems=[Problem(*place, f"not valid JSON: {error}")], document=text
        )
        return
    if not many:
        yield Fate(path, "skipped", "there is no list of tasks in it")
        return
    yield from _of_many(path, many, around)


def _of_many(
    path: str, many: list[tuple[str, Mapping[str, Any]]], around: list[str]
) -> Iterator[Source]:
    several = len({tag for tag, _ in many}) > 1
    for number, (tag, task) in enumerate(many, 1):
        stem = collections.stem_for(tag, task, number)
        shown, data = f"{path}#{task.get('id', number)}", _scoped(tag if several else "", task)
        inner = collections.subtasks_of({**task, "id": data.get("id")})
        yield Source(shown, stem, ".yaml", b"", around, data, inner=inner)


def _scoped(tag: str, task: Mapping[str, Any]) -> dict[str, Any]:
    """A task of one list among several, which has a ``tag``: ids in it mean tasks of the same
    list."""
    result = collections.without_done(task)
    if tag:
        prefix = ids.slug(tag, 60)
        for key in ("id", "dependencies"):
            value = result.get(key)
            if isinstance(value, list):
                result[key] = [
                    f"{prefix}__{item}" for item in value if isinstance(item, (str, int))
                ]
            elif isinstance(value, (str, int)):
                result[key] = f"{prefix}__{value}"
    return result


def name_all(found: list[Source]) -> Aliases:
    """Give every source its id, and return by which names they can be meant; finished ones come
    first."""
    taken: set[str] = set()
    for source in found:
        good = source.stem if not ids.problem(source.stem) else ids.slug(source.stem, 100)
        number, task_id = 1, good
        while ids.key(task_id) in taken and source.data is not None:
            number, task_id = number + 1, f"{good}-{number + 1}"
        taken.add(ids.key(task_id))
        source.task_id = task_id
    result = Aliases()
    for source in sorted(found, key=lambda source: folder_of(source.folders)[0] not in FINAL):
        result.add(source.task_id, source.stem, [*source.own, *source.inner])
    return result


def known_to(result: Aliases, layout: Layout) -> Known:
    """Finds a task by any of its names: among those that come now, then among those that are
    here."""
    here = work_aliases.beside(f"{layout.work}/inbox/x")
    return lambda word: result.find(word) or here.find(word)


def plan(source: Source, known: Known, agents: list[str] | None, to: Status | None) -> Plan | Fate:
    """What the source becomes, or why it cannot."""
    status, notes = _status_of(source)
    if status in FINAL and source.data is None:
        return Plan(source, status, source.raw, source.suffix, notes)
    if to is not None and status not in FINAL:
        status = to
    request = understand(source, known, agents)
    if request.errors:
        return Fate(source.path, "invalid", problems=request.errors, document=request.document)
    if source.task_id != source.stem:
        notes.append(f"the id became {source.task_id}")
    if request.legacy is None:
        return Plan(source, status, source.raw, source.suffix, notes)
    notes += request.legacy.notes
    if slips := _slips(source):
        status = Status.HELD if to is None and status is Status.INBOX else status
        notes += [*slips, "what is misspelt is text for its agent" + ": it is held" * (to is None)]
    return Plan(source, status, request.legacy.data, ".yaml", notes)


def _slips(source: Source) -> list[str]:
    """The misspelt keys of a file that is not clearly another program's: read as such it is bound by
    none of them."""
    document = source.document
    if document is None or legacy.is_legacy(document.data, document.body):
        return []
    found = schemas.check("task", document)
    return [
        f"line {problem.line}: {problem.message} - {problem.hint}"
        for problem in found
        if problem.hint.startswith("did you mean") and problem.message.startswith("unknown key")
    ]


def understand(source: Source, known: Known, agents: list[str] | None) -> Request:
    """The source as today's program reads it, and if that cannot be, as a file of another
    program."""
    path = f"{source.task_id}{source.suffix}"
    if source.data is not None:
        return _converted(source, dict(source.data), Document(""), known, agents)
    request = load(path, source.task_id, source.raw, schemas.check, agents, known, offered=False)
    document = source.document
    bare = document is not None and _is_bare(document)
    if document is None or document.problems or not (request.errors or bare):
        return request
    if _is_ours(document.data):
        return request
    heading = re.match(r"\s*#+[ \t]+(.+)", document.body)
    data = document.data
    if bare:
        data = {"title": heading[1].strip()} if heading else {}
    if not legacy.can_convert(data, document.body):
        return request
    again = _converted(source, dict(data), document, known, agents)
    return request if again.errors else again


def _converted(
    source: Source, data: dict[str, Any], document: Document, known: Known, agents: list[str] | None
) -> Request:
    request = Request(source.task_id, source.path, document)
    body = _below(document.body, data)
    request.legacy = legacy.convert(data, body, agents, known, source.task_id)
    made = dict(request.legacy.data)
    request.problems += schemas.check("task", Document("", made), made)
    return request


def _is_ours(data: Any) -> bool:
    """Whether a file has a prompt and no key of another program: then what is wrong with its values
    is wrong, as it is in the inbox."""
    if not isinstance(data, Mapping) or not {"prompt", "prompt_file"} & set(data):
        return False
    known = schemas.schema("task")["properties"]
    return all(key in known or str(key).startswith("x-") for key in data)


def _is_bare(document: Document) -> bool:
    """Markdown without any key."""
    return document.data in (None, {}) and bool(document.body.strip())


_BOX = regex(r"(?m)^[ \t]*(?:[-*+]|\d+[.)])[ \t]+\[([ xX✓✔-])\][ \t]")


def _boxes(source: Source) -> list[str]:
    """What is in the boxes of plain Markdown, in order."""
    document = source.document
    return _BOX.findall(document.body) if document is not None and _is_bare(document) else []


def _below(body: str, data: Mapping[str, Any]) -> str:
    """The text without the heading that is the title already."""
    title = data.get("title")
    head = re.match(r"\s*#+[ \t]+(.+)\n?", body)
    return body[head.end() :] if head and title and head[1].strip() == title else body


def _status_of(source: Source) -> tuple[Status, list[str]]:
    """Where the task belongs, and what a person may want to know about that."""
    by_folder, folder = folder_of(source.folders)
    data = source.content
    found = said_of(data) if isinstance(data, Mapping) else Said()
    said, by_status = found.text, status_of(found.word) if found.word else None
    what = "status" if plain(found.key) in ("status", "state") else f"key '{found.key}'"
    if by_folder is not None and by_folder is not Status.INBOX:
        agree = by_status in (None, by_folder) or (
            by_folder is Status.ARCHIVE and by_status in FINAL
        )
        if said and by_status is None:
            return by_folder, [f"its {what} '{said}' is unknown"]
        return by_folder, [] if agree else [
            f"its {what} says '{said}', its folder says '{folder}': the folder counts"
        ]
    if said and by_status is None:
        return Status.HELD, [f"its {what} '{said}' is unknown: it is held"]
    if not said and (boxes := _boxes(source)):
        done = sum(box != " " for box in boxes)
        if done == len(boxes):
            return Status.HELD, ["all its boxes are checked: it is held"]
        if len(boxes) > 1:
            some = f"its {len(boxes)} boxes, {done} of them checked, are one task"
            return by_folder or Status.INBOX, [f"{some}; to have one for each, write a run"]
    if by_status is not None and by_status is not Status.INBOX:
        note = f"its {what} says '{said}', its folder says '{folder}': it is not run again"
        return by_status, [note] if folder else []
    return by_status or by_folder or Status.INBOX, []


def hold_twins(plans: list[Plan]) -> None:
    """A task that calls itself as one that is finished, shelved, or comes before it, is not offered
    beside it: it is held."""
    first: dict[str, Plan] = {}
    for item in sorted(plans, key=lambda item: item.status is Status.INBOX):
        names_ = {str(own).lower() for own in (*item.source.own, item.source.stem)}
        twin = next((first[name] for name in names_ if name in first), None)
        if twin is not None and item.status is Status.INBOX:
            item.status = Status.HELD
            there = os.path.relpath(twin.source.path)
            item.notes.append(f"it has the id of {there}, which goes to {twin.status}/: it is held")
        for name in names_:
            first.setdefault(name, item)
