"""Where a task works: a tree of its own, made before its first attempt, saved at every end; and
what its work comes to. The git commands are in `store.trees`; when a tree goes is decided in
`coordination.clearing`.

Git runs in threads: a tree of 10,000 files takes a second. What is known of a tree is in the task's
journal, so that the next watcher goes on with the same one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, replace
from typing import Any, Protocol

from orchestrator.coordination.settings import Settings
from orchestrator.coordination.walls import Building, Scene, real
from orchestrator.errors import OrchestratorError
from orchestrator.execution import masking
from orchestrator.execution.processes import TAG
from orchestrator.files import contests, gitfiles, journals, opening, origin, runrecords, scan
from orchestrator.files import git as reading_git
from orchestrator.files.aside import Busy
from orchestrator.files.layout import ARTIFACTS, WORK, Layout, is_draft, stem_of
from orchestrator.model.isolation import Change, CheckResult, change_from
from orchestrator.model.sandbox import NEVER, Bounds
from orchestrator.model.status import Status
from orchestrator.model.task import Task
from orchestrator.store import atomic, belonging, git, runbranches, saving, sharing, trees
from orchestrator.store.ledger import Entry
from orchestrator.store.transitions import Store
from orchestrator.store.trees import Tree
from orchestrator.tools import secrecy
from orchestrator.tools.invocation import environment, secret_values
from orchestrator.tools.routing import Route

DROP = "drop"  # in the log folder: where an attempt in a sandbox drops tasks
MOST_LISTED = 20_000  # names that are looked at for them
MOST_DROPPED = 200  # files that are taken at one look from where an attempt drops tasks
MOST_LOOKS = 50  # such looks at its end; fewer if more files than that cannot be taken
SHARED = "git-shared.json"  # what trees share with the person, before an attempt


class Claimed(Protocol):
    """What is asked here of a claimed task."""

    id: str
    task: Task
    route: Route
    attempt: int
    tree: Tree | None
    change: Change | None
    planning: bool
    checks: tuple[CheckResult, ...]
    secrets: tuple[str, ...]
    records: list[Mapping[str, Any]]


class TaskTrees:
    """Makes and saves the trees of tasks."""

    def __init__(self, layout: Layout, settings: Settings, store: Store) -> None:
        self.layout, self.settings, self.store = layout, settings, store
        self._collects: dict[str, threading.Lock] = {}  # by task
        self._origins = origin.Origins()

    async def ready(self, life: Claimed, entry: Entry) -> None:
        """Have the task's tree there, if it is to have one.  Raises `CannotIsolate`."""
        tree = trees.tree_from(self.layout, life.id, entry.journal.tree)
        if tree is None and not life.route.isolated:
            return
        config = self.settings.config.trees
        repo = await asyncio.to_thread(trees.repository, self.layout)
        if tree is None:
            tree = await asyncio.to_thread(self._plan, life, repo)
            entry.append(tree.record(), sync=True)
        if not tree.ready or not tree.is_there:
            log = f"{self.layout.logs(life.id)}/setup.log"
            os.makedirs(self.layout.logs(life.id), exist_ok=True)
            cancel = self.layout.cancel_request(life.id)
            try:
                tree = await asyncio.to_thread(
                    trees.make,
                    self.layout,
                    config,
                    repo,
                    tree,
                    log,
                    lambda: os.path.exists(cancel),
                    self._enclosing(life, tree),
                )
            finally:
                await asyncio.to_thread(self._mask, life, log)
            entry.append(tree.record(), sync=True)
        else:
            tip = str(entry.journal.change.get("tip") or tree.base)
            await asyncio.to_thread(belonging.settle, repo, tree, tip)
        life.tree = tree
        life.records.append(tree.record())

    def _mask(self, life: Claimed, log: str) -> None:
        """Take the secrets that its setup was given out of what that has printed."""
        config = self.settings.config
        given = environment(life.route, life.task, config, {}, {})
        hidden = secrecy.forms(secret_values(given, config.redact))
        if hidden and os.path.lexists(log):
            masking.overwrite(log, hidden, sys.maxsize)

    def _enclosing(self, life: Claimed, tree: Tree) -> trees.Enclosing:
        """Behind which walls the tree is set up: those of its attempts, for its base may be what
        another one left. So it is given what its tool is, not all of our environment."""
        route, config = life.route, self.settings.config
        building = Building(self.layout, self.settings)

        def enclosed(
            argv: Sequence[str], cwd: str, env: Mapping[str, str]
        ) -> AbstractContextManager[trees.Command]:
            own = {name: env[name] for name in ("GIT_CEILING_DIRECTORIES", "ORCHESTRATOR_ROOT")}
            given = environment(route, life.task, config, own, {})
            if not route.sandbox.on:
                return trees.bare(argv, cwd, given)
            scene = Scene(route.sandbox, real(tree.path), real(cwd), apart=True)
            return building.command(scene, argv, given)

        return enclosed

    def _plan(self, life: Claimed, repo: git.Repository) -> Tree:
        """What tree it is to have: of its run's branch, of another task's, or of what is
        configured."""
        config, task = self.settings.config.trees, life.task
        start = ""
        if contests.known(self.layout, task.run or "") is not None:
            start = ""  # nothing of it is to be in the branch of another
        elif task.run and runrecords.is_known(self.layout, task.run):
            start = runbranches.begin(self.layout, config, repo, task.run).branch
        commit = self._grown(task.grows_from) if task.grows_from else task.base
        tree = trees.plan(self.layout, config, life.id, repo, start, commit)
        return replace(tree, grows_from=task.grows_from)

    def _grown(self, task_id: str) -> str:
        """The commit that another task's work ends with.  Raises `CannotIsolate` if it has none."""
        journal = journals.of(self.layout, task_id)
        change = change_from(journal.change) if journal is not None else None
        if change is None:
            raise trees.CannotIsolate(
                f"{task_id} has no branch to start from (base)", f"orchestrator show {task_id}"
            )
        if change.unproven:
            raise trees.CannotIsolate(
                f"the branch of {task_id} is not complete (base): {change.unproven}",
                f"orchestrator show {task_id}",
            )
        return change.tip

    async def remember(self, life: Claimed, run_dir: str) -> None:
        """Write down what the tree shares with the person, to see afterwards whether an agent
        changed it."""
        if life.tree is not None:
            await asyncio.to_thread(self._remember, life.id, life.tree, run_dir)

    def _remember(self, task_id: str, tree: Tree, run_dir: str) -> None:
        repo = trees.repository(self.layout)
        sharing.expose(self.layout, repo, task_id)
        sharing.save_look(f"{run_dir}/{SHARED}", sharing.look(self.layout, repo, tree, task_id))

    async def saved(self, life: Claimed, entry: Entry, run_dir: str) -> Change | None:
        """Save what the attempt left; None without a tree. Raises `GitFailed` or OSError: then the
        tree stays as it is."""
        life.tree = trees.tree_from(self.layout, life.id, entry.journal.tree)
        if life.tree is None or not life.tree.ready:
            return None
        life.change = await asyncio.to_thread(self._save, life, life.tree, run_dir)
        entry.append({"record": "saved", "attempt": life.attempt, **asdict(life.change)}, sync=True)
        return life.change

    def _save(self, life: Claimed, tree: Tree, run_dir: str) -> Change:
        repo = trees.repository(self.layout)
        agent = life.route.agent.name
        change = saving.save(self.layout, repo, tree, life.id, life.attempt, agent)
        before = sharing.known_look(f"{run_dir}/{SHARED}")
        was = sharing.carried_off(repo, tree, before, change) if before is not None else ""
        told, suspicious = self._compare(life, tree, repo, before)
        if was:
            change = saving.recounted(repo, tree, change, was)
            why = f"while it ran, {change.target} was moved to its work, without your approval"
            told, suspicious = [*told, why], suspicious or why
        warnings = (*(tree.notes if life.attempt == 1 else ()), *change.warnings, *told)
        return replace(change, warnings=warnings, suspicious=suspicious)

    def _compare(
        self, life: Claimed, tree: Tree, repo: git.Repository, before: sharing.Shared | None
    ) -> tuple[list[str], str]:
        """What has changed of that which trees share: told, and whether git would execute something
        else now."""
        told: list[str] = []
        if before is not None:
            ref = f"{saving.saved_ref(tree.branch, life.attempt)}.shared"
            prefixes = (self.settings.config.trees.prefix, runbranches.PREFIX)
            own = tuple(f"refs/heads/{prefix}/" for prefix in prefixes)
            told = sharing.told(self.layout, repo, tree, ref, before, own, life.id)
        files = sharing.changed(self.layout, repo)
        if not files:
            return told, ""
        why = f"while it ran, git hooks or settings here changed: {', '.join(files[:5])}"
        return [*told, why], why

    def drops(self, life: Claimed) -> bool:
        """Whether the attempt drops task files in a place of its own; one without tree and sandbox
        uses the real inbox."""
        return life.tree is not None or life.route.sandbox.on

    def collect(self, life: Claimed, quiet: float | None = None) -> list[str]:
        """Bring task files from where the attempt drops them into the real inbox, each once; what
        could not be brought, in words. It waits for the disk: not for the loop.

        ``quiet``: only files that nobody has written to for so many seconds, without waiting for
        git; None at the end of the attempt: everything.
        """
        if not self.drops(life):
            return []
        # A look at a living attempt may still be at it when it has ended.
        with self._collects.setdefault(life.id, threading.Lock()):
            told = self._from_places(life, quiet)
        if quiet is None:
            self._collects.pop(life.id, None)
        return told

    def _from_places(self, life: Claimed, quiet: float | None) -> list[str]:
        places: list[tuple[str, tuple[str, ...]]] = []
        if life.tree is not None:
            places.append((self.folder(life), (WORK, "inbox")))
        if life.route.sandbox.on and life.attempt:
            places.append((self.layout.logs(life.id, life.attempt), (DROP,)))
        told = []
        for base, below in places:
            try:
                with opening.folder_below(base, *below) as folder:
                    told += self._collect(life, folder, quiet)
            except FileNotFoundError:
                continue
            except OSError as error:
                told.append(f"{'/'.join(below)} could not be checked: {error.strerror}")
        return told

    def _collect(self, life: Claimed, folder: str, quiet: float | None) -> list[str]:
        """``quiet``: the attempt goes on, so one look is enough, and the next one comes; at its end
        everything is taken."""
        told: list[str] = []
        left: set[str] = set()
        more, looks = True, MOST_LOOKS if quiet is None else 1
        while more and looks and len(told) < MOST_LOOKS:
            listed, more = _dropped(folder, left)
            told += self._submit(life, folder, listed, quiet)
            left.update(listed)
            looks -= 1
        if more:
            told.append("it dropped too many files; some were not accepted")
        return told

    def _submit(
        self, life: Claimed, folder: str, listed: list[str], quiet: float | None
    ) -> list[str]:
        told = []
        for name in listed:
            task_id, path = stem_of(name), f"{folder}/{name}"
            try:
                if quiet is not None and time.time() - os.lstat(path).st_mtime < quiet:
                    continue
                data = opening.read_bytes(path, 1 << 20)
                if self._brought(os.path.realpath(folder), name, data, at_once=quiet is not None):
                    if quiet is None and scan.locate(self.layout, task_id) is None:
                        told.append(f"work/inbox/{name} came through git, so it was not queued")
                    continue
                self.store.submit(
                    task_id,
                    data.decode("utf-8"),
                    name[len(task_id) :],
                    agent=life.route.agent.name,
                    run_id=life.task.run,
                    summary=f"dropped by {life.id}",
                    parent=life.id,
                    bounds=bounds_of(life),
                )
            except Busy:
                continue
            except (OSError, ValueError, OrchestratorError) as error:
                if not self._is_there(name, path):
                    why = getattr(error, "message", "") or getattr(error, "strerror", "") or error
                    told.append(f"work/inbox/{name}, which it dropped, was not queued: {why}")
                    continue
            atomic.remove(path)
        return told

    def _brought(self, folder: str, name: str, data: bytes, at_once: bool) -> bool:
        """Whether git has put the file there, so that the attempt has not dropped it.

        Raises `Busy` if that is to be asked again (``at_once``), ValueError if git does not say.
        """
        if self.settings.config.from_git == "run":
            return False

        def asked() -> bool:
            return bool(self._origins.brought(folder, name, data, time.time()))

        try:
            if at_once:
                return asked()
            until = time.monotonic() + origin.OLD_LOCK + 1
            while time.monotonic() < until:
                with suppress(Busy):
                    return asked()
                time.sleep(origin.AGAIN)
        except reading_git.Unclear as error:
            raise ValueError(origin.unclear_text(error)) from None
        raise ValueError("a git command has been running there for long")

    def _is_there(self, name: str, path: str) -> bool:
        """Whether the real inbox has this very file already: we were cut off between bringing it
        and taking it away."""
        try:
            there = opening.read_bytes(self.layout.file(Status.INBOX, name), 1 << 20)
            return there == opening.read_bytes(path, 1 << 20)
        except OSError:
            return False

    def known(self, life: Claimed, entry: Entry) -> None:
        """What the journal knows of the task's tree and change."""
        life.tree = trees.tree_from(self.layout, life.id, entry.journal.tree)
        life.change = change_from(entry.journal.change)

    def folder(self, life: Claimed) -> str:
        """Where the task's relative paths begin: its tree, or the project."""
        if life.tree is None:
            return self.layout.root
        root = os.path.realpath(self.layout.root)
        prefix = os.path.relpath(root, gitfiles.top_of(root))
        return life.tree.path if prefix == "." else os.path.join(life.tree.path, prefix)

    def file(self, life: Claimed, path: str) -> str:
        """A path that a task names: ``work/...`` is the project's, everything else is in its
        tree."""
        inside = path == WORK or path.startswith(f"{WORK}/")
        return os.path.join(self.layout.root if inside else self.folder(life), path)


