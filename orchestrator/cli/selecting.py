"""Tasks that are not named one by one: of a run, of an agent, with a label, those that failed.

What a filter finds is listed, and asked about, before a verb acts on it; without a terminal ``-y``
is the answer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.app import App
from orchestrator.cli.changes import Changes
from orchestrator.cli.options import Choice, Found, complete_agents, complete_runs, now
from orchestrator.cli.screen.asking import ask_yes
from orchestrator.cli.screen.console import say
from orchestrator.errors import NotFound, Refused
from orchestrator.files import configuration, runrecords, scan, schemas
from orchestrator.model.status import FINISHED, FOLDERS, Status
from orchestrator.model.units import plural
from orchestrator.queries import runs, tasks
from orchestrator.records import dataclass, replace
from orchestrator.tools import routing, specs

if TYPE_CHECKING:
    from orchestrator.queries.rows import Row


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tasks are meant; all parts that are given must fit."""

    run: str | None = None
    agent: str | None = None
    labels: frozenset[str] = frozenset()
    statuses: tuple[str, ...] = ()  # words; one of them must fit
    failed: bool = False

    def __bool__(self) -> bool:
        return bool(self.run or self.agent or self.labels or self.statuses or self.failed)

    @property
    def words(self) -> tuple[str, ...]:
        """The states that are asked for."""
        return (*self.statuses, *(["failed"] if self.failed else []))

    @property
    def chooses(self) -> bool:
        """Whether it chooses among the tasks of a status."""
        return self.run is not None or self.agent is not None or bool(self.labels)


