"""A tree of its own for a task: a git worktree at ``work/trees/<id>`` on the branch ``task/<id>``.

`plan` says what will be made (it goes into the journal before anything is), `make` makes it and may
be cut off at any moment, `discard` takes a half-made one away: no agent was ever in it. A tree is
locked, so that the person's ``git worktree prune`` leaves it. ``work/`` is not checked out in it:
an old copy of the tasks' state would deceive. Nothing here touches the person's checkout, index or
HEAD.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.files import gitfiles, jsonlines, opening, owners, scan
from orchestrator.files.layout import WORK, Layout
from orchestrator.files.text import lines_of
from orchestrator.model.isolation import Trees, branch_part, free_name
from orchestrator.records import dataclass
from orchestrator.store import atomic, filtered, owned, smallfiles
from orchestrator.store.git import Git, GitFailed, NoRepository, Repository, find

SAVED = "refs/orchestrator/saved"  # below it what attempts left: <name>/<attempt>
ASIDE = "orchestrator-"  # how a worktree's folder is called in the repository while it is written
CLOSED = [-1]  # stands for a folder that cannot be looked into
GONE = ".gone-"  # the beginning of the name of a tree that is on its way out

# The words of a command, its environment, and the descriptors that it must be given.
Command = tuple[Sequence[str], Mapping[str, str], tuple[int, ...]]
# Puts a command behind walls while it is started: its words, its folder, its environment.
Enclosing = Callable[[Sequence[str], str, Mapping[str, str]], AbstractContextManager[Command]]


class CannotIsolate(OrchestratorError):
    """There can be no tree for this task; the message says why, before any agent has started."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A task's tree as its journal knows it.

    ``base`` is the commit that it was made from, ``target`` the branch that a merge moves (empty:
    none), ``placed`` what we put into it; ``ready`` whether it was made to the end.
    """

    path: str
    branch: str
    base: str
    target: str = ""
    working: bool = False
    placed: tuple[str, ...] = ()
    ready: bool = False
    notes: tuple[str, ...] = ()
    grows_from: str = ""  # the task with whose work it began

    @property
    def is_there(self) -> bool:
        """Whether its folder is there. A link in its place, or in place of ``work/trees``, is none:
        what lies behind it is not the task's."""
        return opening.is_folder(os.path.dirname(self.path)) and opening.is_folder(self.path)

    def record(self) -> dict[str, Any]:
        """The tree as a journal's ``tree`` record, without its path: the project may be moved."""
        return {
            "record": "tree",
            **{name: getattr(self, name) for name in self.__dataclass_fields__ if name != "path"},
        }


def tree_from(layout: Layout, task_id: str, record: Mapping[str, Any]) -> Tree | None:
    """The tree in a ``tree`` record of a journal; None if there is none."""
    if not record.get("branch"):
        return None
    known = {name: record[name] for name in Tree.__dataclass_fields__ if name in record}
    for name in ("placed", "notes"):
        known[name] = tuple(known.get(name, ()))
    return Tree(layout.tree(task_id), **known)


def repository(layout: Layout) -> Repository:
    """The project's repository, fit for trees.  Raises `CannotIsolate`."""
    try:
        found = find(layout.root)
    except NoRepository as error:
        raise CannotIsolate(error.message, error.hint) from None
    if layout.root.startswith(found.top) and "/trees/" in found.git_dir.replace(
        "/worktrees/", "/trees/"
    ):
        stale = _foreign(found)
        if stale:
            raise CannotIsolate(stale, "git worktree repair, if the project was moved")
    return found


def _foreign(found: Repository) -> str:
    """Why this checkout is not the one that its repository means: a copied project commits into the
    original."""
    try:
        meant = os.path.realpath(_text(f"{found.git_dir}/gitdir").strip())
    except OSError:
        return ""
    here = os.path.realpath(f"{found.top}/.git")
    return "" if meant == here else f"this checkout is a copy: its repository means {meant}"


def plan(
    layout: Layout, trees: Trees, task_id: str, repo: Repository, start: str = "", commit: str = ""
) -> Tree:
    """What is to be made.

    ``start`` is a branch to begin from and to merge into, instead of ``trees.base``; ``commit``
    what to begin from all the same: the tip of a task that this one follows, say.
    """
    base, target = beginning(trees, repo, start)
    notes = []
    if commit:
        base = repo.shared.commit_of(commit)
        if not base:
            raise CannotIsolate(f"there is no commit or branch '{commit}' (base)", "git branch")
    working = trees.base == "working" and not start and not commit
    if working:
        base = snapshot(layout, repo, base)
    else:
        notes += unseen(repo)
    notes += filtered.not_seen(repo, base)
    wanted = f"{trees.prefix}/{branch_part(task_id)}"
    branch = free_name(wanted, taken(repo, trees.prefix))
    if branch != wanted:
        notes.append(f"the branch {wanted} is not ours or cannot be used; this one is {branch}")
    return Tree(layout.tree(task_id), branch, base, target, working, notes=tuple(notes))


