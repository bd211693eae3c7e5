"""What a run's tasks add up to, derived at every read."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from orchestrator.errors import NotFound
from orchestrator.files import contests, eventreader, results, runrecords, scan
from orchestrator.files.layout import Layout, stem_of
from orchestrator.model import gates
from orchestrator.model.status import WAITING, RunStatus, Status, run_status
from orchestrator.queries import tasks, whereabouts, world
from orchestrator.queries.rows import Row, finished_row, waiting_row
from orchestrator.records import dataclass

if TYPE_CHECKING:
    from orchestrator.model.run import Run

MOST_NEEDED = 2000  # tasks that are looked at to tell whether one can ever start


@dataclass(slots=True)
class RunView:
    """A run and its tasks; ``rows`` has a row for each member, status ``missing`` for one that is
    nowhere."""

    id: str
    title: str
    status: RunStatus
    rows: list[Row]
    max_parallel: int | None = None
    on_failure: str = "continue"
    folder: str = runrecords.RUNS  # where its file lies
    branch: str = ""  # of its own, if its tasks have trees

    @property
    def done(self) -> int:
        return sum(row.status == "done" for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "status": str(self.status),
            "done": self.done,
            "total": len(self.rows),
            "folder": self.folder,
            "branch": self.branch or None,
            "tasks": [row.as_json() for row in self.rows],
        }


class _Look:
    """What the views of one moment have in common, read once however many runs there are."""

    def __init__(self, layout: Layout, now: float) -> None:
        self.layout, self.now = layout, now
        self.known = world.Known(layout, now)

    @cached_property
    def active(self) -> dict[str, Row]:
        """The rows of what runs, by id."""
        return {row.id: row for row in tasks.running(self.layout, self.now, self.known)}


def all_runs(layout: Layout, now: float) -> list[RunView]:
    """Every accepted run."""
    look = _Look(layout, now)
    named: dict[str, list[str]] = {}
    for run_id, task_id in (*_told(layout, None), *_written(layout)):
        named.setdefault(run_id, []).append(task_id)
    return [
        view
        for run_id, name in runrecords.listed(layout)
        if (view := _view_of(look, run_id, name, named.get(run_id, ()))) is not None
    ]


def view_of(layout: Layout, run_id: str, name: str, now: float) -> RunView | None:
    """One run; None if its file cannot be read as one."""
    return _view_of(_Look(layout, now), run_id, name)


def _view_of(
    look: _Look, run_id: str, name: str, named: Iterable[str] | None = None
) -> RunView | None:
    """`view_of`. ``named``: the tasks that name it, if that is known."""
    layout = look.layout
    folder, _ = runrecords.place(layout, run_id) or (runrecords.RUNS, name)
    request = world.request_of(layout, folder, name)
    if request is None or request.run is None:
        return RunView(run_id, "its file cannot be read", RunStatus.FAILED, [])
    run = request.run
    ids = members(layout, run) if named is None else list(dict.fromkeys((*run.members, *named)))
    view = _view(look, run, ids)
    view.folder = str(folder)
    contest = contests.known(layout, run_id)
    if contest is not None and contest.winner:
        view.status = RunStatus.DONE  # whatever became of the others
    branch = runrecords.known(layout, run_id)
    view.branch = branch.branch if branch is not None else ""
    return view


def members(layout: Layout, run: Run) -> list[str]:
    """Ids of its tasks: those its file lists, and those that name the run in their own file."""
    found = dict.fromkeys((*run.members, *(task_id for _, task_id in _told(layout, run.id))))
    found.update({task_id: None for run_id, task_id in _written(layout, found) if run_id == run.id})
    return list(found)


def _told(layout: Layout, run_id: str | None) -> Iterator[tuple[str, str]]:
    """The run, or each one (None), and a task that an event names with it."""
    for event in eventreader.about(layout, "run_id", run_id):
        if event.get("task_id"):
            yield event["run_id"], event["task_id"]


def _written(layout: Layout, known: Container[str] = ()) -> Iterator[tuple[str, str]]:
    """A run, and a waiting task whose own file names it; those that are ``known`` are not read."""
    for status in WAITING:
        for task_id, name in scan.task_names(layout.folder(status)):
            request = world.request_of(layout, status, name) if task_id not in known else None
            if request is not None and request.task is not None and request.task.run:
                yield request.task.run, task_id


def _view(look: _Look, run: Run, ids: list[str]) -> RunView:
    layout = look.layout
    rows: list[Row] = []
    facts: list[tuple[Status | None, bool]] = []
    never: dict[str, bool] = {}
    for task_id in ids:
        place = scan.locate(layout, task_id)
        stuck = False
        if place is None:
            rows.append(Row(task_id, "missing", "", detail="withdrawn, or not created yet"))
            facts.append((None, False))
            continue
        status, name = place
        if status in WAITING:
            row = waiting_row(layout, status, name, look.now, look.known)
            stuck = "stuck" in row.flags or _never(layout, name, status, never)
        elif status is Status.RUNNING:
            row = look.active.get(task_id) or Row(
                task_id, "running", layout.shown(layout.file(status, name))
            )
        else:
            row = finished_row(layout, task_id, status, name, results.read(layout, task_id))
            if status is Status.ARCHIVE:
                status = results.status_of(layout, task_id) or Status.DONE
        rows.append(row)
        facts.append((status, stuck))
    return RunView(run.id, run.title, run_status(facts), rows, run.max_parallel, run.on_failure)


def _never(layout: Layout, name: str, status: Status, known: dict[str, bool]) -> bool:
    """Whether a waiting task can never start by itself: something it needs, directly or not, has
    failed.

    ``known`` are the answers so far: many tasks may need the same ones, and each is looked at once.
    """
    waiting = [(name, status)]
    seen: set[str] = set()
    while waiting and len(seen) < MOST_NEEDED:
        name, status = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        request = world.request_of(layout, status, name)
        if request is None or request.task is None:
            continue
        task = request.task
        where = partial(results.status_of, layout)
        for gate in gates.need_gates(
            task.needs, where, task.ends, partial(results.unmerged, layout)
        ):
            place = scan.locate(layout, gate.on, (Status.INBOX,)) if gate.on else None
            if gate.stuck or (place is not None and known.get(place[1])):
                known[name] = True
                return True
            if place is not None and place[1] not in known:
                waiting.append((place[1], place[0]))
    known.update(dict.fromkeys(seen, False))
    return False


def meant(layout: Layout, word: str) -> tuple[str, str] | None:
    """``(id, file name)`` of the accepted run that ``word`` means; None if it means a task, or
    nothing.

    A whole name comes before a part of one, and of two equal ones the task's before the run's.
    """
    known = find_run(layout, word)
    if known is None:
        return None
    try:
        task_id, *place = whereabouts.find(layout, word)
    except NotFound:
        return known
    if tuple(place) == runrecords.place(layout, known[0]):
        return known  # its own file, in review/ or where a person has put it
    return known if known[0] == word != task_id else None


def find_run(layout: Layout, word: str) -> tuple[str, str] | None:
    """``(id, file name)`` of the one run that ``word`` names; None if none does."""
    known = runrecords.listed(layout)
    word = stem_of(word) or word
    exact = [item for item in known if item[0] == word]
    partial = [item for item in known if word in item[0]]
    found = exact or partial
    return found[0] if exact or len(found) == 1 else None