NAME = "name tasks, or give --run, --agent, --label, --status or --failed"
STATES_SAID = {Status.REVIEW: "in review"}
STATES = (*(status.word for status in FOLDERS), "invalid", "ended")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
status_option = click.option(
    "--status",
    "statuses",
    multiple=True,
    type=Choice(STATES),
    help="Only tasks with this status; repeat it for more.",
)
label_option = click.option(
    "-l",
    "--label",
    "labels",
    multiple=True,
    metavar="LABEL",
    help="Only tasks with this label; repeat it to require all.",
)
failed_option = click.option(
    "--failed", is_flag=True, help="Only tasks that failed, rejected ones too."
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
run_option = click.option(
    "--run", "run_id", metavar="RUN", shell_complete=complete_runs, help="Only tasks of this run."
)
agent_option = click.option(
    "-a",
    "--agent",
    metavar="AGENT",
    shell_complete=complete_agents,
    help="Only tasks of this agent.",
)


def filter_options(asks: bool = True) -> Decorator:
    """The options of a `Filter`, which the verb gets as ``wanted``; if it ``asks``, also yes."""
    options = [run_option, agent_option, label_option, status_option, failed_option]
    return _taking(_filter, [*options, yes_option] if asks else options)


def filter_beside_scopes() -> Decorator:
    """The same for a verb that holds or releases a whole run or agent as well, by --run and --agent
    of `scope_options`."""
    return _taking(_beside_scopes, [label_option, status_option, failed_option, yes_option])


def _taking(made: Callable[[dict[str, Any]], Filter], options: Sequence[Decorator]) -> Decorator:
    """Gives a verb these options, and what is ``made`` of them as ``wanted``."""

    def add(verb: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(verb)
        def command(*args: Any, **given: Any) -> Any:
            return verb(*args, wanted=made(given), **given)

        decorated: Callable[..., Any] = command
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return add


def _filter(given: dict[str, Any]) -> Filter:
    """The filter that was given; its options are taken out."""
    run, agent = given.pop("run_id"), given.pop("agent")
    return _among_tasks(given, run, agent)


def _among_tasks(given: dict[str, Any], run: str | None, agent: str | None) -> Filter:
    labels, statuses = frozenset(given.pop("labels")), given.pop("statuses")
    return Filter(run, agent, labels, statuses, given.pop("failed"))


def _beside_scopes(given: dict[str, Any]) -> Filter:
    """With --label or the like, --run and --agent choose among tasks, and are taken out, too;
    alone, they do not."""
    wanted = _among_tasks(given, None, None)
    if not wanted:
        return wanted
    runs_, agents = given["runs"], given["agents"]
    if len(runs_) > 1 or len(agents) > 1:
        raise click.UsageError("with --label or --status, name one run and one agent")
    given["runs"] = given["agents"] = ()
    return replace(wanted, run=next(iter(runs_), None), agent=next(iter(agents), None))


def find(app: App, wanted: Filter, statuses: Sequence[Status]) -> Found:
    """The tasks that fit, each with its folder and its file's name, in the order of ``list``; in
    these folders, if the filter says no status.

    Raises `NotFound` if there is no such run or agent.
    """
    layout = app.layout
    members = _members(app, wanted.run) if wanted.run else None
    folders = folders_of(wanted.words) or tuple(statuses)
    rows, _ = tasks.listed(layout, now(), folders, None)
    rows = [row for row in rows if not wanted.words or _fits(row, wanted.words)]
    if wanted.agent is not None:
        rows = [row for row in rows if tasks.agent_of(layout, row) == wanted.agent]
    if wanted.agent is not None and not rows:
        check_agent(app, wanted.agent)
    if members is not None:
        rows = [row for row in rows if row.id in members]
    if wanted.labels:
        rows = [row for row in rows if wanted.labels <= tasks.labels_of(layout, row.id)]
    folder_of = {str(folder): folder for folder in folders}
    places = [(row.id, *row.file.split("/")[-2:]) for row in rows]
    return [
        (task_id, folder_of[folder], name)
        for task_id, folder, name in places
        if folder in folder_of and not runrecords.has_record(layout, task_id)
    ]


def folders_of(words: Iterable[str]) -> tuple[Status, ...]:
    """The folders that hold tasks with these statuses."""
    found: list[Status] = []
    for word in words:
        if word == "ended":
            found += FINISHED
        else:
            found += [status for status in FOLDERS if status.word == word]
            found += [Status.INBOX] if word == "invalid" else []
    return tuple(dict.fromkeys(found))


def _fits(row: Row, words: Sequence[str]) -> bool:
    """Waiting and invalid ones lie in the same folder."""
    if row.status in ("waiting", "invalid"):
        return row.status in words
    return True


def named(app: App, words: Iterable[str], folders: Iterable[Status] = FOLDERS) -> Found:
    """The tasks that words name, and those of the runs that they name.

    Raises `NotFound` for a word that names neither.
    """
    layout, found = app.layout, list[tuple[str, Status, str]]()
    for word in words:
        run = runs.meant(layout, word)
        if run is None:
            found.append(scan.find(layout, word, folders))
            continue
        places = ((row_id, scan.locate(layout, row_id, folders)) for row_id in _members(app, word))
        found += sorted((task_id, *place) for task_id, place in places if place is not None)
    return list(dict.fromkeys(found))


def of_words(
    changes: Changes,
    words: Iterable[str],
    statuses: Sequence[Status],
    whole: bool = True,
    fits: Callable[[str], bool] = lambda _: True,
) -> Found:
    """The tasks that words name; of a run, those in these folders that ``fits`` takes, and a run
    without such tasks is refused. A run with a file of its own there, as in review, is meant itself
    if it may be ``whole``.

    Raises `NotFound` for a word that names neither.
    """
    app, found = changes.app, list[tuple[str, Status, str]]()
    for word in words:
        run = runs.meant(app.layout, word)
        name = run[0] if run is not None else scan.find(app.layout, word)[0]
        place = scan.locate(app.layout, name) if whole or run is None else None
        members = [] if place else find(app, Filter(run=name), statuses)
        members = [item for item in members if fits(item[0])]
        if not place and not members:
            where = " or ".join(STATES_SAID.get(status, status.word) for status in statuses)
            why = f"no task of {name} is {where}"
            changes.refuse(name, Refused(why, f"orchestrator show {name}"))
        found += [(name, *place)] if place else members
    return list(dict.fromkeys(found))


def chosen(app: App, words: Sequence[str], wanted: Filter, statuses: Sequence[Status]) -> Found:
    """The tasks that are named, or else those that fit the filter: one of both must be given."""
    if bool(words) == bool(wanted):
        raise click.UsageError(NAME)
    return named(app, words) if words else find(app, wanted, statuses)


def agreed(app: App, wanted: Filter, status: Status, doing: str, yes: bool) -> Found:
    """The tasks in this folder that fit, after a person's yes."""
    found = [item for item in find(app, wanted, (status,)) if item[1] is status]
    agree(app, found, doing, yes)
    return found


def agree(app: App, found: Found, doing: str, yes: bool) -> None:
    """Ask a person whether it may be done to all that was found, which is listed first. ``doing``:
    ``run again``.

    Raises `click.Abort` for a no, `click.UsageError` where nobody can be asked.
    """
    if not found:
        say(f"there is nothing to {doing}")
        return
    if yes:
        return
    if not app.console.tty:
        count = plural(len(found), "task")
        raise click.UsageError(f"{count} to {doing}: confirm with -y, or list them with -n")
    for task_id, status, _ in found:
        say(f"{app.console.sign(str(status))} {status.word:<9} {task_id}")
    if not ask_yes(f"{doing} {plural(len(found), 'task')}?"):
        raise click.Abort


def _members(app: App, word: str) -> set[str]:
    known = runs.find_run(app.layout, word)
    view = runs.view_of(app.layout, *known, now()) if known is not None else None
    if view is None:
        raise NotFound(f"there is no run '{word}'", "orchestrator runs   lists them")
    return {row.id for row in view.rows}


def check_agent(app: App, agent: str) -> None:
    """Nothing is found of an agent that does not exist: `NotFound`, for that is a mistyped name."""
    known = routing.agent_names(
        configuration.load_config(app.layout), specs.load_tools(app.layout).tools
    )
    if agent not in known:
        hint = schemas.did_you_mean(agent, known) or "orchestrator agents   lists them"
        raise NotFound(f"there is no agent '{agent}'", hint)