def _dropped(folder: str, known: Collection[str] = ()) -> tuple[list[str], bool]:
    """The first task files in a folder that are not ``known``, and whether there may be more:
    whatever lies there, it is not read for long."""
    found: list[str] = []
    with os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count >= MOST_LISTED or len(found) >= MOST_DROPPED:
                return found, True
            if entry.name not in known and stem_of(entry.name) and not is_draft(entry.name):
                found.append(entry.name)
    return found, False


def bounds_of(life: Claimed) -> Bounds | None:
    """What a task that this attempt drops may have at most; None if it is in no sandbox."""
    route = life.route
    if not route.sandbox.on:
        return None
    role, tree = route.agent.role, life.tree is not None
    return Bounds(
        life.id,
        route.sandbox,
        route.agent.permissions,
        tuple(route.agent.secrets),
        tree,
        role.reviews if tree else role.review or NEVER,
    )


def own_environment(layout: Layout, life: Claimed, run_dir: str, tag: str) -> dict[str, str]:
    """The variables by which an attempt, or a check of it, knows where it is."""
    own = {
        "ORCHESTRATOR_TASK_ID": life.id,
        "ORCHESTRATOR_RUN_ID": life.task.run or "",
        "ORCHESTRATOR_ATTEMPT": str(life.attempt),
        "ORCHESTRATOR_WORK": layout.work,
        "ORCHESTRATOR_ROOT": layout.root,
        "ORCHESTRATOR_ARTIFACTS": f"{run_dir}/{ARTIFACTS}",
        TAG: tag,
    }
    if life.tree is not None:
        own["ORCHESTRATOR_TREE"] = life.tree.path
        own["ORCHESTRATOR_BRANCH"] = life.tree.branch
        # Without it a tree whose .git file is gone would be part of the person's checkout.
        own["GIT_CEILING_DIRECTORIES"] = layout.trees
    return own
