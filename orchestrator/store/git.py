"""The one door for *writing* git: every call of ours names its repository and executes nothing that
it configures.

``GIT_DIR``, ``GIT_WORK_TREE`` and ``GIT_INDEX_FILE`` are given, never found by the folder that we
stand in: a tree whose ``.git`` file is gone would else be the person's checkout. No ``GIT_*`` of
ours is inherited. Hooks, fsmonitor, signatures, automatic gc and the filters that the *repository*
configures are switched off; those of the person's own configuration (git lfs) work.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.files import git as reading
from orchestrator.files import gitfiles
from orchestrator.patterns import regex
from orchestrator.records import dataclass, replace

SECONDS = 600.0
FULL = (os.strerror(errno.ENOSPC), "Out of diskspace")  # as git says it
ROOM = 1 << 19  # bytes without which a disk takes no task either, and all wait for it
_OFF = (
    "core.fsmonitor=false", "core.hooksPath=/dev/null", "core.untrackedCache=false", "gc.auto=0", "maintenance.auto=false",
    "commit.gpgSign=false", "tag.gpgSign=false", "submodule.recurse=false", "advice.detachedHead=false", "core.pager=cat",
    "core.quotePath=false", "core.splitIndex=false", "core.safecrlf=false", "core.alternateRefsCommand=true", "worktree.guessRemote=false", "merge.renormalize=false",
)  # fmt: skip
# By which git fetches what a partial clone lacks, and settings that choose a program for that.
_FETCHING = "file:git:http:https:ssh"
_STEERS_FETCHING = regex(
    r"^(?:url|protocol|credential)\.|^core\.(?:sshcommand|gitproxy|askpass)$|^remote\..*\.(?:uploadpack|vcs)$"
)
_FILTER = {"clean": "", "smudge": "", "process": "", "required": "false"}  # off
_ALWAYS = {"update-ref": ("--no-deref",)}  # a ref that leads to another is not followed
_FALLBACK = {"NAME": "orchestrator", "EMAIL": "orchestrator@localhost"}


class GitFailed(OrchestratorError):
    """A git command of ours ended with an error; the message is git's own."""


class Stopped(GitFailed):
    """The watcher leaves, and does not wait for a command that may take minutes; the next watcher
    begins it anew."""


class GivenUp(GitFailed):
    """It waited for what does not come; it would again."""


class _Stoppable:
    """The commands of ours that nothing is lost by ending."""

    def __init__(self) -> None:
        self.leaving = False
        self.running: set[subprocess.Popen[bytes]] = set()


_stoppable = _Stoppable()


def leave() -> None:
    """End every command that may be ended, in any thread, and begin no other one: this process is
    about to end."""
    _stoppable.leaving = True
    for process in list(_stoppable.running):
        process.kill()


