"""What several verbs share: arguments with live ids, JSON switches, examples in the help."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from orchestrator import __version__
from orchestrator.errors import OrchestratorError
from orchestrator.files import configuration, runrecords, scan
from orchestrator.files.layout import Layout
from orchestrator.files.ownership import find_own_layout
from orchestrator.model.status import FOLDERS, Status
from orchestrator.model.units import duration
from orchestrator.patterns import regex

Found = list[tuple[str, Status, str]]  # tasks: id, folder, name of the file

json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document, for programs."
)
dry_run_option = click.option(
    "-n", "--dry-run", is_flag=True, help="Say what would happen, and do nothing."
)
reason_option = click.option(
    "--reason",
    metavar="TEXT",
    help="The reason; a last argument with a space in it does the same.",
)
ONE_WORD = "give a one-word reason as  --reason WORD"  # a hint: it was taken for a task


def one_reason(said: Sequence[str], reason: str | None) -> str:
    """The reason among a verb's arguments, or that of `reason_option`; empty if none was given.
    Raises `click.UsageError` for more than one."""
    given = [*said, *([reason] if reason else [])]
    if len(given) > 1:
        raise click.UsageError("give one reason, in quotes")
    return "".join(given)


def versions(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Print versions and leave."""
    if value and not ctx.resilient_parsing:
        import platform
        from importlib import metadata

        click.echo(
            f"orchestrator {__version__} (python {platform.python_version()}, click "
            f"{metadata.version('click')})"
        )
        ctx.exit()


def accept_everywhere(command: click.Command) -> None:
    """Let a verb, and what is below it, take what the program takes before it: ``status --plain``
    is ``--plain status``."""
    if any("--plain" in parameter.opts for parameter in command.params):
        return
    hidden: dict[str, Any] = {"hidden": True, "expose_value": False, "is_eager": True}
    folder = click.Path(file_okay=False)
    colors = click.Choice(["auto", "always", "never"])
    command.params += [
        click.Option(["-C", "directory"], type=folder, callback=_here, **hidden),
        click.Option(["--color"], type=colors, callback=_colored, **hidden),
        click.Option(["--plain"], is_flag=True, callback=_plain, **hidden),
        click.Option(["-V", "--version"], is_flag=True, callback=versions, **hidden),
    ]
    if not any("-q" in parameter.opts for parameter in command.params):
        command.params.append(
            click.Option(["-q", "--quiet"], is_flag=True, callback=_quiet, **hidden)
        )
    for below in getattr(command, "commands", {}).values():
        accept_everywhere(below)


def _here(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        root = ctx.find_root()
        root.params["directory"] = value  # completion looks there
        if root.obj is not None:
            root.obj.directory = value


def _colored(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    root = ctx.find_root()
    if value is not None and root.obj is not None:
        root.params["color"] = value
        root.obj.write_as(value, root.params["plain"])


def _plain(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    root = ctx.find_root()
    if value and root.obj is not None:
        root.params["plain"] = True
        root.obj.write_as(root.params["color"], True)


def _quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    root = ctx.find_root()
    if value and root.obj is not None:
        root.obj.quiet = True


class Choice(click.Choice[Any]):
    """A choice that says what was probably meant. ``synonyms`` are understood and shown nowhere."""

    def __init__(self, choices: Sequence[str], synonyms: Mapping[str, str] | None = None) -> None:
        super().__init__(choices)
        self.synonyms = dict(synonyms or {})

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(self.synonyms.get(value, value), param, ctx)
        except click.BadParameter as error:
            import difflib

            close = difflib.get_close_matches(
                str(value), [str(choice) for choice in self.choices], 1, 0.5
            )
            if close:
                message = f"{error.message} Did you mean '{close[0]}'?"
                raise click.BadParameter(message, ctx, param) from None
            raise


def examples(*lines: str) -> str:
    """An epilog with real command lines, as they are typed."""
    return "\b\nExamples\n" + "\n".join(f"  {line}" for line in lines)


Completion = Callable[[click.Context, click.Parameter, str], list[str]]
# What every shell takes as it stands: it inserts a completion into the line without quoting it.
_WORD = regex(r"\w[\w.:/@+-]*\Z")


def words_of(names: Iterable[str]) -> list[str]:
    """Those of the names that are one word in every shell, and no option: a file name such as
    ``$(id)`` would be run."""
    return [name for name in names if _WORD.match(name)]


def complete_ids(*folders: Status, runs: bool = False) -> Completion:
    """Completion with the ids in these folders, and those of accepted runs: directory listings,
    nothing is parsed."""

    def names(layout: Layout) -> Iterable[str]:
        tasks = {
            task_id
            for folder in folders or FOLDERS
            for task_id, _ in scan.task_names(layout.folder(folder))
        }
        return sorted(tasks | {run_id for run_id, _ in (runrecords.listed(layout) if runs else ())})

    return complete_from(names)


def complete_from(names: Callable[[Layout], Iterable[str]]) -> Completion:
    """Completion with what is listed of the work directory; with nothing if there is none, or it is
    another user's."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        try:
            layout = find_own_layout(ctx.find_root().params.get("directory"))
        except OrchestratorError:
            return []
        return [name for name in words_of(names(layout)) if incomplete in name]

    return complete


def agent_names(layout: Layout) -> Iterable[str]:
    """The agents that are configured; none if the settings cannot be read."""
    try:
        return configuration.load_config(layout).agents
    except OrchestratorError:
        return ()


complete_agents = complete_from(agent_names)
complete_runs = complete_from(lambda layout: [run_id for run_id, _ in runrecords.listed(layout)])


def ids_argument(
    *folders: Status, required: bool = True, runs: bool = False, name: str = "tasks"
) -> Callable[[Any], Any]:
    """One or more tasks (with ``runs``, runs as well), each by its id or any unique part of it."""
    return click.argument(
        name,
        nargs=-1,
        required=required,
        metavar="TASK..." if required else "[TASK...]",
        shell_complete=complete_ids(*folders, runs=runs),
    )


def each(layout: Layout, words: Iterable[str], folders: Iterable[Status] = FOLDERS) -> Found:
    """The tasks that words name; all are found before anything is done to the first."""
    found = [scan.find(layout, word, folders) for word in words]
    return list(dict.fromkeys(found))


def age(_: click.Context, __: click.Parameter, value: str) -> float:
    """A callback for options such as ``--since 7d``: seconds."""
    try:
        return duration(value)
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a duration; write 24h, 7d or 90d") from None


def now() -> float:
    return time.time()