def beginning(trees: Trees, repo: Repository, start: str = "") -> tuple[str, str]:
    """The commit that a branch begins from, and the branch that it is to be merged into (empty:
    none). Raises `CannotIsolate`.

    ``start`` is a branch to begin from instead of ``trees.base``.
    """
    wanted = start or trees.base
    if wanted not in ("HEAD", "working"):
        base = repo.shared.commit_of(f"refs/heads/{wanted}")
        if not base:
            raise CannotIsolate(f"there is no branch '{wanted}' (trees.base)", "git branch")
        leads = ("symbolic-ref", "-q", "--short", f"refs/heads/{wanted}")
        meant = "" if start else repo.shared(*leads, codes=(0, 1, 128))  # another name of a branch
        return base, meant or wanted
    base = repo.checkout.commit_of("HEAD")
    if not base:
        raise CannotIsolate(
            "a tree needs a commit to start from, and there is none yet", "git commit"
        )
    return base, repo.checkout("symbolic-ref", "-q", "--short", "HEAD", codes=(0, 1, 128))


def taken(repo: Repository, prefix: str) -> list[str]:
    """Names that a new branch must not have: of branches here, of those that a remote has, and of
    tasks that have saved something."""
    places = ("refs/heads", "refs/remotes", SAVED)
    listed = repo.shared("for-each-ref", "--format=%(refname)", *places)
    names = []
    for ref in lines_of(listed):
        kind, _, rest = ref.removeprefix("refs/").partition("/")
        if kind == "heads":
            names.append(rest)
        elif kind == "remotes":
            names.append(rest.partition("/")[2])
        else:
            names.append(f"{prefix}/{ref.removeprefix(SAVED + '/').partition('/')[0]}")
    return [name for name in dict.fromkeys(names) if name]


def unseen(repo: Repository) -> list[str]:
    """What the agent will not see: uncommitted changes of tracked files outside ``work/``."""
    found = repo.checkout.at(env=(("GIT_OPTIONAL_LOCKS", "0"),))(
        "status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames", "--ignore-submodules=all",
        "--", ":(top)", f":(top,exclude,literal){repo.below(WORK)}",
    )  # fmt: skip
    count = len([entry for entry in found.split("\0") if entry])
    if not count:
        return []
    return [
        (
            f"{count} uncommitted file{'s are' if count > 1 else ' is'} not in this tree"
            " (trees.base: working)"
        )
    ]


def snapshot(layout: Layout, repo: Repository, head: str) -> str:
    """A commit with HEAD and the uncommitted changes of tracked files outside ``work/``; nothing of
    the person's is touched."""
    index = smallfiles.scratch(layout, "working.index")
    git = repo.checkout.at(index=index)
    try:
        copy_index(repo.git_dir, index, git, head)
        # Not `git add -u`: it looks into submodules, with a git that obeys their configuration.
        outside = ("--", ":(top)", f":(top,exclude,literal){repo.below(WORK)}")
        edited = git("diff-files", "--ignore-submodules=dirty", "--name-only", "-z", *outside)
        git("update-index", "-z", "--add", "--remove", "--stdin", stdin=os.fsencode(edited))
        tree = git("write-tree")
    finally:
        forget_index(index)
    if tree == repo.shared.tree_of(head):
        return head
    return repo.shared.signed()(
        "commit-tree", tree, "-p", head, "-m", "Uncommitted changes of the checkout"
    )


def copy_index(git_dir: str, index: str, git: Git, head: str) -> None:
    """A private copy of an index, or one made anew from ``head`` where there is none that can be
    read.

    With its time: by that git tells which files it must read although they look unchanged (same
    size, same second).
    """
    forget_index(index)
    try:
        shutil.copy2(f"{git_dir}/index", index)
        git("ls-files", "-s", "--", ":(top)/no-such-file")
    except (OSError, GitFailed):
        forget_index(index)
        git("read-tree", head)


def forget_index(index: str) -> None:
    for path in (index, f"{index}.lock"):
        atomic.remove(path)


# -- making it
# --------------------------------------------------------------------------------------------------


