"""``validate``: check files without running them."""

from __future__ import annotations

import sys

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import Choice, examples, json_option
from orchestrator.cli.screen.console import say
from orchestrator.errors import INVALID, OrchestratorError
from orchestrator.files import diagnostics
from orchestrator.files.layout import Layout
from orchestrator.files.text import one_line
from orchestrator.model.units import plural
from orchestrator.queries.checking import Checking


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
    counts = dict.fromkeys((shown for shown, _, _ in found), 0)
    for shown, _, problems in found:
        counts[shown] += sum(strict or not problem.warning for problem in problems)
    if style == "full":
        _sum_up(app, counts, alone=bool(files))
    return INVALID if any(counts.values()) else 0


def _layout(app: App, files: tuple[str, ...]) -> Layout | None:
    """The work directory; None outside of one, where only files that are named can be checked."""
    try:
        return app.layout
    except OrchestratorError:
        if not files:
            raise
        return None


def _sum_up(app: App, counts: dict[str, int], alone: bool) -> None:
    """How it went, in one line; ``counts`` are each file's problems. If all that is wrong are files
    of the inbox, which were not named ``alone``, it says what becomes of them."""
    wrong = {shown: count for shown, count in counts.items() if count}
    checked = plural(len(counts), "file")
    if not wrong:
        if app.console.tty:
            say(f"{checked}, no problems")
        return
    stay = "They stay put and won't run until they're"
    if len(wrong) == 1:
        stay = "It stays put and won't run until it's"
    waits = not alone and all("/inbox/" in shown for shown in wrong)
    place = f" {stay} fixed." if waits else ""
    app.console.out(
        f"{plural(sum(wrong.values()), 'problem')} in {len(wrong)} of {checked}.{place}"
    )
