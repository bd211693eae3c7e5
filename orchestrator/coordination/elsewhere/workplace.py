"""The worker's side of code: where an attempt works, and what it has changed as one commit.

Objects are in a repository of the spool's own, which borrows those of the project's clone and never
writes there. A tree has a ``.git`` of its own for its agent; what that says is never asked: the
change is what the *files* are. Everything here blocks.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.coordination.elsewhere.spool import Entry
from orchestrator.distributors import packing
from orchestrator.distributors.home import OFFERS, RESULT, shared_file
from orchestrator.errors import OrchestratorError
from orchestrator.files import opening
from orchestrator.files.layout import WORK, Layout
from orchestrator.files.text import lines_of
from orchestrator.model.isolation import branch_part
from orchestrator.store import adding, atomic, bundles, trees
from orchestrator.store.git import Git, GitFailed, NoRepository, Repository, find
from orchestrator.store.trees import Tree

CODE = "refs/orchestrator/code"  # and, below it by dispatch, what a watcher has sent
HAS_MOST = 100  # commits that are named when code is asked for


class NoPlace(OrchestratorError):
    """The attempt has nothing to work on; the message says why."""


class Workplace:
    """Makes the places where attempts work."""

    def __init__(self, layout: Layout, spool: str) -> None:
        self.layout = layout
        self._store = Git(f"{spool}/code.git")
        self._lock = threading.Lock()
        self._origin = ""

    def prepare(self) -> None:
        """Have the repository. Without git, or outside a clone, everything comes from the
        watcher."""
        if os.path.isdir(self._store.git_dir):
            return
        os.makedirs(self._store.git_dir, mode=0o700)
        self._store("init", "-q", "--bare")
        try:
            objects = f"{find(self.layout.root).common}/objects"
        except NoRepository:
            return
        atomic.write_temporary(
            f"{self._store.git_dir}/objects/info/alternates", os.fsencode(f"{objects}\n")
        )

    def lacks(self, code: Mapping[str, Any]) -> bool:
        """Whether its commit is not here, and the remote does not have it either."""
        if code.get("kind") != "git":
            return False
        with self._lock:
            if not self._store.commit_of(code["commit"]) and code.get("published"):
                self._fetch()
            return not self._store.commit_of(code["commit"])

    def _fetch(self) -> None:
        """What the clone's remote has now."""
        try:
            clone = find(self.layout.root)
        except NoRepository:
            return
        url = clone.shared("config", "--get", "remote.origin.url", codes=(0, 1))
        if url:
            words = (
                "-q",
                "--no-tags",
                "--no-write-fetch-head",
                url,
                "+refs/heads/*:refs/remotes/origin/*",
            )
            self._store.closed().raw("fetch", *words, codes=None, cwd=clone.top)

    def has(self) -> list[str]:
        """Commits that are here, newest first; whoever sends code leaves out what they hold."""
        words = ("for-each-ref", "--format=%(objectname)", f"--count={HAS_MOST}")
        listed = [lines_of(self._store(*words))]
        try:
            clone = find(self.layout.root).shared
            refs = ("--sort=-creatordate", "refs/heads", "refs/remotes")
            listed.append(lines_of(clone(*words, *refs)))
        except NoRepository:
            pass
        return list(dict.fromkeys(line for lines in listed for line in lines))[:HAS_MOST]

    def take(self, entry: Entry, commit: str, bundle: bytes) -> None:
        """Take in the commits that the watcher has sent.  Raises `NoPlace`."""
        try:
            with self._lock:
                ref = f"{OFFERS}/{entry.dispatch}"
                bundles.take_in(self._store, bundle, ref, commit)
                self._store("update-ref", f"{CODE}/{entry.dispatch}", commit)
        except (GitFailed, bundles.Refused) as error:
            raise NoPlace(f"the code could not be imported: {error.message}") from None

    def ready(self, entry: Entry, told: Mapping[str, Any]) -> str:
        """The folder that the attempt's paths begin in.  Raises `NoPlace` or `GitFailed`."""
        code = told["code"]
        if code["kind"] == "shared":
            return self._shared(entry, told)
        if not os.path.isdir(entry.tree):
            making = (
                f"{entry.folder}/making"  # whole, or not there: a worker may be killed meanwhile
            )
            if os.path.lexists(making):
                os.rename(making, f"{making}-{time.time_ns()}")
            os.mkdir(making, 0o700)
            if code["kind"] == "git":
                self._check_out(making, told)
            os.rename(making, entry.tree)
        project = code.get("below", "")
        if not project:
            return entry.tree
        if not packing.safe(project):
            raise NoPlace("the folder that it begins in is no folder of the code")
        packing.have_folder(entry.tree, project)  # no link in the code leads out of it
        return f"{entry.tree}/{project}"

    def place(self, entry: Entry, told: Mapping[str, Any], blob: bytes) -> list[str]:
        """Put files that came beside the code into the attempt's own tree; their names."""
        if told["code"]["kind"] == "shared":
            raise NoPlace("code: shared, and files beside it: both sides have them already")
        files = packing.unpack(blob)
        for name, content, executable in files:
            packing.place(entry.tree, below(told, name), content, executable)
        return [name for name, _, _ in files]

    def _shared(self, entry: Entry, told: Mapping[str, Any]) -> str:
        try:
            seen = opening.read_bytes(shared_file(self.layout, entry.dispatch), 100).decode("ascii")
        except (OSError, ValueError):
            seen = ""
        if not seen or seen != told["code"].get("nonce"):
            raise NoPlace(
                "code: shared, but this worker's project is not the watcher's folder",
                "start the worker with -C in the same folder, or use code: git",
            )
        return self.layout.tree(told["task"]) if told["code"].get("tree") else self.layout.root

    def _check_out(self, folder: str, told: Mapping[str, Any]) -> None:
        """A repository of the attempt's own, on a branch of its own, with the files of the commit;
        without ``work/``."""
        git = Git(f"{folder}/.git", folder)
        commit, state = told["code"]["commit"], below(told, WORK)
        os.mkdir(git.git_dir)
        git("init", "-q")
        objects = os.fsencode(f"{self._store.git_dir}/objects\n")
        atomic.write_temporary(f"{git.git_dir}/objects/info/alternates", objects, sync=False)
        branch = f"refs/heads/task/{branch_part(told['task'])}"
        git("update-ref", branch, commit)
        git("symbolic-ref", "HEAD", branch)
        git("read-tree", "HEAD")
        trees.hide_state(git, state)
        git("checkout-index", "-a", "-u", "-q")

    def work(
        self, entry: Entry, told: Mapping[str, Any], given: Sequence[str]
    ) -> tuple[str, bytes]:
        """What was changed: a commit on the one it began from, and a bundle of it; empty if nothing
        was.

        Raises `GitFailed` or OSError.  ``given`` are files that were only lent.
        """
        code = told["code"]
        if code["kind"] != "git" or not code.get("back") or not os.path.lexists(entry.tree):
            return "", b""  # nothing is to come back, or it did not begin
        index, path, base = f"{entry.folder}/index", f"{entry.folder}/work.bundle", code["commit"]
        private = self._store.at(work_tree=entry.tree, index=index)
        ref = f"{RESULT}/{entry.dispatch}"
        for left in (index, f"{index}.lock", path):
            atomic.remove(left)
        repo = Repository(entry.tree, private.git_dir, private.git_dir, code.get("below", ""))
        lent = tuple(below(told, name) for name in given)
        private("read-tree", base)
        plain = f"{entry.folder}/plain.git"
        added = adding.add_all(plain, repo, Tree(entry.tree, "", base, placed=lent), private)
        if added.why:
            atomic.remove_tree(plain)
            raise GitFailed(added.why)
        content = private("write-tree")
        if content == private.tree_of(base):
            return "", b""
        message = f"{told['task']}: what attempt {told['attempt']} left\n".encode()
        commit = private.signed()("commit-tree", content, "-p", base, stdin=message)
        private("update-ref", ref, commit)
        private("bundle", "create", "-q", path, ref, f"^{base}")
        return commit, opening.read_bytes(path, 1 << 32)

    def forget(self, entry: Entry) -> None:
        """Its commits are not needed any more."""
        for ref in (f"{RESULT}/{entry.dispatch}", f"{CODE}/{entry.dispatch}"):
            self._store("update-ref", "-d", ref, codes=(0, 1, 128))


def below(told: Mapping[str, Any], name: str) -> str:
    """A path of the project as its repository has it."""
    project = told["code"].get("below", "")
    return f"{project}/{name}" if project else name
