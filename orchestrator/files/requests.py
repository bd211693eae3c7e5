"""Opening a task or run file and understanding it: one read through one descriptor, then parse,
then meaning.

`load` never raises for what a file says: problems are in the `Request`. It imports no jsonschema,
so that reading verbs can use it; the watcher and ``validate`` pass ``check``, which is
``files.schemas.check``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.files import aliases, listing, opening, rules, templates
from orchestrator.files.documents import MAX_BYTES, MAX_TASKS, Document, Path, Problem, parse
from orchestrator.files.ownership import allows, ours
from orchestrator.model import chain, contest, foreign, ids, legacy, matrix, meanings, template
from orchestrator.model import run as run_model
from orchestrator.model import task as task_model
from orchestrator.model.status import Status
from orchestrator.model.units import NoSuchValue
from orchestrator.records import dataclass, field, replace

if TYPE_CHECKING:
    from orchestrator.model.run import Run
    from orchestrator.model.task import Task
    from orchestrator.model.template import Find, Template

Check = Callable[..., list[Problem]]
MAX_MADE = 64 << 20  # characters of all tasks that a run makes


class Unreadable(Exception):
    """The file cannot be a task at all; the text says why."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file's bytes and what the open descriptor said of it."""

    raw: bytes
    stat: os.stat_result
    being_written: bool = False

    @property
    def sha256(self) -> str:
        import hashlib  # here: reading verbs do not need it

        return hashlib.sha256(self.raw).hexdigest()


def _nothing(_: str) -> Template | None:
    return None


@dataclass(slots=True)
class Request:
    """A file that asks for something: a task, a run, or only problems."""

    id: str
    path: str
    document: Document
    problems: list[Problem] = field(default_factory=list)
    task: Task | None = None
    run: Run | None = None
    legacy: legacy.Conversion | None = None
    find: Find = _nothing
    files: listing.Files = listing.anything
    lenient: bool = False  # for who only reads: a template that is gone is passed over
    made_of: Mapping[str, Any] | None = None  # what its template made, filled
    # what it asks for by its shape: what breaks rules is nothing to do, and can be judged further
    meant: tuple[Task | None, Run | None] = (None, None)
    absent: bool = False  # it names what is not there, or is not what it should be
    chain: tuple[Any, ...] = ()  # what acts for its task (`tools.routing.Route`), once it is judged

    @property
    def tasks(self) -> list[Task]:
        """What it asks for: one task, or all those of its run."""
        if self.run is not None:
            return self.run.all_tasks()
        return [self.task] if self.task is not None else []

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.warning]

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if not problem.warning]


def read(path: str, leased: bool = False, most: int = MAX_BYTES) -> Content:
    """The bytes of a regular file, never following a link, never blocking on a pipe, at most
    ``most`` bytes.

    With ``leased`` also tell whether somebody has it open for writing. Raises `Unreadable`, or
    OSError if it cannot be opened.
    """
    try:
        fd = opening.descriptor(path)
    except opening.Denied:
        raise
    except opening.NotAFile as error:
        more = "; a task must be a regular file" if error.errno == errno.ELOOP else ""
        raise Unreadable(f"{error.strerror}{more}") from None
    try:
        info = os.fstat(fd)
        if info.st_nlink > 1:  # what is done to it would be done to the other one as well
            raise Unreadable("it has another name somewhere (a hard link); put a copy in its place")
        if info.st_size > most:
            raise Unreadable(
                f"it is larger than {most // 1024} KiB; put long material in files and name them"
            )
        if info.st_uid not in ours() and not allows(path):
            raise Unreadable("it belongs to another user")
        raw = b""
        while chunk := os.read(fd, most + 1 - len(raw)):
            raw += chunk
        return Content(raw, info, leased and _open_for_writing(fd))
    finally:
        os.close(fd)


