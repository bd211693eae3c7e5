"""Trees of tasks that have ended go: when a person says so, when the task is archived, or after
``trees.keep``.

A tree that holds what is nowhere else stays. A branch goes with it only if it was merged; any other
is a person's to delete.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection

from orchestrator.errors import OrchestratorError, Refused
from orchestrator.files import journals, runrecords, scan
from orchestrator.files.text import first_few
from orchestrator.model.config import Config
from orchestrator.model.isolation import Change, change_from
from orchestrator.model.journal import Journal, Phase
from orchestrator.model.runbranch import RunBranch
from orchestrator.model.status import FINISHED, Status
from orchestrator.store import removal, runbranches, saving, trees
from orchestrator.store.git import Repository
from orchestrator.store.moves import PATIENCE
from orchestrator.store.transitions import Store

ENDED = (*FINISHED, Status.ARCHIVE)


def clear(
    store: Store,
    config: Config,
    repo: Repository,
    task_id: str,
    ended: Collection[Status] = ENDED,
) -> str:
    """Take the tree of a task that has ended away; why it stays, in words, else empty."""
    place = scan.locate(store.layout, task_id)
    if place is None or place[0] not in ended:
        return f"its task is in {place[0]}/" if place else "its task is nowhere to be found"
    entry = store.ledger.open(task_id)
    if entry is None:
        return "no journal here knows it"
    with entry:
        if not entry.lock():
            return "its task is being worked on"
        journal = entry.journal
        tree = trees.tree_from(store.layout, task_id, journal.tree)
        if tree is None or journal.phase is not Phase.FINAL:
            return "its task has not ended" if tree else "no journal here knows it"
        number = journal.attempt.number if journal.attempt else 0
        agent = removal.agent_of(journal)
        try:
            held = removal.remove(store.layout, config.trees, repo, tree, task_id, number, agent)
            change = change_from(journal.change)
            if not held and change is not None and journal.merged:
                removal.drop_branch(repo, tree, change)
        except OrchestratorError as error:
            return error.message
        return "; ".join(held)


def held(
    store: Store, config: Config, repo: Repository, task_id: str, ended: Collection[Status] = ENDED
) -> str:
    """Why `clear` would leave a tree, as far as a look can tell that saves nothing; empty: it
    goes."""
    place, journal = scan.locate(store.layout, task_id), journals.of(store.layout, task_id)
    if place is None or place[0] not in ended:
        return f"its task is in {place[0]}/" if place else "its task is nowhere to be found"
    tree = trees.tree_from(store.layout, task_id, journal.tree) if journal else None
    if journal is None or tree is None:
        return "no journal here knows it"
    saved = change_from(journal.change) or Change(tip=tree.base)
    return "; ".join(removal.would_hold(store.layout, config.trees, repo, tree, saved))


def left_over(repo: Repository, journal: Journal) -> str:
    """Why the branch of a merged task stays though its tree is gone, in words; empty if it does
    not."""
    change, branch = change_from(journal.change), str(journal.tree.get("branch"))
    tip = repo.shared.commit_of(f"refs/heads/{branch}")
    if change is None or not journal.merged or tip in ("", change.tip):
        return ""
    paths = saving.numbers(repo, change.tip, tip)[0]
    what = first_few(paths) or "further commits"
    return f"its branch stays: it holds what came after the merge ({what})"


def unneeded(branch: str) -> str:
    """How a person is rid of a branch."""
    return f"git branch -D {shlex.quote(branch)}, if nobody needs it"


def follow(store: Store, config: Config, task_id: str) -> str:
    """What had a tree or a branch, and is put away for good: both go as far as nothing holds them;
    what stays and why, in words."""
    run = runrecords.known(store.layout, task_id)
    journal = journals.of(store.layout, task_id)
    if run is None and (journal is None or not journal.tree.get("branch")):
        return ""
    try:
        repo = trees.repository(store.layout)
    except OrchestratorError as error:
        return f"its tree stays: {error.message}"
    if run is not None:
        runbranches.drop_merged(repo, run)
        return ""
    why = clear(store, config, repo, task_id)
    if why:
        return f"its tree stays: {why}"
    if journal is None or not (rest := left_over(repo, journal)):
        return ""
    return f"{rest}; {unneeded(journal.tree['branch'])}"


def begin_anew(store: Store, config: Config, task_id: str) -> None:
    """The next attempt gets a tree of its own from the base. `Refused` if something holds the one
    there is; its branch stays."""
    entry = store.ledger.open(task_id)
    if entry is None or not entry.journal.tree.get("branch"):
        return
    entry.close()
    anywhere = (*ENDED, Status.REVIEW)
    repo = trees.repository(store.layout)
    look = held if store.rehearsing else clear
    if why := look(store, config, repo, task_id, anywhere):
        raise Refused(f"the tree of {task_id} stays: {why}", f"orchestrator trees {task_id}")
    store.judged(task_id, Status.INBOX, "give it a new tree")
    entry = store.ledger.open(task_id)
    assert entry is not None
    with entry:
        if not entry.lock(PATIENCE):
            raise Refused(f"{task_id} is being worked on", f"orchestrator show {task_id}")
        entry.append({"record": "tree", "branch": ""}, sync=True)


def overdue(store: Store, config: Config) -> list[str]:
    """Ids of ended tasks whose trees have stayed longer than ``trees.keep``, or are too many for
    ``trees.max_gb``: the oldest first."""
    now, found = store.clock.wall(), []
    for name in scan.names(store.layout.trees):
        path = store.layout.tree(name)
        place = None if name.startswith(".") else scan.locate(store.layout, name)
        if place is None or place[0] not in ENDED or not os.path.isdir(path):
            continue
        try:
            ended = os.stat(store.layout.result(name)).st_mtime
        except OSError:
            ended = os.stat(path).st_mtime
        found.append((ended, name))
    found.sort()
    due = [name for ended, name in found if now - ended > config.trees.keep]
    if config.trees.max_gb is None:
        return due
    room = config.trees.max_gb * 2**30
    for _, name in reversed(found):
        room -= size(store.layout.tree(name))
        if room < 0 and name not in due:
            due.append(name)
    return due


def size(path: str) -> int:
    """Bytes on disk; files that are linked more than once count once."""
    total, seen = 0, set()
    for folder, _, names in scan.walk(path):
        for name in names:
            try:
                info = os.lstat(f"{folder}/{name}")
            except OSError:
                continue
            if info.st_nlink == 1 or info.st_ino not in seen:
                seen.add(info.st_ino)
                total += info.st_blocks * 512
    return total


def sweep(store: Store, config: Config) -> list[str]:
    """Take away what is overdue; what was done, in words. Trees that something holds stay,
    silently: ``trees`` names what."""
    for name in removal.strays(store.layout):
        removal.come_back(store.layout, name)
    due, over = overdue(store, config), _runs_over(store, config)
    if not due and not over:
        return []
    try:
        repo = trees.repository(store.layout)
    except OrchestratorError:
        return []
    done = [f"removed the tree of {name}" for name in due if not clear(store, config, repo, name)]
    dropped = [run for run in over if runbranches.drop_merged(repo, run)]
    return [*done, *(f"removed the merged branch {run.branch}" for run in dropped)]


def _runs_over(store: Store, config: Config) -> list[RunBranch]:
    """Merged runs that have lain in done/ or the archive for longer than ``trees.keep``."""
    found = []
    for run in runrecords.all_known(store.layout):
        place = runrecords.place(store.layout, run.run)
        if place is None or place[0] not in (Status.DONE, Status.ARCHIVE):
            continue
        moment = os.stat(store.layout.file(*place)).st_ctime
        if run.merge.get("record") == "merged" and store.clock.wall() - moment > config.trees.keep:
            found.append(run)
    return found