def _run(
    words: Sequence[str], verb: str, given: bytes | None, seconds: float, stoppable: bool = False, **more: Any
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """`subprocess.run`, but for what `leave` does, and for a git that waits."""
    if stoppable and _stoppable.leaving:
        raise Stopped(f"git {words[-1]}: the watcher is leaving")
    stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=stdin, stdout=pipe, stderr=pipe, **more) as process:
        if stoppable:
            _stoppable.running.add(process)
            if _stoppable.leaving:  # since the look above, and `leave` did not know of this one
                process.kill()
        try:
            out, err = gitfiles.talk(process, verb, given, seconds)
        except BaseException:
            process.kill()
            raise
        finally:
            _stoppable.running.discard(process)
    if stoppable and _stoppable.leaving and process.returncode < 0:
        raise Stopped("git was ended: the watcher is leaving")
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@dataclass(frozen=True, slots=True)
class Git:
    """A repository to act on. ``git_dir`` is the common folder or that of one worktree; paths are
    absolute."""

    git_dir: str
    work_tree: str = ""
    index: str = ""
    env: tuple[tuple[str, str], ...] = ()
    common: str = ""  # the folder that all worktrees share; empty: as the repository says
    filters: tuple[str, ...] = ()  # of the repository's own configuration: switched off
    fetches: bool = False  # what a partial clone lacks; else that is missing
    hooks: bool = False  # as the person's own git does: only for the step that moves their checkout

    def at(self, **changes: Any) -> Git:
        """The same with another folder, index or environment."""
        return replace(self, **changes)

    def __call__(
        self,
        *words: str,
        stdin: bytes | None = None,
        codes: Sequence[int] | None = (0,),
        seconds: float = SECONDS,
        cwd: str = "",
    ) -> str:
        """What ``git WORDS`` prints, without its last line end. `GitFailed` unless it ends with one
        of ``codes``.

        OSError where the disk is so full that nothing goes on: whoever waits for room may say it
        again then.
        """
        return os.fsdecode(
            self.raw(*words, stdin=stdin, codes=codes, seconds=seconds, cwd=cwd).stdout
        ).removesuffix("\n")

    def raw(
        self,
        *words: str,
        stdin: bytes | None = None,
        codes: Sequence[int] | None = (0,),
        seconds: float = SECONDS,
        cwd: str = "",
        stoppable: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        """As a call, with the exit code and the bytes; ``codes`` None takes any.

        ``stoppable``: `leave` ends it, and then it raises `Stopped`.
        """
        where = cwd or self.work_tree or self.git_dir
        try:
            done = _run(
                self._command(words), words[0], stdin, seconds, stoppable,
                env=self.environment(), cwd=where, process_group=self._group,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise GitFailed(f"git {words[0]} took longer than {seconds:.0f} s") from None
        except gitfiles.Waits as error:
            raise GivenUp(str(error)) from None
        except FileNotFoundError as error:
            raise GitFailed(
                f"git {words[0]}: {error.filename} is not there",
                "git is not installed" if error.filename == "git" else "",
            ) from None
        if codes is not None and done.returncode not in codes:
            why = reason(done)
            if any(word in why for word in FULL) and not _has_room(self.git_dir):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise GitFailed(f"git {words[0]}: {why}")
        return done

    def listing(self, *words: str, most: int) -> bytes:
        """What ``git WORDS`` prints. `GitFailed` as for a call, and as soon as it prints more than
        ``most`` bytes: a few trees can name any number of files."""
        pipe, none = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(
            self._command(words), stdin=none, stdout=pipe, stderr=none, env=self.environment(),
            cwd=self.git_dir, process_group=self._group,
        ) as process:  # fmt: skip
            try:
                out = gitfiles.listen(process, words[0], most)
            except gitfiles.Waits as error:
                raise GivenUp(str(error)) from None
            if len(out) > most:
                process.kill()
                raise GitFailed(f"git {words[0]}: more than {most >> 20} MiB of names")
        if process.returncode:
            raise GitFailed(f"git {words[0]} ended with {process.returncode}")
        return out

    @property
    def _group(self) -> int | None:
        """A group of its own: a Ctrl-C in the pane is for the watcher, which finishes what it has
        begun. No session (see `store.owned`), and not with the person's hooks, which may use the
        terminal."""
        return None if self.hooks else 0

    def _command(self, words: Sequence[str]) -> list[str]:
        off = () if self.hooks else (*_OFF, *self.filters)
        settings = (word for setting in off for word in ("-c", setting))
        return ["git", *settings, words[0], *_ALWAYS.get(words[0], ()), *words[1:]]

    def environment(self) -> dict[str, str]:
        """The whole environment of a git of ours."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        env |= {
            "GIT_DIR": self.git_dir,
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_EDITOR": "true",
            # What a person was shown is what is merged: no other commits or parents in its place.
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_GRAFT_FILE": os.devnull,
        }
        if self.common:
            env["GIT_COMMON_DIR"] = self.common
        if not self.hooks:
            env["GIT_ALLOW_PROTOCOL"] = _FETCHING if self.fetches else "none"
        if self.work_tree:
            env["GIT_WORK_TREE"] = self.work_tree
        if self.index:
            env["GIT_INDEX_FILE"] = self.index
        return env | dict(self.env)

    def closed(self) -> Git:
        """The same, so that it executes nothing that the repository's own configuration names: an
        agent can write that.

        Filters and drivers are switched off, and what is missing is fetched only if nothing there
        says how. A filter that the person's own configuration names as well (git lfs) is run as
        that says.
        """
        listed = self("config", "--includes", "--show-scope", "--list", "-z").split("\0")
        own: set[str] = set()
        persons: dict[str, str] = {}
        for scope, entry in zip(listed[::2], listed[1::2], strict=False):
            key, _, value = entry.partition("\n")
            if scope in ("local", "worktree"):
                own.add(key)
            elif scope in ("system", "global"):
                persons[key] = value
        found: set[str] = set()
        for key in own:
            section, _, name = key.rpartition(".")
            kind = section.partition(".")[0]
            if "=" in section and kind in ("filter", "merge"):  # `git -c` ends the name there
                raise GitFailed(
                    f"the repository configures {section}, which cannot be switched off"
                )
            if kind == "filter":
                found |= _filter(section, persons, own)
            elif kind == "merge" and name == "driver":
                found.add(f"{key}=false")
            elif key == "diff.external":
                found.add("diff.external=")
        fetches = not any(map(_STEERS_FETCHING.match, own))
        return self.at(filters=tuple(sorted(found)), fetches=fetches)

    def commit_of(self, name: str) -> str:
        """The commit that a name stands for; empty if there is none."""
        return self("rev-parse", "-q", "--verify", f"{name}^{{commit}}", codes=(0, 1, 128))

    def tree_of(self, name: str) -> str:
        """The tree that a name stands for; empty if there is none."""
        return self("rev-parse", "-q", "--verify", f"{name}^{{tree}}", codes=(0, 1, 128))

    def signed(self) -> Git:
        """With an identity for commits: the person's, else ours."""
        lacking: dict[str, str] = {}
        for who in ("AUTHOR", "COMMITTER"):
            if self.raw("var", f"GIT_{who}_IDENT", codes=None).returncode:
                lacking |= {f"GIT_{who}_{part}": value for part, value in _FALLBACK.items()}
        return self.at(env=(*self.env, *lacking.items()))


def _has_room(folder: str) -> bool:
    """Whether the file system takes small files still: what git wanted did not fit then."""
    there = os.statvfs(folder)
    return there.f_bavail * there.f_frsize > ROOM and (there.f_favail > 16 or not there.f_files)


def reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Why a git command failed, in its own words."""
    said = reading.words_of(done.stderr).split(": ", 1)[-1]
    return said or f"ended with {done.returncode}"


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository of a project. ``top`` is the person's checkout, ``prefix`` the project below
    it (``""`` or ``a/b``)."""

    top: str
    git_dir: str
    common: str
    prefix: str
    filters: tuple[str, ...] = ()
    fetches: bool = False

    @property
    def shared(self) -> Git:
        """Acts on what all trees share: objects and refs."""
        return Git(self.common, filters=self.filters, fetches=self.fetches)

    @property
    def checkout(self) -> Git:
        """Acts on the person's checkout."""
        return Git(self.git_dir, self.top, filters=self.filters, fetches=self.fetches)

    def acting(self, git_dir: str, work_tree: str) -> Git:
        """Acts on another worktree, by what is configured there."""
        return Git(git_dir, work_tree, common=self.common).closed()

    def below(self, path: str) -> str:
        """A path of the project as git names it."""
        return f"{self.prefix}/{path}" if self.prefix else path


class NoRepository(OrchestratorError):
    """There is nothing that a tree could be made from; the message says what is missing."""


def find(root: str) -> Repository:
    """The repository of the project in ``root``.  Raises `NoRepository` in plain words."""
    _check(root)
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    words = (
        "--is-bare-repository",
        "--show-toplevel",
        "--absolute-git-dir",
        "--git-common-dir",
        "--show-prefix",
    )
    try:
        asked = ["git", "-C", root, "rev-parse", *words]
        done = _run(asked, "rev-parse", None, 30.0, env=env | {"LC_ALL": "C"}, process_group=0)
    except (OSError, subprocess.SubprocessError, gitfiles.Waits) as error:
        raise NoRepository(
            f"git cannot be asked: {error}", "install git, or remove isolation"
        ) from None
    lines = os.fsdecode(done.stdout).split("\n")
    if lines and lines[0] == "true":
        raise NoRepository(
            "a tree needs a checkout, and this repository is bare", "clone it, and work there"
        )
    if done.returncode:
        why = reason(done)
        if "dubious ownership" in why:
            raise NoRepository(
                "git does not trust this repository: it belongs to another user", why
            )
        raise NoRepository(
            f"a tree needs a git repository: {why}",
            "git init, and a first commit; or isolation: none",
        )
    top, git_dir, common, prefix = lines[1:5]
    common = os.path.realpath(os.path.join(root, common))
    found = Repository(top, git_dir, common, prefix.rstrip("/"))
    try:
        closed = found.checkout.closed()
    except GitFailed as error:
        raise NoRepository(error.message) from None
    return replace(found, filters=closed.filters, fetches=closed.fetches)


def _check(root: str) -> None:
    """`NoRepository` if an agent has put a pipe, say, where git reads a file: nothing of ours is to
    wait for it."""
    try:
        near = reading.nearest(root)
    except reading.Unclear as error:
        raise NoRepository(f"a tree needs a git repository: {error}") from None
    path = gitfiles.odd(near.git_dir, near.common) if near is not None else ""
    if path:
        raise NoRepository(
            f"{path} is not a regular file of a repository",
            "repair it; until then orchestrator starts no git here",
        )


def _filter(section: str, persons: Mapping[str, str], keys: Collection[str]) -> set[str]:
    """The settings for a filter that the repository's ``keys`` name: as the person has it, else
    off."""
    parts = {name: persons.get(f"{section}.{name}", off) for name, off in _FILTER.items()}
    if not parts["process"]:
        if f"{section}.process" in keys:  # it cannot be unset, and an empty one lets nothing run
            parts = dict(_FILTER)
        elif parts["clean"] or parts["smudge"]:
            del parts["process"]
    return {f"{section}.{name}={value}" for name, value in parts.items()}