def _open_for_writing(fd: int) -> bool:
    """Linux refuses a read lease while any descriptor can write to the file.

    Taking the lease makes a writer that opens at this instant wait until it is given back, a few
    microseconds. SIGIO, which would announce that writer, must be ignored by then (the watcher
    does, and `editing.held`).
    """
    import fcntl

    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == 11  # EAGAIN; anything else: leases are not to be had here
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def load(
    path: str,
    task_id: str,
    raw: bytes,
    check: Check | None = None,
    agents: Collection[str] | None = None,
    known: Callable[[str], str] | None = None,
    offered: bool = True,
    parsed: Document | None = None,
    find: Find | None = None,
    files: listing.Files | None = None,
) -> Request:
    """What the bytes of ``path`` ask for.

    ``agents`` are the roles an older-format file may name, ``known`` finds the tasks it depends on
    by what they call themselves (None: those of the same work directory). A file that is
    ``offered`` to be run must not say that it is done. ``parsed`` is a part of a document that is
    read already, instead of ``raw``. ``find`` finds templates (None: those of the same work
    directory, as they are now), ``files`` lists those that a pattern of a run is about (None: those
    of its project, as they are now).
    """
    document = parsed or parse(raw, markdown=path.endswith(".md"))
    request = Request(task_id, path, document, find=find or templates.beside(path))
    request.files = files or listing.beside(path)
    request.lenient = check is None
    why = ids.problem(task_id)
    if why:
        request.problems.append(
            Problem(1, 1, f"the id '{task_id[:60]}' (the file's name) {why}", "rename the file")
        )
    if not isinstance(document.data, Mapping) and not document.body.strip():
        kind = foreign.kind_of_text(document.text)
        if kind is not None:
            request.problems.append(Problem(1, 1, *foreign.not_a_task(kind)))
            return request
    if document.problems:
        request.problems += document.problems
        return request
    request.problems += document.warnings
    data = document.data
    if legacy.is_legacy(data, document.body):
        known = known or (lambda word: aliases.beside(path).find(word))
        request.legacy = legacy.convert(data, document.body, agents, known, task_id)
        data = dict(request.legacy.data)
        if check is not None and offered:
            request.problems += _not_open(document, request.legacy.status)
        places = Document("", data, values=document.values, keys=document.keys)
        _understand(request, data, check, places)  # what it kept stands where it stood
        return request
    if document.body.strip() and isinstance(data, dict):
        if "prompt" in data or "prompt_file" in data:
            request.problems.append(
                document.problem_at(
                    ("prompt",) if "prompt" in data else ("prompt_file",),
                    "the prompt is given twice: here and below the ---",
                    "keep one of them",
                    key=True,
                )
            )
        else:
            data["prompt"] = document.body.strip() + "\n"
    _understand(request, data, check, document)
    return request


def _not_open(document: Document, said: meanings.Said) -> list[Problem]:
    """A file that says it is finished, or shelved, or something nobody knows, is not work to do."""
    status = meanings.status_of(said.word) if said.word else Status.INBOX
    if status is Status.INBOX:
        return []
    means = "which is not a known status" if status is None else f"so it is {status}, not to do"
    hint = "remove the line to run it, or import it with: orchestrator import"
    return [document.problem_at((said.key,), f"it says '{said.shown}', {means}", hint)]


