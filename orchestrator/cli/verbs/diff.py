"""``diff``: what a task changed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import Any

import click

from orchestrator.cli.app import App
from orchestrator.cli.changes import for_each
from orchestrator.cli.options import examples, ids_argument, json_option, now
from orchestrator.cli.screen.console import Console, shown
from orchestrator.errors import NotFound, OrchestratorError
from orchestrator.files import git, journals, runrecords, scan
from orchestrator.files.layout import Layout
from orchestrator.files.text import visible
from orchestrator.model.isolation import change_from
from orchestrator.model.journal import Journal
from orchestrator.model.runbranch import RunBranch
from orchestrator.patterns import regex
from orchestrator.queries import differences, runs

_HUNK = regex(r"@@ -[0-9]+(?:,([0-9]+))? \+[0-9]+(?:,([0-9]+))? @@")


@click.command(
    epilog=examples(
        "orchestrator diff fix-login",
        "orchestrator diff fix-login --stat",
        "orchestrator diff release             # the whole run",
        "orchestrator diff fix-login > fix.patch",
    )
)
@ids_argument(runs=True)
@click.option("--stat", is_flag=True, help="Only file names and numbers of changed lines.")
@click.option("--name-only", is_flag=True, help="Only file names.")
@json_option
@click.pass_obj
def command(app: App, tasks: tuple[str, ...], stat: bool, name_only: bool, as_json: bool) -> int:
    """Show what a task or a whole run has changed on its branch since it left the target.

    For a running task, this shows its tree as it is now. A terminal gets your pager and colours, a
    pipe gets plain text.
    """
    layout = app.layout
    how = _how(app, stat, name_only)
    documents = []

    def one(word: str) -> None:
        if as_json:
            documents.append(("diff", _document(layout, word)))
            return
        run = _run(layout, word)
        try:
            if run is not None:
                _print(app, run.run, layout.root, differences.ends_of_run(layout, run), how)
                return
            task_id, journal = _of_task(layout, word)
            folder, ends = differences.ends_of_task(layout, journal)
        except git.Unclear as error:
            raise _unclear(error) from None
        _print(app, task_id, folder, ends, how)

    code = for_each([name for word in tasks for name in _changed(layout, word)], one)
    if as_json:
        app.console.documents(documents, len(tasks) > 1)
    return code


def _changed(layout: Layout, word: str) -> list[str]:
    """What has a change of its own: the word itself or, of a run without a branch, its tasks that
    had trees."""
    run = runs.meant(layout, word)
    view = runs.view_of(layout, *run, now()) if run is not None else None
    if view is None or runrecords.known(layout, view.id) is not None:
        return [word]
    known = {row.id: journals.of(layout, row.id) for row in view.rows}
    found = [task_id for task_id, journal in known.items() if journal is not None and journal.tree]
    if not found:
        raise NotFound(
            f"no task of {view.id} had a tree of its own, so there is no diff of it alone",
            f"orchestrator show {view.id}   lists its tasks",
        )
    return found


def _of_task(layout: Layout, word: str) -> tuple[str, Journal]:
    """The task that ``word`` names; `NotFound` if it had no tree."""
    task_id, _, _ = scan.find(layout, word)
    journal = journals.of(layout, task_id)
    if journal is None or not journal.tree:
        raise NotFound(
            f"{task_id} had no tree of its own, so there is no diff of it alone",
            f"orchestrator show {task_id}   lists files_changed; isolation: worktree gives tasks"
            " trees",
        )
    return task_id, journal


def _document(layout: Layout, word: str) -> dict[str, Any]:
    run = _run(layout, word)
    if run is None:
        task_id, journal = _of_task(layout, word)
        change = change_from(journal.change)
        facts = {**change.facts(), "files": list(change.files)} if change is not None else {}
        return {"task": task_id, **facts}
    try:
        ends = differences.ends_of_run(layout, run)
        text = differences.between(layout, layout.root, ends, ["--name-only"])
    except git.Unclear as error:
        raise _unclear(error) from None
    facts = {"branch": run.branch, "base": ends[0], "tip": ends[1], "target": run.target}
    return {"task": run.run, **facts, "files": text.decode().splitlines()}


def _run(layout: Layout, word: str) -> RunBranch | None:
    """The branch of the run that is meant; None if a task is, or if the run has none."""
    known = runrecords.known(layout, word)
    if known is not None or scan.locate(layout, word) is not None:
        return known
    found = runs.find_run(layout, word)
    return runrecords.known(layout, found[0]) if found is not None else None


def _how(app: App, stat: bool, name_only: bool) -> list[str]:
    if name_only and not stat:
        return ["--name-only"]
    if not stat:
        return ["-p"]
    return ["--stat", "--color=always"] if app.console.color and not name_only else ["--stat"]


def _unclear(error: git.Unclear) -> OrchestratorError:
    return OrchestratorError(f"git gives no clear answer: {error}", "orchestrator doctor")


def _print(app: App, name: str, folder: str, ends: list[str], how: list[str]) -> None:
    try:
        text = differences.between(app.layout, folder, ends, how)
    except git.Unclear as error:
        raise _unclear(error) from None
    if not text and app.console.tty:
        app.console.out(f"{name} has changed nothing")
    if not text:
        return
    if how == ["-p"] and (app.console.tty or app.console.color):
        text = _for_eyes(text, app.console)
    _show(text, app.console.tty)


def _for_eyes(patch: bytes, console: Console) -> bytes:
    """A patch as a person judges it: in colours of ours alone, and what would steer the terminal,
    hide or reorder text is visible."""
    lines = []
    before, after = 0, 0  # lines of the hunk that are still to come
    for line in patch.decode("utf-8", "surrogateescape").split("\n"):
        seen, colour = visible(line), "bold"
        if hunk := _HUNK.match(line):
            before, after = (int(count or 1) for count in hunk.groups())
            end = hunk.end()
            lines.append(console.paint(line[:end], "cyan") + visible(line[end:]))
            continue
        if before > 0 or after > 0:
            colour = {"+": "green", "-": "red"}.get(line[:1], "")
            before -= line[:1] in ("-", " ")
            after -= line[:1] in ("+", " ")
        elif line.startswith("\\"):
            colour = ""
        lines.append(console.paint(seen, colour) if line else "")
    return "\n".join(map(shown, lines)).encode("utf-8", "replace")


def _pager() -> str:
    """The person's pager, in the order in which git looks for it; none is taken from a
    repository."""
    own = os.environ.get("GIT_PAGER") or git.persons_setting("core.pager")
    return own or os.environ.get("PAGER") or "less"


def _show(text: bytes, paged: bool) -> None:
    """On a terminal in the person's pager, as git shows it; else as it is."""
    words = shlex.split(_pager()) if paged else []
    if paged and words and words[0] != "cat" and shutil.which(words[0]):
        env = {
            **os.environ,
            "LESS": os.environ.get("LESS", "FRX"),
            "LV": os.environ.get("LV", "-c"),
        }
        subprocess.run(words, input=text, env=env, check=False)
        return
    sys.stdout.buffer.write(text)
