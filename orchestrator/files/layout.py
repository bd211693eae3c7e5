"""The one place that knows paths.

``root`` is the project (the folder that holds ``work/``); everything else follows from it. The
on-disk format is described in docs/reference/on-disk-format.md.
"""

from __future__ import annotations

import os

from orchestrator.errors import Unusable
from orchestrator.model import ids
from orchestrator.model.names import NOTE as NOTE
from orchestrator.model.names import SUFFIXES as SUFFIXES
from orchestrator.model.names import is_draft as is_draft
from orchestrator.model.names import stem_of as stem_of
from orchestrator.model.status import FOLDERS, Status
from orchestrator.records import dataclass, field

WORK = "work"
CANCEL = ".cancel"  # a request: stop the running task this is named after
FOLDER_NAMES = (*(str(status) for status in FOLDERS), "runs", "results", "events", "logs")
ARTIFACTS, OWN = (
    "artifacts",
    "tool",
)  # below an attempt's logs: what the task leaves, and {run_dir} of its tool
ASKED, ANSWERS = (
    "asked",
    "answers",
)  # the same: what its tool asks while it runs, and what it is told
WORDS = "words"  # the same: what a tool reads while it runs
STATE_FOLDERS = ("active", "closed", "cancel", "dropped", "expanding", "following", "log", "tmp")


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one work directory. All are absolute strings: they are made and compared very
    often."""

    root: str
    work: str = field(init=False)
    state: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "work", os.path.join(self.root, WORK))
        object.__setattr__(self, "state", os.path.join(self.root, WORK, ".state"))

    @property
    def own(self) -> tuple[str, str]:
        """What this machine alone writes, and believes: git must track nothing below these."""
        return self.state, f"{self.work}/logs"

    def folder(self, name: str | Status) -> str:
        return f"{self.work}/{name}"

    def file(self, folder: str | Status, name: str) -> str:
        return f"{self.work}/{folder}/{name}"

    @property
    def config(self) -> str:
        return f"{self.work}/orchestrator.yaml"

    @property
    def asks(self) -> str:
        """Questions of agents that wait for a person while they run."""
        return f"{self.work}/asks"

    @property
    def agents(self) -> str:
        """Profiles of agents, in Markdown."""
        return f"{self.work}/agents"

    @property
    def tools(self) -> str:
        return f"{self.work}/tools"

    @property
    def schedules(self) -> str:
        """What is made again and again; those in ``held/`` below it are not."""
        return f"{self.work}/schedules"

    @property
    def templates(self) -> str:
        """Tasks with parameters."""
        return f"{self.work}/templates"

    def schedule_state(self, name: str) -> str:
        """How far a schedule has come: JSON."""
        return f"{self.state}/schedules/{name}.json"

    @property
    def events(self) -> str:
        return f"{self.work}/events"

    @property
    def active(self) -> str:
        """Journals of tasks that are claimed and not finished."""
        return f"{self.state}/active"

    @property
    def closed(self) -> str:
        """Journals of tasks that have run here before."""
        return f"{self.state}/closed"

    @property
    def watcher_lock(self) -> str:
        return f"{self.state}/watcher.lock"

    @property
    def watcher_card(self) -> str:
        """Who watches, since when, with what: JSON, rewritten by the watcher, its mtime is the
        heartbeat."""
        return f"{self.state}/watcher.json"

    @property
    def refusal(self) -> str:
        """Why the settings kept the last watcher, or `run`, from starting anything: a line of
        text."""
        return f"{self.state}/refusal"

    @property
    def writer(self) -> str:
        """The name of this clone in its event files."""
        return f"{self.state}/writer"

    def journal(self, task_id: str, closed: bool = False) -> str:
        return f"{self.closed if closed else self.active}/{ids.key(task_id)}.jsonl"

    def cancel_request(self, task_id: str) -> str:
        return f"{self.state}/cancel/{ids.key(task_id)}"

    def expanding(self, run_id: str) -> str:
        """Task files of a run that is being accepted, before they are in the inbox."""
        return f"{self.state}/expanding/{run_id}"

    def following(self, task_id: str) -> str:
        """Task files that follow from the end of a task, before they are in the inbox."""
        return f"{self.state}/following/{ids.key(task_id)}"

    def result(self, task_id: str) -> str:
        return f"{self.work}/results/{task_id}.yaml"

    def plan(self, task_id: str) -> str:
        return f"{self.work}/results/{task_id}.plan.md"

    def note(self, task_id: str) -> str:
        return f"{self.work}/inbox/{task_id}{NOTE}"

    def logs(self, task_id: str, attempt: int | None = None) -> str:
        base = f"{self.work}/logs/{task_id}"
        return base if attempt is None else f"{base}/{attempt}"

    @property
    def trees(self) -> str:
        """Where tasks have trees of their own."""
        return f"{self.work}/trees"

    def tree(self, task_id: str) -> str:
        return f"{self.work}/trees/{task_id}"

    def shown(self, path: str) -> str:
        """A path as people see it: relative to the project."""
        return path.removeprefix(self.root + os.sep)


def find_layout(start: str | None = None) -> Layout:
    """The work directory of ``start`` or of the nearest folder above it, as git finds its own.

    Raises `Unusable` if there is none.
    """
    given = os.path.abspath(start or os.getcwd())
    folder = outside_trees(given)
    while True:
        if os.path.isfile(os.path.join(folder, WORK, "orchestrator.yaml")):
            return Layout(folder)
        parent = os.path.dirname(folder)
        if parent == folder:
            raise _no_work(given, start)
        folder = parent


def _no_work(given: str, start: str | None) -> Unusable:
    import shlex  # here: only who is lost pays for it

    if not os.path.isdir(given):
        return Unusable(f"{given} is not a folder")
    how = "orchestrator init   makes one here"
    if start is not None and given != os.getcwd():
        how = f"orchestrator -C {shlex.quote(start)} init   makes one there"
    return Unusable(f"no work directory in {given} or above it", how)


def outside_trees(path: str) -> str:
    """The project that a path belongs to: for one inside a task's tree that is where the tree was
    made, whatever copy of ``work/`` is in it; any other path is as it was."""
    marker = f"/{WORK}/trees/"
    place = path.find(marker)
    if place > 0 and os.path.isfile(f"{path[:place]}/{WORK}/orchestrator.yaml"):
        return path[:place]
    return path


def data_file(*parts: str) -> str:
    """A file that ships with the package (``schemas/...``): beside the package in a checkout or an
    editable install, inside it in a wheel."""
    package = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    inside = os.path.join(package, *parts)
    return inside if os.path.exists(inside) else os.path.join(os.path.dirname(package), *parts)


def schema_bytes(kind: str) -> bytes:
    """The JSON Schema of ``task``, ``run``, ``result``, ``event``, ``config`` or ``tool``, as its
    file has it."""
    with open(data_file("schemas", f"{kind}.schema.json"), "rb") as file:
        return file.read()