def _understand(request: Request, data: Any, check: Check | None, document: Document) -> None:
    kind = "run" if run_model.is_run(data) else "task"
    if check is not None:
        request.problems += check(kind, document, data)
    if not request.errors and not isinstance(data, dict):
        what, hint = "a task is a mapping, and this file is not one", "write  prompt: ..."
        request.problems.append(document.problem_at((), what, hint))
    if not request.errors:
        try:
            if kind == "run":
                lists = _lists(request, document, data)
                data = listing.filled(data, lists) if lists else data
                request.problems += _size_problems(document, data) or _matrix_problems(
                    document, data
                )
                if not request.errors:
                    request.run = replace(run_model.run_from(request.id, data), listed=lists)
                    _check_run(request, document)
            elif contest.is_contest(data):
                _check_contest(request, document, data)
            else:
                data = _expanded(request, document, data, ())
                notes = request.legacy.notes if request.legacy else ()
                task = task_model.task_from(request.id, data, notes)
                request.task = replace(task, template=request.made_of)
                _check_task(request, document, request.task, ())
        except NoSuchValue as error:
            request.problems.append(document.problem_at(document.place_of(error.value), str(error)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            request.problems.append(document.problem_at((), f"does not fit the schema: {error}"))
        else:
            request.meant = request.task, request.run
    if request.errors:
        request.task = request.run = None


def _expanded(request: Request, document: Document, data: Any, base: tuple[Any, ...]) -> Any:
    """The task with what its template says; as it is if it names none, or one that is not there."""
    name = data.get("use") if isinstance(data, dict) else None
    if not name:
        if isinstance(data, dict) and "with" in data:
            what, hint = "there is no template to use this with", "use: TEMPLATE"
            request.problems.append(document.problem_at((*base, "with"), what, hint, key=True))
        return data
    found = request.find(str(name))
    if found is None and request.lenient:
        return data
    if found is None:
        what = f"there is no template '{str(name)[:60]}'"
        hint = "work/templates has them; is it valid?  orchestrator validate"
        request.problems.append(document.problem_at((*base, "use"), what, hint))
        return data
    given = data.get("with") or {}
    for path, message, hint in template.problems_of(found, given):
        where = (*base, "with", *path) if given else (*base, "use")
        unknown = bool(path) and path[0] not in found.params
        request.problems.append(document.problem_at(where, message, hint, key=unknown))
    if not base:
        request.made_of = template.body_of(found, given)
    return template.merged(found, data)


def _lists(request: Request, document: Document, data: Any) -> dict[tuple[Any, ...], list[str]]:
    """The files that the patterns of a run are about; a pattern that is about none is a problem."""
    found = {}
    asked: dict[str, list[str]] = {}
    for path, _, pattern in listing.patterns(data):
        if pattern not in asked and len(asked) >= listing.MOST_PATTERNS:
            what = f"more than {listing.MOST_PATTERNS} different patterns in one run"
            request.problems.append(document.problem_at(path, what, "make several runs of it"))
            break
        try:
            asked[pattern] = asked.get(pattern) or request.files(pattern)
            found[path] = asked[pattern]
        except listing.CannotList as error:
            request.problems.append(document.problem_at(path, str(error), error.hint))
    return found


def _matrix_problems(document: Document, data: Any) -> list[Problem]:
    listed = data["tasks"] if isinstance(data["tasks"], dict) else {}
    found = [
        document.problem_at(("tasks", key, *path), message, hint)
        for key, body in listed.items()
        for path, message, hint in matrix.problems(body)
    ]
    if found:
        return found
    return [
        document.problem_at(
            ("tasks", key), f"another entry makes the task '{name}' as well", key=True
        )
        for key, name in matrix.twins(listed)
    ]


def _size_problems(document: Document, data: Any) -> list[Problem]:
    """A few lines must not make more than a machine can hold: defaults, values and needs are
    written into every task."""
    tasks, characters = matrix.weight(data)
    hint = "make several runs of it: a run may need another's tasks"
    if tasks > MAX_TASKS:
        what = f"the run makes {tasks:,} tasks, more than {MAX_TASKS:,}"
        return [document.problem_at(("tasks",), what, hint, key=True)]
    if characters > MAX_MADE:
        what = f"its tasks would be {characters >> 20:,} MiB together, more than {MAX_MADE >> 20}"
        return [document.problem_at(("tasks",), what, hint, key=True)]
    return []


def _check_run(request: Request, document: Document) -> None:
    run = request.run
    assert run is not None
    tasks = {
        task_id: task_model.task_from(
            task_id, _expanded(request, document, body, run.place_of(task_id))
        )
        for task_id, body in run.tasks.items()
    }
    mistyped = rules.MistypedNeeds(document, run, tasks)
    for task_id, task in tasks.items():
        path = run.place_of(task_id)
        request.problems += rules.of_id(document, task_id, path, key=True)
        _check_task(request, document, task, path)
        request.problems += mistyped.of(task_id)
    _check_following(request, document, ("defaults",))
    request.problems += rules.of_run(document, run, tasks)
    request.problems = list(dict.fromkeys(request.problems))  # tasks of one matrix share a place
    if not run.tasks:
        request.problems += rules.of_members(document, run)


def _check_task(request: Request, document: Document, task: Task, base: Path) -> None:
    """What a schema cannot say."""
    request.problems += rules.of_task(document, task, base)
    _check_following(request, document, base)
    if not base:
        request.problems += rules.of_prompt(document)


def _check_following(request: Request, document: Document, base: tuple[Any, ...]) -> None:
    """The same of what is to follow: it would be too late to say so when the task has ended."""
    said = document.value_at(base)
    for where, message, hint in chain.problems(said, base):
        request.problems.append(document.problem_at(where, message, hint))
    for where, entry in chain.entries(said, base):
        request.problems += rules.refused(
            document, followed(request, document, entry, where), where
        )


def followed(request: Request, document: Document, entry: Mapping[str, Any], where: Path) -> Task:
    """The task that an entry of ``then``, which stands at ``where``, makes, as far as that can be
    said before its cause has ended."""
    own = {key: entry[key] for key in chain.OWN if key in entry}
    data = _expanded(request, document, own, where)
    if "prompt" not in data and "prompt_file" not in data:
        data = {**data, "prompt": "Go on"}
    return task_model.task_from("next", data)


def _check_contest(request: Request, document: Document, data: Any) -> None:
    for where, message, hint in contest.problems(data):
        request.problems.append(document.problem_at(where, message, hint, key=len(where) == 1))
    if request.errors:
        return
    run = request.run = contest.run_of(request.id, data)
    for place, (task_id, body) in enumerate(run.tasks.items()):
        request.problems += rules.of_id(document, task_id, ("compete", place))
        task = task_model.task_from(task_id, _expanded(request, document, body, ()))
        _check_task(request, document, task, ())
    request.problems = list(dict.fromkeys(request.problems))  # its tasks share all places
