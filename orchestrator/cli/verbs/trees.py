"""``trees``: the trees of tasks, what holds each, and how to be rid of those that nothing holds."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

import click

from orchestrator.cli import selecting
from orchestrator.cli.app import App
from orchestrator.cli.consent import refuse_in_attempt, refuse_of_others
from orchestrator.cli.options import complete_ids, examples, json_option, now
from orchestrator.cli.screen.asking import ask_yes
from orchestrator.cli.screen.console import say
from orchestrator.cli.writing import open_config, open_store
from orchestrator.coordination import clearing
from orchestrator.errors import FAILED, NotFound, OrchestratorError
from orchestrator.files import journals, scan
from orchestrator.files.layout import Layout
from orchestrator.model.config import Config
from orchestrator.model.isolation import Change, change_from
from orchestrator.model.journal import Journal
from orchestrator.model.status import Status
from orchestrator.model.units import show_duration
from orchestrator.queries import runs
from orchestrator.records import dataclass
from orchestrator.store import git, removal, trees
from orchestrator.store.trees import Tree

CLEAN = "clean"
UNFINISHED = {
    Status.INBOX.word: "its task waits to start",
    Status.HELD.word: "its task is held",
    Status.RUNNING.word: "its task runs",
    Status.REVIEW.word: "its task waits for review",
    "nowhere": "the file of its task is gone",
}


@dataclass(slots=True)
class Found:
    """A tree that lies here.  ``held`` says what keeps it, in words; empty: nothing, it may go."""

    id: str
    path: str
    status: str
    age: float
    bytes: int
    journal: Journal | None = None
    tree: Tree | None = None
    change: Change | None = None
    held: str = ""

    def as_json(self) -> dict[str, object]:
        """The tree for ``--json``; its age is in seconds."""
        return {
            "id": self.id,
            "path": self.path,
            "status": self.status,
            "branch": self.tree.branch if self.tree else None,
            "bytes": self.bytes,
            "age_s": round(self.age),
            "held": self.held,
        }


@click.command(
    epilog=examples(
        "orchestrator trees",
        "cd $(orchestrator trees fix-login)",
        "orchestrator trees clean             # lists what may go, and asks",
        "orchestrator trees clean fix-login",
    )
)
@click.argument(
    "words", nargs=-1, metavar="[TASK | clean [TASK...]]", shell_complete=complete_ids()
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be removed, and do nothing.")
@json_option
@click.pass_obj
def command(app: App, words: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool) -> int:
    """List tasks' trees: their size, their age, and what keeps each of them.

    With a task, print the path of its tree. clean removes the trees of ended tasks if everything
    in them is also elsewhere: unmerged work stays on its branch, and a tree with files that are
    not in git is kept.
    """
    layout = app.layout
    config, _ = open_config(app)
    if words[:1] == (CLEAN,):
        return _clean(app, config, words[1:], yes, dry_run, as_json)
    if words and not as_json:
        for path in [path for word in words for path in _paths(app, word)]:
            app.console.out(path)
        return 0
    wanted = {path for word in words for path in _paths(app, word)}
    found = [item for item in _all(layout, config) if not words or item.path in wanted]
    if as_json:
        app.console.json("trees", {"trees": [item.as_json() for item in found]})
    else:
        _list(app, found)
    return 0


def _paths(app: App, word: str) -> list[str]:
    """The tree of the task that is meant, or those of the run's tasks; `NotFound` if there is
    none."""
    run = runs.meant(app.layout, word)
    ids = [task_id for task_id, _, _ in selecting.named(app, [word])]
    paths = [app.layout.tree(task_id) for task_id in ids]
    found = [path for path in paths if os.path.isdir(path)]
    if not found:
        name = run[0] if run is not None else ids[0]
        raise NotFound(f"{name} has no tree", f"orchestrator show {name}")
    return found


def _all(layout: Layout, config: Config, wanted: Collection[str] = ()) -> list[Found]:
    """Every tree that lies here, by id; of the ``wanted`` ones alone if there are any: to look at
    one reads all its files."""
    try:
        entries = [
            entry
            for entry in os.scandir(layout.trees)
            if entry.is_dir(follow_symlinks=False)
            and (not wanted or entry.name.removeprefix(trees.GONE) in wanted)
        ]
    except OSError:
        return []
    repo = _repository(layout)
    found = [_found(layout, config, repo, entry) for entry in entries]
    return sorted(found, key=lambda item: item.id)


def _repository(layout: Layout) -> git.Repository | None:
    try:
        return trees.repository(layout)
    except OrchestratorError:
        return None


def _found(
    layout: Layout, config: Config, repo: git.Repository | None, entry: os.DirEntry[str]
) -> Found:
    task_id = entry.name.removeprefix(trees.GONE)
    place = scan.locate(layout, task_id)
    journal = journals.of(layout, task_id)
    record = journal.tree if journal is not None else {}
    found = Found(
        task_id,
        entry.path,
        place[0].word if place else "nowhere",
        max(0.0, now() - entry.stat().st_mtime),
        clearing.size(entry.path),
        journal,
        trees.tree_from(layout, task_id, record),
        change_from(journal.change) if journal is not None else None,
    )
    found.held = _held(layout, config, repo, found)
    return found


def _held(layout: Layout, config: Config, repo: git.Repository | None, found: Found) -> str:
    if found.tree is None:
        return "no journal here knows it"
    if found.status in UNFINISHED:
        return UNFINISHED[found.status]
    if repo is None:
        return "there is no repository to save it into"
    saved = found.change or Change(tip=found.tree.base)
    try:
        return "; ".join(removal.would_hold(layout, config.trees, repo, found.tree, saved))
    except OrchestratorError as error:
        return error.message


def _list(app: App, found: list[Found]) -> None:
    if not found:
        say("there are no trees")
        return
    rows = []
    for item in found:
        branch = item.tree.branch if item.tree else ""
        change = item.change
        figures = f"+{change.insertions} -{change.deletions}" if change else ""
        size = f"{item.bytes / 2**20:.1f} MB"
        what = f"stays: {item.held}" if item.held else "may go"
        rows.append([item.id, item.status, branch, figures, size, show_duration(item.age), what])
    app.console.table(rows)


def _clean(
    app: App, config: Config, words: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool
) -> int:
    layout = app.layout
    wanted = {task_id for task_id, _, _ in selecting.named(app, words)}
    if not wanted:
        refuse_in_attempt("remove the trees of others")
    refuse_of_others(layout, wanted, "remove the tree of")
    for name in removal.strays(layout):
        removal.come_back(layout, name)
    found = _all(layout, config, wanted)
    free = [item for item in found if not item.held]
    for item in found:
        if item.held and wanted:
            say(f"{item.id} stays: {item.held}")
    if dry_run or not free:
        if as_json:
            would = [{"id": item.id} for item in free]
            app.console.json("change", {"changed": would, "refused": []})
        elif free:
            _list(app, free)
        elif not wanted:
            say("there is nothing to clean: no tree may go")
        return FAILED if wanted and not dry_run else 0
    if not yes:
        _list(app, free)
        if not sys.stdin.isatty():
            say(
                "error: nothing was removed: there is no terminal to confirm it on\nhint:  orchestrator"
                " trees clean -y"
            )
            return FAILED
        if not ask_yes(f"remove {len(free)} of {len(found)} trees?"):
            return 0
    store = open_store(app)
    repo = trees.repository(layout)
    changed: list[dict[str, str]] = []
    refused: list[dict[str, str]] = []
    for item in free:
        why = clearing.clear(store, config, repo, item.id)
        (refused if why else changed).append(
            {"id": item.id, "why": why} if why else {"id": item.id}
        )
        if not as_json:
            app.console.out(
                f"{item.id} stays: {why}" if why else f"removed      {layout.shown(item.path)}"
            )
        if not why and item.journal and (rest := clearing.left_over(repo, item.journal)):
            say(f"{item.id}: {rest}; {clearing.unneeded(item.journal.tree['branch'])}")
    if as_json:
        app.console.json("change", {"changed": changed, "refused": refused})
    return FAILED if refused else 0
