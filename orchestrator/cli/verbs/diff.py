"""``diff``: what a task changed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

import click

from orchestrator.cli.app import App
from orchestrator.cli.options import complete_ids, examples, json_option
from orchestrator.errors import NotFound, OrchestratorError
from orchestrator.files import git, journals, scan
from orchestrator.files.layout import WORK, Layout
from orchestrator.model.isolation import Change, change_from


@click.command(
    epilog=examples(
        "orchestrator diff fix-login",
        "orchestrator diff fix-login --stat",
        "orchestrator diff fix-login > fix.patch",
    )
)
@click.argument("task", shell_complete=complete_ids())
@click.option("--stat", is_flag=True, help="Files and how much of each.")
@click.option("--name-only", is_flag=True, help="Names of files.")
@json_option
@click.pass_obj
def command(app: App, task: str, stat: bool, name_only: bool, as_json: bool) -> None:
    """What a task changed, on its branch, since that parted from its target.

    While the task runs: what is in its tree now. On a terminal in your pager, with colours; plain text in a pipe.
    """
    layout = app.layout
    task_id, _, _ = scan.find(layout, task)
    journal = journals.of(layout, task_id)
    tree = journal.tree if journal is not None else {}
    if journal is None or not tree:
        raise NotFound(
            f"{task_id} had no tree of its own, so there is no diff of it alone",
            f"orchestrator show {task_id}   lists files_changed; isolation: worktree gives tasks trees",
        )
    change = change_from(journal.change)
    if as_json:
        facts = {**change.facts(), "files": list(change.files)} if change is not None else {}
        app.console.json("diff", {"task": task_id, **facts})
        return
    how = ["--stat"] if stat else ["--name-only"] if name_only else ["-p"]
    if app.console.color and not name_only:
        how.append("--color=always")
    try:
        text = _diff(layout, task_id, tree.get("base", ""), change, how)
    except git.Unclear as error:
        raise OrchestratorError(
            f"git gives no clear answer: {error}", "orchestrator doctor"
        ) from None
    if not text:
        app.console.out(f"{task_id} has changed nothing" if app.console.tty else "")
        return
    _show(text, app.console.tty)


def _diff(layout: Layout, task_id: str, base: str, change: Change | None, how: list[str]) -> bytes:
    """The text that git makes of the change."""
    folder = layout.tree(task_id) if change is None else layout.root
    repository = git.nearest(folder)
    if repository is None:
        raise git.Unclear("there is no repository here any more")
    place = os.path.relpath(layout.root, (git.nearest(layout.root) or repository).folder)
    state = WORK if place == "." else f"{place}/{WORK}"
    ends = [base] if change is None else [change.base, change.tip]
    with git.reading(repository) as reader:
        answer = reader.ask(
            "diff", *how, "--no-renames", *ends, "--", ":(top)", f":(top,exclude,literal){state}"
        )
    return answer.out


def _show(text: bytes, paged: bool) -> None:
    """On a terminal in the person's pager, as git shows it; else as it is."""
    pager = next(
        (os.environ[name] for name in ("GIT_PAGER", "PAGER") if os.environ.get(name)), "less"
    )
    words = shlex.split(pager)
    if paged and words and words[0] != "cat" and shutil.which(words[0]):
        env = {
            **os.environ,
            "LESS": os.environ.get("LESS", "FRX"),
            "LV": os.environ.get("LV", "-c"),
        }
        subprocess.run(words, input=text, env=env, check=False)
        return
    sys.stdout.buffer.write(text)
