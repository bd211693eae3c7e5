"""The watcher's side of code on other machines: what an attempt begins from goes out, and its work
comes home into the task's tree.

Everything here blocks: call it in a thread. What a worker sends back has passed git's own checks,
holds one commit on top of the one that was sent, and ends in the task's tree; nothing of it
moves a branch, runs a hook, or reaches ``work/``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.distributors import packing
from orchestrator.distributors.dispatches import CODE_MOST
from orchestrator.errors import OrchestratorError
from orchestrator.files import opening
from orchestrator.files.layout import WORK, Layout
from orchestrator.files.text import lines_of
from orchestrator.records import dataclass
from orchestrator.store import atomic, bundles, smallfiles, trees
from orchestrator.store.git import Git, GitFailed, NoRepository, Repository, find

OFFERS, RESULTS = "refs/orchestrator/offers", "refs/orchestrator/results"
RESULT = "refs/orchestrator/work"  # and, below it by dispatch, the ref in a bundle that comes back


class NotHome(OrchestratorError):
    """What came back could not be taken in; the message says why."""


@dataclass(frozen=True, slots=True)
class Home:
    """The project as dispatches see it."""

    layout: Layout

    def begin(self, dispatch: str, told: Mapping[str, Any]) -> dict[str, Any]:
        """What an attempt works on, for its envelope: the commit of its tree, or else of the
        checkout as it is now."""
        known = told.get("code") or {}
        try:
            repo = find(self.layout.root)
        except NoRepository:
            return {"kind": "none"}
        commit = known.get("commit") or self._checkout(repo)
        if not commit:
            return {"kind": "none"}
        repo.shared("update-ref", f"{OFFERS}/{dispatch}", commit)
        published = repo.shared("for-each-ref", "--count=1", "--contains", commit, "refs/remotes")
        return {
            "kind": "git",
            "commit": commit,
            "published": bool(published),
            "back": bool(known.get("branch")),
            "below": repo.prefix,
        }

    def _checkout(self, repo: Repository) -> str:
        head = repo.checkout.commit_of("HEAD")
        return trees.snapshot(self.layout, repo, head) if head else ""

    def share(self, dispatch: str, told: Mapping[str, Any]) -> dict[str, Any]:
        """The same for code on a file system that both sides have: a word that only who sees this
        folder can say."""
        nonce = os.urandom(32).hex()
        os.makedirs(f"{self.layout.state}/shared", mode=0o700, exist_ok=True)
        path = shared_file(self.layout, dispatch)
        atomic.remove(path)
        atomic.write_temporary(path, nonce.encode(), mode=0o600, sync=False)
        tree = bool((told.get("code") or {}).get("branch"))
        return {"kind": "shared", "nonce": nonce, "tree": tree}

    def bundle(self, dispatch: str, has: Sequence[str]) -> bytes:
        """The commits that a worker lacks, who has these. `GitFailed` if there are too many bytes
        of them."""
        repo = find(self.layout.root)
        path = smallfiles.scratch(self.layout, "bundle")
        asked = "".join(f"{commit}\n" for commit in has).encode()
        lines = lines_of(repo.shared("cat-file", "--batch-check", stdin=asked)) if has else []
        known = [f"^{line.split()[0]}" for line in lines if line.split()[1:2] == ["commit"]]
        try:
            repo.shared("bundle", "create", "-q", path, f"{OFFERS}/{dispatch}", *known)
            return opening.read_bytes(path, CODE_MOST)
        except opening.TooLarge:
            raise GitFailed(f"the code has more than {CODE_MOST >> 20} MiB") from None
        finally:
            atomic.remove(path)

    def given(
        self, folder: str, told: Mapping[str, Any], commit: str
    ) -> list[tuple[str, str, str]]:
        """Files that the attempt is to have beside the commit, as `packing.pack` takes them."""
        found: dict[str, str] = {}
        for path in told.get("given", ()):
            inside = path == WORK or path.startswith(f"{WORK}/")
            base = self.layout.root if inside else folder
            if commit and not inside and self._has(commit, path):
                continue
            found |= dict.fromkeys(packing.found_below(base, path), base)
        return [(name, base, name) for name, base in found.items()]

    def _has(self, commit: str, path: str) -> bool:
        repo = find(self.layout.root)
        name = f"{commit}:{repo.below(path)}"
        return not repo.shared.raw("cat-file", "-e", name, codes=None).returncode

    def take(self, dispatch: str, task_id: str, base: str, commit: str, bundle: bytes) -> None:
        """Bring the work of an attempt, one commit on ``base``, into the task's tree. Raises
        `NotHome`; may be repeated."""
        ref = f"{RESULTS}/{dispatch}"
        try:
            repo = find(self.layout.root)
            bundles.take_in(repo.shared, bundle, f"{RESULT}/{dispatch}", commit, base)
            repo.shared("update-ref", ref, commit)
            self._into_tree(repo, task_id, base, commit)
        except (NoRepository, GitFailed, bundles.Refused) as error:
            raise NotHome(f"{error.message} (if it came, it is {ref})") from None
        repo.shared("update-ref", "-d", ref)

    def _into_tree(self, repo: Repository, task_id: str, base: str, commit: str) -> None:
        tree = self.layout.tree(task_id)
        admin = trees.admin_of(repo, tree)
        if not admin or not (opening.is_folder(self.layout.trees) and opening.is_folder(tree)):
            raise NotHome("the task's tree is gone")
        git = repo.acting(admin, tree)
        index = smallfiles.scratch(self.layout, "index")
        content = self._without_state(repo, git, base, commit, index)
        git("read-tree", "-m", "-u", base, content)

    def _without_state(self, repo: Repository, git: Git, base: str, commit: str, index: str) -> str:
        """The tree of a commit with ``work/`` as it was in ``base``: the state of tasks is nobody's
        work."""
        private = git.at(index=index)
        state = repo.below(WORK)
        trees.forget_index(index)
        try:
            private("read-tree", commit)
            private(
                "rm",
                "-r",
                "-q",
                "-f",
                "--cached",
                "--ignore-unmatch",
                "--",
                f":(top,literal){state}",
            )
            before = repo.shared(
                "rev-parse", "-q", "--verify", f"{base}:{state}", codes=(0, 1, 128)
            )
            if before:
                private("read-tree", f"--prefix={state}/", before)
            return private("write-tree")
        finally:
            trees.forget_index(index)

    def place(self, run_dir: str, folder: str, blob: bytes, artifacts: Sequence[str]) -> list[str]:
        """Files that came back, where they belong: below the attempt's logs, and declared artifacts
        in its folder, which is the project or in a tree; what was not taken."""
        base = self.layout.root if folder == self.layout.root else self.layout.work
        below = os.path.relpath(folder, base)
        refused = []
        for name, data, executable in packing.unpack(blob):
            kind, _, rest = name.partition("/")
            if kind in ("artifacts", "tool") and rest:
                packing.place(run_dir, name, data, executable)
            elif kind == "code" and rest in artifacts and rest.split("/")[0] != WORK:
                if not os.path.isdir(folder):
                    raise NotHome("the task's tree is gone")
                packing.place(base, os.path.normpath(f"{below}/{rest}"), data, executable)
            else:
                refused.append(name)
        return refused

    def end(self, dispatch: str) -> None:
        """Forget what was only needed while the dispatch lived."""
        atomic.remove(shared_file(self.layout, dispatch))
        try:
            find(self.layout.root).shared("update-ref", "-d", f"{OFFERS}/{dispatch}")
        except (NoRepository, GitFailed):
            pass


def shared_file(layout: Layout, dispatch: str) -> str:
    """Where the word of `Home.share` is, on both sides."""
    return f"{layout.state}/shared/{dispatch}"


def digest(data: bytes) -> str:
    """The sha256 of a blob, in hex."""
    return hashlib.sha256(data).hexdigest()