def _text(path: str) -> str:
    return os.fsdecode(opening.read_bytes(path, 1 << 20))


def admin_of(repo: Repository, path: str) -> str:
    """The folder that the repository keeps for the worktree at ``path``; empty if there is none."""
    wanted = os.path.realpath(os.path.dirname(path)) + "/" + os.path.basename(path) + "/.git"
    for entry in _entries(f"{repo.common}/worktrees"):
        try:
            named = _text(f"{entry.path}/gitdir").strip()
        except OSError:
            continue
        named = os.path.join(entry.path, named)
        folder = os.path.dirname(os.path.dirname(named))
        if os.path.realpath(folder) + named[len(folder) :] == wanted:
            return entry.path
    return ""


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []


def worktrees_on(repo: Repository, ref: str) -> list[str]:
    """The folders of the worktrees whose HEAD is this branch."""
    found = []
    for entry in _entries(f"{repo.common}/worktrees"):
        try:
            if _text(f"{entry.path}/HEAD").strip() == f"ref: {ref}":
                found.append(os.path.dirname(_text(f"{entry.path}/gitdir").strip()))
        except OSError:
            continue
    return found


def in_tree(repo: Repository, tree: Tree) -> Git:
    """Acts on a tree, through the folder that the repository keeps for it; its ``.git`` file is not
    asked."""
    admin = admin_of(repo, tree.path)
    if admin and (path := gitfiles.odd(admin)):
        raise GitFailed(f"{path} is not a regular file of a repository")
    return repo.acting(admin or repo.common, tree.path)


@contextmanager
def bare(argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> Iterator[Command]:
    """A command as it is, behind no walls."""
    yield argv, env, ()


def make(
    layout: Layout,
    trees: Trees,
    repo: Repository,
    tree: Tree,
    log: str,
    stopped: Callable[[], bool] = lambda: False,
    enclosed: Enclosing = bare,
) -> Tree:
    """Make the tree; it is `ready` when this returns. Raises `CannotIsolate`, and then there is
    nothing left of it; OSError where the disk refuses, and then it may be said again.

    ``log`` is where the output of ``trees.setup`` goes; ``stopped`` is asked whether to give up;
    ``enclosed`` has the commands of ``trees.setup`` behind walls: what they run may be an agent's
    work.
    """
    os.makedirs(layout.trees, exist_ok=True)
    if not opening.is_folder(layout.trees):
        raise CannotIsolate("work/trees is a link", "put a real folder in its place")
    hide_all(f"{layout.trees}/.gitignore")
    discard(layout, repo, tree)
    try:
        _add(repo, tree)
        git = in_tree(repo, tree)
        git("read-tree", "HEAD")
        hide_state(git, repo.below(WORK))
        git("checkout-index", "-a", "-u", "-q")
        base = os.path.join(tree.path, repo.prefix)
        _refuse_leaving(tree, f"{base}/{WORK}/inbox")
        os.makedirs(f"{base}/{WORK}/inbox", exist_ok=True)
        hide_all(f"{base}/{WORK}/.gitignore")
        copied = tuple(_copied(layout, trees, repo, tree))
        _set_up(trees, layout.root, base, log, stopped, enclosed)
        placed = (*copied, *_linked(layout, trees, repo, tree))
    except (OSError, OrchestratorError) as error:
        if isinstance(error, OSError) and error.errno in atomic.DISK_FAULTS:
            # it is made anew once the disk takes writes again, and what is half made goes then
            raise
        discard(layout, repo, tree)
        raise CannotIsolate(
            f"no tree could be made: {getattr(error, 'message', None) or error}"
        ) from None
    inventory(layout, tree, save=True)
    return Tree(**{**_fields(tree), "placed": placed, "ready": True})


def _add(repo: Repository, tree: Tree) -> None:
    """A worktree without files, on its branch, whole from the moment that it can be seen.

    ``git worktree add`` makes its folder in the repository file by file: killed between two of them
    it leaves one that nothing clears, and any other git that looks meanwhile fails ("failed to read
    commondir"). So the folder is written aside and comes by one rename. Only where branches are not
    files (reftable) git itself has to do it.
    """
    shared, ref = repo.shared, f"refs/heads/{tree.branch}"
    if not shared.commit_of(ref):
        shared("update-ref", "-m", "orchestrator: a task begins", ref, tree.base, "")
    if shared("config", "--get", "extensions.refstorage", codes=(0, 1)) not in ("", "files"):
        shared("worktree", "add", "--lock", "--no-checkout", tree.path, tree.branch)
        return
    os.makedirs(tree.path)
    admin = new_admin(repo, tree)
    atomic.write_temporary(f"{tree.path}/.git", os.fsencode(f"gitdir: {admin}\n"))


def new_admin(repo: Repository, tree: Tree) -> str:
    """A new folder in the repository for the worktree at the tree's path, on the tree's branch."""
    aside = f"{repo.common}/{ASIDE}{os.path.basename(tree.path)}.{owners.fresh()}"
    os.mkdir(aside)
    for name, text in (
        ("gitdir", f"{tree.path}/.git"),
        ("commondir", "../.."),
        ("HEAD", f"ref: refs/heads/{tree.branch}"),
        ("locked", "a task of orchestrator works in it"),
    ):
        atomic.write_temporary(f"{aside}/{name}", os.fsencode(f"{text}\n"))
    os.mkdir(f"{aside}/logs")
    atomic.write_temporary(
        f"{aside}/logs/HEAD", b""
    )  # git goes on with a log that is there, whatever is configured
    os.makedirs(f"{repo.common}/worktrees", exist_ok=True)
    return _into(aside, f"{repo.common}/worktrees/{os.path.basename(tree.path)}")


def hide_state(git: Git, state: str) -> None:
    """Have the index of a tree say that the project's ``work/`` is not checked out there."""
    listed = git("ls-files", "-z", "--", f":(top,literal){state}")
    if listed:
        git("update-index", "--skip-worktree", "-z", "--stdin", stdin=os.fsencode(listed))


def _into(aside: str, wanted: str) -> str:
    """Give a folder its name, or the next that is free."""
    for number in range(1000):
        name = f"{wanted}-{number}" if number else wanted
        try:
            atomic.move(aside, name)
            return name
        except FileExistsError:
            continue
    raise CannotIsolate(f"{wanted} and a thousand more are taken", "git worktree prune")


def _fields(tree: Tree) -> dict[str, Any]:
    return {name: getattr(tree, name) for name in tree.__dataclass_fields__}


def hide_all(path: str) -> None:
    """A ``.gitignore`` that hides all beside it. Several tasks may come here at once: one of them
    makes it."""
    if not os.path.lexists(path):
        with suppress(FileExistsError):
            atomic.write_temporary(path, b"*\n", sync=False)


def _copied(layout: Layout, trees: Trees, repo: Repository, tree: Tree) -> Iterator[str]:
    """Give it what ``copy`` names; the paths that were placed, as git names them."""
    for path, source, target in _wanted(layout, trees.copy, repo, tree):
        if os.path.lexists(target):
            continue  # tracked: it is in the tree already
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(source):
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target)
        yield repo.below(path)


