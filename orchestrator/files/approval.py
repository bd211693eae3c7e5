"""The one gate of everything that leaves the inbox, tasks and runs alike: may this file count
without a person's yes?

It may if this machine has vouched for it (it was made by a verb here, approved, or seen before git
tracked it), if git clearly did not bring it, or if the configuration says that it counts:
``from_git: run``, or ``from_git: {trusted: origin/main}`` and it is the same, byte for byte, in the
tip of that branch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from orchestrator.errors import MACHINE
from orchestrator.files import git, opening, origin, scan, trust
from orchestrator.files.layout import Layout, stem_of
from orchestrator.files.text import lines_of
from orchestrator.libraries import later
from orchestrator.model import gates
from orchestrator.model.chain import FollowUp, follow_ups
from orchestrator.model.template import merged
from orchestrator.model.units import show_duration
from orchestrator.records import dataclass

if TYPE_CHECKING:
    from orchestrator.files.identity import Identity
    from orchestrator.model.config import Config
    from orchestrator.model.task import Task

if TYPE_CHECKING:
    import hashlib
else:
    hashlib = later("hashlib")

UNCLEAR_AGAIN = 2.0  # seconds
MOST_FILES = 2000  # below a folder that a task names
REGULAR = (b"100644", b"100755")
OURS = ("{task.result}", "{task.log}")  # in what follows: what the task before has left


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file of the inbox that was read: what it is known by, and the files it names."""

    id: str
    name: str
    sha256: str
    identity: Identity
    named: tuple[str, ...] = ()

    @property
    def fact(self) -> tuple[str, str, Identity]:
        return self.id, self.sha256, self.identity


@dataclass(frozen=True, slots=True)
class Verdict:
    """``gate`` is closed if there is one. ``mine``: it is worth remembering that it counts.
    ``source`` says why it counts although git brought it."""

    gate: gates.Gate | None = None
    mine: bool = False
    source: str = ""


class Approval:
    """Judges arrivals.  One for a process: what git said is remembered until its index changes."""

    def __init__(
        self, layout: Layout, known: trust.Trust, origins: origin.Origins | None = None
    ) -> None:
        self.layout = layout
        self.vouched = trust.Vouched(known.approvals)
        self._origins = origins or origin.Origins()

    def judge(self, arrived: Arrived, from_git: str, trusted: str, now: float) -> Verdict:
        """Whether it may count; ``from_git`` and ``trusted`` are those of the configuration. Raises
        `origin.Busy` while a git command is at work: ask again soon."""
        if self.counts(arrived, from_git):
            return Verdict()
        return self.asked(arrived, from_git, trusted, now)

    def counts(self, arrived: Arrived, from_git: str) -> bool:
        """Whether it counts without a question to git."""
        return from_git == "run" or arrived.fact in self.vouched

    def apart(self) -> bool:
        """Whether no repository holds the inbox at this moment: then there is nobody to ask."""
        return git.apart(self.layout.folder("inbox"))

    def asked(self, arrived: Arrived, from_git: str, trusted: str, now: float) -> Verdict:
        """`judge`, of one that has to be asked about: that may take as long as git likes."""
        try:
            brought = self._brought(arrived, now)
            if not brought:
                return Verdict(mine=brought is not None)
            if from_git == "trusted":
                return self._by_branch(arrived, trusted, now)
        except git.Unclear as error:
            return Verdict(_gate(arrived, origin.unclear_text(error), now + UNCLEAR_AGAIN))
        return Verdict(_gate(arrived, "it came through git"))

    def _brought(self, arrived: Arrived, now: float) -> bool | None:
        if self._origins.tracked(self.layout.folder("inbox"), arrived.name, now) is None:
            return None
        try:
            data = opening.read_bytes(f"{self.layout.folder('inbox')}/{arrived.name}")
        except FileNotFoundError:
            raise origin.Busy from None  # it was claimed, or taken away, since it was read
        except OSError as error:
            if error.errno in MACHINE:
                raise
            raise git.Unclear(f"{arrived.name} cannot be read again: {error.strerror}") from None
        if hashlib.sha256(data).hexdigest() != arrived.sha256:
            raise origin.Busy  # another one lies there by now
        return self._origins.brought(self.layout.folder("inbox"), arrived.name, data, now)

    def _by_branch(self, arrived: Arrived, branch: str, now: float) -> Verdict:
        inbox = os.path.realpath(self.layout.folder("inbox"))
        repository = git.nearest(inbox)
        assert repository is not None
        with git.reading(repository) as reader:
            commit = tip(reader, branch)
            shown = f"{branch} ({commit[:10]}, {_fetched(repository, branch, now)})"
            root, file = os.path.realpath(self.layout.root), f"{inbox}/{arrived.name}"
            path = _unlike(reader, commit, root, file, arrived.sha256, arrived.named)
        if path:
            inside = os.path.relpath(path, root)
            return Verdict(_gate(arrived, f"{inside} is not as in {shown}", now + UNCLEAR_AGAIN))
        return Verdict(source=f"it is the same in {shown}")


