"""``validate``: check files without running them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import Choice, examples, json_option
from orchestrator.cli.screen.console import say
from orchestrator.errors import INVALID, OrchestratorError
from orchestrator.files import diagnostics
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model.units import plural
from orchestrator.queries.checking import Checking, Found


@click.command(
    epilog=examples(
        "orchestrator validate",
        "orchestrator validate draft.yaml --format concise",
        "orchestrator validate work/inbox/*.yaml --format github      # in CI",
    )
)
@click.argument("files", nargs=-1, type=click.Path())
@click.option(
    "--format",
    "style",
    type=Choice(diagnostics.FORMATS),
    default="full",
    show_default=True,
    help="For people, for editors, for programs, for GitHub.",
)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option(
    "-n", "--dry-run", is_flag=True, help="Also list the tasks that the files would make."
)
@json_option
@click.pass_obj
def command(
    app: App, files: tuple[str, ...], style: str, strict: bool, dry_run: bool, as_json: bool
) -> int:
    """Check task and run files, and report all problems at once, with line, column and a hint.

    FILES are files, folders, ids of tasks, or names of schedules, templates, agents and tools; -
    reads one task from standard input. Without FILES it checks everything in work/inbox and
    work/held, orchestrator.yaml, and the agents, tools, templates and schedules of the project.
    """
    style = "json" if as_json else style
    checking = Checking(_layout(app, files))
    found = list(checking.broken)
    if files:
        meant = [path for word in files for path in checking.meant(word)]
        paths = list(dict.fromkeys(meant))
    else:
        paths = checking.waiting()
        found += checking.settings()
    for path in paths:
        if path == "-":
            found.append(checking.text(sys.stdin.buffer.read()))
        else:
            found += checking.file(path)
    text = diagnostics.render(style, found, app.console.paint, app.console.width)
    if text:
        app.console.block(text)
    if dry_run:
        tasks = [task for path in paths if path != "-" for task in checking.made(path)]
        app.console.table([[task.id, one_line(task.title, 120)] for task in tasks])
    counts = [_count(item, strict) for item in found]
    if style == "full":
        _sum_up(app, counts, len(paths), waiting=not files and _waits(found, counts))
    return INVALID if any(counts) else 0


def _layout(app: App, files: tuple[str, ...]) -> Layout | None:
    """The work directory; None outside of one, where only files that are named can be checked."""
    try:
        return app.layout
    except OrchestratorError:
        if not files:
            raise
        return None


def _count(found: Found, strict: bool) -> int:
    """How many of a file's problems keep it from running."""
    return sum(strict or not problem.warning for problem in found[2])


def _waits(found: Sequence[Found], counts: Sequence[int]) -> bool:
    """Whether all that is wrong are files of the inbox."""
    return all(
        "/inbox/" in shown for (shown, _, _), count in zip(found, counts, strict=True) if count
    )


def _sum_up(app: App, counts: list[int], total: int, waiting: bool) -> None:
    """How it went, in one line; ``counts`` are each file's problems."""
    errors, bad = sum(counts), sum(1 for count in counts if count)
    if not errors and app.console.tty:
        say(f"{plural(total, 'file')}, no problems")
    if not errors:
        return
    stay = "They stay put and won't run until they're"
    if bad == 1:
        stay = "It stays put and won't run until it's"
    place = f" {stay} fixed." if waiting else ""
    checked = plural(max(total, bad), "file")
    app.console.out(f"{plural(errors, 'problem')} in {bad} of {checked}.{place}")