def _linked(layout: Layout, trees: Trees, repo: Repository, tree: Tree) -> Iterator[str]:
    """Give it what ``link`` names, after ``setup``: a command that fills such a folder would empty
    the person's through the link."""
    git = in_tree(repo, tree)
    for path, source, target in _wanted(layout, trees.link, repo, tree):
        if git("ls-files", "-z", "--", f":(top,literal){repo.below(path)}"):
            continue
        if os.path.lexists(target):
            raise CannotIsolate(
                f"setup has made {path}, which should be a link to yours",
                "remove it from trees.link, or the command from trees.setup",
            )
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(source, target)
        yield repo.below(path)


def _wanted(
    layout: Layout, paths: Sequence[str], repo: Repository, tree: Tree
) -> Iterator[tuple[str, str, str]]:
    """Those of the paths that the project has, with where they are there and in the tree."""
    for path in paths:
        if os.path.isabs(path) or ".." in path.split("/"):
            raise CannotIsolate(
                f"'{path}' is outside the project", "copy and link in orchestrator.yaml"
            )
        source = os.path.join(layout.root, path)
        if os.path.lexists(source):
            target = os.path.join(tree.path, repo.prefix, path)
            _refuse_leaving(tree, os.path.dirname(target))
            yield path, source, target


def _refuse_leaving(tree: Tree, path: str) -> None:
    """`CannotIsolate` for a path of the tree that a link in its branch leads out of it: an agent
    may have made that branch."""
    inside, found = os.path.realpath(tree.path), os.path.realpath(path)
    if found != inside and not found.startswith(f"{inside}/"):
        shown = os.path.relpath(path, tree.path)
        raise CannotIsolate(
            f"on {tree.branch}, a link leads {shown} out of the tree",
            "remove the link from what it begins with",
        )