def merged_templates(
    layout: Layout, config: Config, said: Mapping[str, bytes | None]
) -> Iterator[str]:
    """Those files of templates, of what each says (None: it is gone), that are the same in the tip
    of the trusted branch, and so is every file that they name. Raises `git.Unclear`."""
    if not said or config.from_git != "trusted":
        return
    repository = git.nearest(os.path.dirname(next(iter(said))))
    if repository is None:
        return
    root = os.path.realpath(layout.root)
    with git.reading(repository) as reader:
        commit = tip(reader, config.trusted)
        for path, raw in said.items():
            template = config.templates.get(stem_of(os.path.basename(path)))
            if raw is None:
                if not _blobs(reader, commit, os.path.relpath(path, repository.folder)):
                    yield path
            elif template is not None:
                sha256 = hashlib.sha256(raw).hexdigest()
                # As it is written: what a path will be of which a value is a part, nobody can say.
                named = _followed([(1, FollowUp(body=template.body))], config, {}, set())
                if not _unlike(reader, commit, root, path, sha256, named):
                    yield path


def _unlike(
    reader: git.Reader, commit: str, root: str, file: str, sha256: str, named: Iterable[str]
) -> str:
    """Of a file that was read and the files that it names (from ``root``) the first that is not as
    the commit has it; empty if all are."""
    paths = [file, *(os.path.join(root, path) for path in named)]
    return next(
        (path for path in paths if not _same(reader, commit, path, sha256 if path == file else "")),
        "",
    )


def busy_gate(until: float | None = None) -> gates.Gate:
    """While a git command is at work nobody can say."""
    return gates.Gate(
        gates.GateName.APPROVAL, "a git command is running in this project", until=until
    )


def _gate(arrived: Arrived, why: str, until: float | None = None) -> gates.Gate:
    return gates.Gate(
        gates.GateName.APPROVAL,
        f"needs approval: {why}",
        f"orchestrator approve {arrived.id}",
        until=until,
        stuck=True,
    )


def named_files(tasks: Iterable[Task], config: Config) -> tuple[str, ...]:
    """The files by which these tasks, and what follows them, say more than their own text does:
    prompt_file, context, a result's schema, the roles' instructions."""
    found: dict[str, None] = {}
    acted: set[str] = set()
    todo: list[tuple[int, FollowUp]] = []
    for task in tasks:
        names = task.agents or (config.default_agent,)
        files = filter(None, (task.prompt_file, task.result_schema))
        found.update(dict.fromkeys((*files, *(task.context or _contexts(names, config)))))
        follow = (*task.then, *_of_roles(names, config, acted, found))
        todo += [(1, entry) for entry in follow]
    return _followed(todo, config, found, acted)


def _followed(
    todo: list[tuple[int, FollowUp]], config: Config, found: dict[str, None], acted: set[str]
) -> tuple[str, ...]:
    """`named_files`, of what is still to be looked at: the level of each entry, and the entry.
    ``found`` and ``acted`` are the files and the roles that are known already."""
    seen: set[str] = set()
    while todo:
        level, entry = todo.pop()
        body = entry.body
        if level > config.depth or repr(body) in seen:  # templates may lead in a circle
            continue
        seen.add(repr(body))
        template = config.templates.get(str(body.get("use") or ""))
        if template is not None:
            body = merged(template, body)
        agent = body.get("agent") or config.default_agent
        names = (agent,) if isinstance(agent, str) else tuple(agent)
        schema = (body.get("result") or {}).get("schema")
        files = filter(None, (body.get("prompt_file"), schema))
        context = body.get("context") or _contexts(names, config)
        found.update(dict.fromkeys(map(str, (*files, *context))))
        follow = (*follow_ups(body), *_of_roles(names, config, acted, found))
        todo += [(level + 1, entry) for entry in follow]
    return tuple(path for path in found if not path.startswith(OURS))


