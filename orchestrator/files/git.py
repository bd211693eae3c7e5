"""The one door for *reading* git: a repository is asked, and nothing that it configures is ever
executed.

A repository's configuration names programs (``core.fsmonitor``, clean filters, external diffs,
``uploadpack`` ...), and whoever may write files into a project may write that configuration.
Switching such keys off by name would never end. So git is not shown it: every question goes to a
scratch folder outside the project that stands for the repository. It links to its objects, refs and
index, and has a configuration of ours, with nothing in it but what decides how bytes are compared.
The environment is made anew as well: no ``GIT_*`` of the caller counts. Questions take no locks and
fetch nothing.

Writing git (trees, merges) is not for this module.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orchestrator.files import gitfiles, opening, statehome
from orchestrator.files.text import lines_of
from orchestrator.records import dataclass

SECONDS = 20.0
_SAYS = ("fatal:", "error:")
# Keys that execute nothing and change how files and objects are read.
_INERT = frozenset(
    "core.autocrlf core.eol core.filemode core.ignorecase core.precomposeunicode core.symlinks"
    " core.excludesfile core.sparsecheckout core.sparsecheckoutcone core.checkstat core.trustctime"
    " core.protecthfs core.protectntfs core.repositoryformatversion extensions.objectformat"
    " extensions.refstorage index.sparse".split()
)
_OURS = (
    "[core]\n\tbare = false\n\tfsmonitor = false\n\thooksPath = /dev/null\n\tpager ="
    " cat\n\tuntrackedCache = false\n[gc]\n\tauto = 0\n[maintenance]\n\tauto ="
    " false\n[submodule]\n\trecurse = false\n"
)
_DIFFS = frozenset(("diff", "diff-files", "diff-index", "diff-tree", "log", "show"))
_READING = _DIFFS | frozenset(
    "cat-file check-attr check-ignore for-each-ref hash-object ls-files ls-tree merge-base rev-list"
    " rev-parse status".split()
)
_FROM_COMMON = ("refs", "packed-refs", "reftable", "objects", "shallow", "info/exclude", "info/attributes")  # fmt: skip


class Unclear(Exception):
    """Git gave no clear answer; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A checkout: its folder, its git directory, and the directory that linked worktrees share. All
    paths are real."""

    folder: str
    git_dir: str
    common: str

    @property
    def index(self) -> str:
        """The path of the index, whether or not there is one."""
        return f"{self.git_dir}/index"

    def committed_last(self) -> bool:
        """Whether a commit that was made here is the last thing that moved HEAD, as the reflog says
        (git never transfers it)."""
        try:
            with opening.open_file(f"{self.git_dir}/logs/HEAD") as file:
                begin = max(0, os.fstat(file.fileno()).st_size - 4096)
                file.seek(begin)
                lines = file.read().splitlines()[1 if begin else 0 :]
        except OSError:
            return False
        for line in reversed(lines):
            facts, _, said = line.partition(b"\t")
            before, after = facts[:40], facts.partition(b" ")[2][:40]
            if before != after:  # a stash notes that HEAD was reset to where it was
                return said.startswith((b"commit: ", b"commit (initial)", b"commit (amend)"))
        return False


@dataclass(frozen=True, slots=True)
class Answer:
    """How git ended and what it printed."""

    code: int
    out: bytes


def above(path: str) -> Iterator[Repository]:
    """Every checkout that holds the real ``path``, the nearest first.

    Raises `Unclear` where there is a ``.git`` that cannot be understood: it might hold the path as
    well.
    """
    return map(_at, _dotted(path))


def _dotted(path: str) -> Iterator[str]:
    """The folders at and above the real ``path`` with a ``.git`` in them."""
    folder = _real(path)
    while True:
        if opening.lies(os.path.join(folder, ".git")) and not _empty(f"{folder}/.git"):
            yield folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return
        folder = parent


_reals: dict[str, str] = {}


def _real(path: str) -> str:
    """`os.path.realpath`, which asks about every part of a path: once, and after that only whether
    both are one folder still."""
    known = _reals.get(path)
    try:
        if known is not None and os.path.samestat(os.stat(path), os.lstat(known)):
            return known
    except OSError:  # gone, or never there
        pass
    _reals[path] = real = os.path.realpath(path)
    return real


def apart(path: str) -> bool:
    """Whether `above` has nothing to tell: known by names alone, nothing of a repository is
    read."""
    return next(_dotted(path), None) is None


def nearest(path: str) -> Repository | None:
    """The checkout that holds ``path``; None if none does.  Raises `Unclear`."""
    return next(above(path), None)


def _empty(dot: str) -> bool:
    """Whether it is a folder with nothing of a repository in it: git passes over such a one,
    too."""
    return os.path.isdir(dot) and not any(
        os.path.lexists(f"{dot}/{name}") for name in ("HEAD", "index", "objects", "commondir")
    )


def _at(folder: str) -> Repository:
    dot = os.path.join(folder, ".git")
    try:
        target = os.path.realpath(dot)
        if os.path.isfile(target):  # a submodule's or a linked worktree's
            words = _head_of(target)
            if not words.startswith("gitdir:"):
                raise Unclear(f"{dot} does not say where its repository is")
            target = os.path.realpath(os.path.join(folder, words[7:].strip()))
        common = target
        if os.path.lexists(f"{target}/commondir"):
            common = os.path.realpath(os.path.join(target, _head_of(f"{target}/commondir")))
        if not os.path.lexists(f"{target}/HEAD") or not os.path.isdir(f"{common}/objects"):
            raise Unclear(f"{dot} is not a repository that can be read")
    except (OSError, ValueError) as error:
        raise Unclear(f"{dot} cannot be read: {error}") from None
    return Repository(folder, target, common)


def _head_of(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        return os.fsdecode(os.read(fd, 4096)).strip("\n")
    finally:
        os.close(fd)


class Reader:
    """One look at a repository, by several questions; made by `reading`."""

    def __init__(self, repository: Repository, program: str, scratch: str) -> None:
        self.repository, self._program, self._scratch = repository, program, scratch

    def ask(
        self, *words: str, codes: Sequence[int] = (0,), stdin: bytes = b"", seconds: float = SECONDS
    ) -> Answer:
        """What ``git WORDS`` says, run in the checkout's folder. Raises `Unclear` unless it ends
        with one of ``codes``."""
        verb = words[0]
        if verb not in _READING or "-w" in words:
            raise ValueError(f"git {verb} does not only read")
        flags: list[str] = []
        if (
            verb in _DIFFS or verb == "status"
        ):  # "dirty": a look into a submodule would be a git of its own configuration
            flags.append("--ignore-submodules=dirty")
        return self._run([verb, *flags, *words[1:]], self._environment(), codes, stdin, seconds)

    def entries(self, pathspec: str) -> list[tuple[str, str]]:
        """``(mode, object)`` of what the index has there. Raises `Unclear`, also if that is no
        listing."""
        listed = self.ask("ls-files", "-s", "-z", "--", pathspec).out
        found = [entry.partition(b"\t")[0].split() for entry in listed.split(b"\0") if entry]
        if any(len(words) != 3 or not b"".join(words).isalnum() for words in found):
            raise Unclear("git ls-files prints no listing")
        return [(words[0].decode("ascii"), words[1].decode("ascii")) for words in found]

    def _environment(self) -> dict[str, str]:
        return {
            **_bare_environment(),
            "GIT_DIR": self._scratch,
            "GIT_WORK_TREE": self.repository.folder,
            "GIT_INDEX_FILE": self.repository.index,
            "GIT_CONFIG_GLOBAL": os.devnull,
        }

    def _run(
        self, words: list[str], env: dict[str, str], codes: Sequence[int], stdin: bytes, seconds: float
    ) -> Answer:  # fmt: skip
        import subprocess  # here, as below: reading verbs outside a repository pay for none of it

        pipe = subprocess.PIPE
        try:
            with subprocess.Popen(
                [self._program, *words],
                cwd=self.repository.folder,
                env=env,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
            ) as process:
                try:
                    out, err = gitfiles.talk(process, words[0], stdin, seconds)
                except BaseException:
                    process.kill()
                    raise
        except subprocess.TimeoutExpired:
            raise Unclear(f"git {words[0]} took longer than {seconds:.0f} s") from None
        except gitfiles.Waits as error:
            raise Unclear(str(error)) from None
        except (OSError, ValueError) as error:
            raise Unclear(f"git cannot be started: {error}") from None
        if process.returncode not in codes:
            raise Unclear(words_of(err) or f"git {words[0]} ended with {process.returncode}")
        return Answer(process.returncode, out)

    def prepare(self) -> None:
        """Make the scratch folder stand for the repository."""
        git_dir, common, scratch = self.repository.git_dir, self.repository.common, self._scratch
        for path in (f"{git_dir}/HEAD", self.repository.index, f"{common}/packed-refs", f"{common}/shallow"):  # fmt: skip
            _check(path)
        os.mkdir(f"{scratch}/info")
        for name in _FROM_COMMON:
            _link(f"{common}/{name}", f"{scratch}/{name}")
        _link(f"{git_dir}/info/sparse-checkout", f"{scratch}/info/sparse-checkout")
        for name in os.listdir(git_dir):
            if name.startswith("sharedindex."):
                _link(f"{git_dir}/{name}", f"{scratch}/{name}")
        with open(f"{scratch}/HEAD", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(_head_of(f"{git_dir}/HEAD") + "\n")
        with open(f"{scratch}/config", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(_OURS + self._inert())

    def _inert(self) -> str:
        """What the repository (and its owner's own configuration) says of how files are read.
        Listing executes nothing.

        What the repository's own includes is not read: it may be anything, a pipe that never ends,
        too.
        """
        env = {**_bare_environment(), "GIT_DIR": f"{self._scratch}/none"}
        listed = self._run(["config", "--includes", "--list", "-z"], env, (0,), b"", SECONDS).out
        for path in (f"{self.repository.common}/config", f"{self.repository.git_dir}/config.worktree"):  # fmt: skip
            try:
                text = opening.read_bytes(os.path.realpath(path), gitfiles.MOST_CONFIG)
            except FileNotFoundError:
                continue
            words = ["config", "--file", "-", "--no-includes", "--list", "-z"]
            listed += self._run(words, env, (0,), text, SECONDS).out
        lines = []
        for entry in os.fsdecode(listed).split("\0"):
            key, separator, value = entry.partition("\n")
            if key == "core.worktree" and not self._is_here(value):
                raise Unclear(f"core.worktree of {self.repository.git_dir} is another folder")
            if key in _INERT and '"' not in value and "\\" not in value and "\n" not in value:
                section, _, name = key.partition(".")
                lines.append(f"[{section}]\n\t{name}" + (f' = "{value}"\n' if separator else "\n"))
        return "".join(lines)

    def _is_here(self, worktree: str) -> bool:
        """Whether a repository means the checkout that it lies in; else its paths are others."""
        meant = os.path.join(self.repository.git_dir, worktree)
        return os.path.realpath(meant) == os.path.realpath(self.repository.folder)


def words_of(stderr: bytes) -> str:
    """Why git failed, in its own words: the line that says so, and the next one if it ends with a
    colon."""
    lines = [line.strip() for line in lines_of(stderr.decode("utf-8", "replace")) if line.strip()]
    told = next((at for at, line in enumerate(lines) if line.startswith(_SAYS)), 0)
    more = told + (2 if lines[told:] and lines[told].endswith(":") else 1)
    return " ".join(lines[told:more])[:300]


def _check(path: str) -> None:
    """`Unclear` if what lies there is no regular file: git would wait for a pipe, for ever."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(info.st_mode) or info.st_size > gitfiles.LARGEST:
        raise Unclear(f"{path} is not a regular file of a repository")


@contextmanager
def reading(repository: Repository) -> Iterator[Reader]:
    """Ask a repository.  Raises `Unclear` if there is no git, or no room for the scratch folder."""
    import shutil
    import tempfile

    program = shutil.which("git", path=absolute_path())
    if program is None:
        raise Unclear("git is not installed (there is none on PATH)")
    try:
        scratch = tempfile.mkdtemp(prefix="orchestrator-git-", dir=_base())
    except OSError as error:
        raise Unclear(f"no room to ask git: {error}") from None
    try:
        reader = Reader(repository, program, scratch)
        try:
            reader.prepare()
        except (OSError, ValueError) as error:
            raise Unclear(f"{repository.git_dir} cannot be read: {error}") from None
        yield reader
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def persons_setting(key: str) -> str:
    """What the person's own configuration says, and no repository; empty if it says nothing."""
    import shutil
    import subprocess

    program = shutil.which("git", path=absolute_path())
    if program is None:
        return ""
    words = [program, "config", "--global", "--includes", "--get", key]
    env = _bare_environment()
    try:
        done = subprocess.run(
            words,
            check=False,
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return os.fsdecode(done.stdout).strip()


def _base() -> str | None:
    """Where scratch folders lie: where the files of a project cannot be, and few agents may write.

    What is trusted lies beside them; without a home that can be written the user's
    ``$XDG_RUNTIME_DIR`` is next, which agents with walls of their own leave alone, other than the
    temporary folder (None).
    """
    home = statehome.state_home()
    try:
        if home:
            statehome.make(f"{home}/scratch")
            if os.access(f"{home}/scratch", os.W_OK):
                return f"{home}/scratch"
    except OSError:
        pass
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return runtime if os.path.isabs(runtime) and _private(runtime) else None


def _private(folder: str) -> bool:
    """Whether nobody else can enter it, and files can be made there."""
    try:
        info = os.stat(folder)
    except OSError:
        return False
    mine = info.st_uid == os.geteuid() and not info.st_mode & 0o077
    return mine and os.access(folder, os.W_OK)


def _link(source: str, target: str) -> None:
    if os.path.lexists(source):
        os.symlink(source, target)


def absolute_path() -> str:
    """PATH without its relative parts, which would be looked up in the project."""
    parts = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(part for part in parts if os.path.isabs(part))


def _bare_environment() -> dict[str, str]:
    kept = {
        name: os.environ[name]
        for name in ("HOME", "XDG_CONFIG_HOME", "TMPDIR")
        if name in os.environ
    }
    return {
        **kept,
        "PATH": absolute_path(),
        "LC_ALL": "C",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        # Should a question ever name a remote: the scratch folder's configuration knows none.
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_PAGER": "cat",
    }