def _set_up(
    trees: Trees,
    root: str,
    base: str,
    log: str,
    stopped: Callable[[], bool],
    enclosed: Enclosing,
) -> None:
    """Run the commands of ``setup``, one after the other, nothing left behind."""
    for command in trees.setup:
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        env |= {"GIT_CEILING_DIRECTORIES": os.path.dirname(base), "ORCHESTRATOR_ROOT": root}
        with os.fdopen(
            opening.descriptor(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab", buffering=0
        ) as out:
            out.write(f"$ {' '.join(command)}\n".encode())
            with enclosed(command, base, env) as (argv, given, fds):
                process = owned.command(argv, base, given, fds, out)
                why = _wait(process, trees.setup_timeout, stopped)
        if why:
            raise CannotIsolate(f"{' '.join(command)}: {why}", f"its log: {log}")


def _wait(process: subprocess.Popen[bytes], limit: float, stopped: Callable[[], bool]) -> str:
    """Why a command of ``setup`` failed; empty if it did not."""
    spent = 0.0
    why = ""
    while True:
        try:
            code = process.wait(min(0.5, limit))
            why = why or (f"exit code {code}" if code else "")
            break
        except subprocess.TimeoutExpired:
            spent += 0.5
            late = f"took longer than {limit:.0f} s" if spent >= limit else ""
            why = why or ("cancelled" if stopped() else late)
            if why:
                _kill(process.pid)
    _kill(process.pid)
    return why


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def discard(layout: Layout, repo: Repository, tree: Tree) -> None:
    """Take away a half-made tree; its branch too, if nothing was ever committed on it. No agent was
    in it."""
    while admin := admin_of(repo, tree.path):
        shutil.rmtree(admin)
    for entry in _entries(repo.common):
        if re.fullmatch(rf"{ASIDE}{re.escape(os.path.basename(tree.path))}\.\d+-\d*", entry.name):
            atomic.remove_tree(entry.path)
    if os.path.lexists(tree.path):
        atomic.remove_tree(tree.path)
    atomic.remove(inventory_path(layout, tree))
    ref = f"refs/heads/{tree.branch}"
    if repo.shared.commit_of(ref) == tree.base:
        repo.shared("update-ref", "-d", ref, tree.base, codes=(0, 1, 128))


def mend(repo: Repository, tree: Tree) -> None:
    """Give a tree its ``.git`` file back, if an agent took it away or wrote into it."""
    admin = admin_of(repo, tree.path)
    if not admin or not tree.is_there:
        return
    meant = f"gitdir: {admin}\n"
    path = f"{tree.path}/.git"
    try:
        if _text(path) == meant:
            return
    except OSError:
        pass
    if opening.is_folder(path):
        return  # a repository of the agent's own: it is saved as files, and keeps the tree
    atomic.remove(path)
    atomic.write_temporary(path, os.fsencode(meant))


# -- what was there before the agent
# -----------------------------------------------------------------------------------


def inventory_path(layout: Layout, tree: Tree) -> str:
    """Where it is kept what a tree held before its agent came."""
    return f"{layout.state}/trees/{os.path.basename(tree.path)}.json"


def inventory(layout: Layout, tree: Tree, save: bool = False) -> dict[str, list[int]]:
    """Every file of a tree but ``.git``: size, time of content and of inode in ns. With ``save`` it
    is kept.

    A folder that cannot be looked into (no rights, too deep to be named) is told as one, and never
    kept as known.
    """
    if not tree.is_there:
        return {}
    found: dict[str, list[int]] = {}
    closed = {tree.path}
    for folder, folders, names in scan.walk(tree.path):
        closed.discard(folder)
        closed.update(
            f"{folder}/{name}" for name in folders if not os.path.islink(f"{folder}/{name}")
        )
        for name in (*names, *(name for name in folders if os.path.islink(f"{folder}/{name}"))):
            path = f"{folder}/{name}"
            try:
                info = os.lstat(path)
            except OSError:
                continue
            found[path[len(tree.path) + 1 :]] = [info.st_size, info.st_mtime_ns, info.st_ctime_ns]
    found.pop(".git", None)
    if save:
        data = json.dumps(found).encode()
        smallfiles.put(layout, inventory_path(layout, tree), data, "inventory")
    return found | {
        path[len(tree.path) + 1 :]: CLOSED for path in closed if os.path.isdir(tree.path)
    }


def known_inventory(layout: Layout, tree: Tree) -> dict[str, list[int]]:
    """What `inventory` kept; empty if that is lost, and then nothing counts as ours."""
    try:
        kept = jsonlines.loads(opening.read_bytes(inventory_path(layout, tree), 1 << 30))
        return kept if isinstance(kept, dict) else {}
    except (OSError, ValueError):
        return {}