def _contexts(names: Iterable[str], config: Config) -> list[str]:
    agents = [config.agents.get(name) for name in names]
    return [path for agent in agents if agent for path in agent.context]


def _of_roles(
    names: Iterable[str], config: Config, acted: set[str], found: dict[str, None]
) -> Iterable[FollowUp]:
    """What follows the tasks of roles that were not looked at yet; their instructions are found."""
    for name in names:
        agent = config.agents.get(name)
        if agent is not None and name not in acted:
            acted.add(name)
            if agent.instructions and not agent.profile:
                found[agent.instructions] = None
            yield from agent.then


def tip(reader: git.Reader, branch: str) -> str:
    """The commit of ``refs/remotes/<branch>`` and of no other name: a tag that is called the same
    would shadow it."""
    ref = f"refs/remotes/{branch}"
    listed = reader.ask("for-each-ref", "--format=%(refname) %(objectname)", ref).out
    for line in lines_of(os.fsdecode(listed)):
        name, _, commit = line.partition(" ")
        if name == ref:
            return commit
    raise git.Unclear(f"there is no {ref} here (from_git.trusted)")


def _fetched(repository: git.Repository, branch: str, now: float) -> str:
    times = []
    for path in (
        f"{repository.git_dir}/FETCH_HEAD",
        f"{repository.common}/FETCH_HEAD",
        f"{repository.common}/logs/refs/remotes/{branch}",
        f"{repository.common}/refs/remotes/{branch}",
    ):
        try:
            times.append(os.stat(path).st_mtime)
        except OSError:
            continue
    return (
        f"fetched {show_duration(max(0.0, now - max(times)))} ago"
        if times
        else "not fetched since the clone"
    )


def _same(reader: git.Reader, commit: str, path: str, sha256: str = "") -> bool:
    """Whether what lies at ``path`` is, byte for byte, what the commit has at the same path.

    ``sha256``: the bytes that were read before must be these very ones.
    """
    folder = reader.repository.folder
    inside = os.path.relpath(path, folder)
    if inside.startswith("..") or os.path.realpath(path) != path:
        return False  # it leads through a link: what it says is not at this path
    blobs = _blobs(reader, commit, inside)
    present = _files_below(path, folder)
    if present is None or present != set(blobs) or not present:
        return False
    return all(_is_blob(os.path.join(folder, name), blobs[name], sha256) for name in present)


def _blobs(reader: git.Reader, commit: str, inside: str) -> dict[str, str]:
    """What the commit has at a path and below it: the object of each file, none of a link."""
    listed = reader.ask(
        "ls-tree", "-r", "-z", "--full-tree", commit, "--", f":(literal){inside}"
    ).out
    blobs = {}
    for entry in listed.split(b"\0"):
        facts, _, name = entry.partition(b"\t")
        if name:
            mode, _, oid = facts.split()
            blobs[os.fsdecode(name)] = oid.decode() if mode in REGULAR else ""
    return blobs


def _files_below(path: str, folder: str) -> set[str] | None:
    """The files at or below a path, from the checkout's folder; None if there are too many."""
    if not os.path.isdir(path):
        return {os.path.relpath(path, folder)} if os.path.lexists(path) else set()
    found: set[str] = set()
    for place, folders, names in scan.walk(path):
        linked = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found.update(os.path.relpath(os.path.join(place, name), folder) for name in names + linked)
        if len(found) > MOST_FILES:
            return None
    return found


def _is_blob(path: str, oid: str, sha256: str) -> bool:
    try:
        data = opening.read_bytes(path)
    except OSError:
        return False
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        return False
    digest = hashlib.sha1 if len(oid) == 40 else hashlib.sha256
    return digest(b"blob %d\0" % len(data) + data).hexdigest() == oid
