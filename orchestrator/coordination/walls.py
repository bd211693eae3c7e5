"""The walls around a process that works on what an agent may have made: what it sees, and what it
can change.

Read-only, also where the working folder contains them: ``work/``, what git obeys, the settings of
tools, the instructions of roles. Not visible: logs, journals and events, what this machine trusts,
the real inbox, sockets and ``/run``.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from orchestrator.coordination.settings import Configured
from orchestrator.execution import sandbox
from orchestrator.execution.sandbox import EMPTY, READ, SEALED, WRITE, Mount, Walls
from orchestrator.files.layout import ANSWERS, ARTIFACTS, ASKED, OWN, Layout, data_file
from orchestrator.files.statehome import state_home
from orchestrator.model.sandbox import PROJECT, STRICT, Sandbox, covered
from orchestrator.records import dataclass
from orchestrator.store import git
from orchestrator.store.trees import Command
from orchestrator.tools.invocation import CannotStart

UNSEEN = (".state", "logs", "events")  # below work/
SHOWN = ("orchestrator.yaml", "tools", "agents")  # below work/, in a strict sandbox
STEERING = (".git", ".vscode", ".idea", ".envrc")  # in any project
ELSEWHERE = (
    "SSH_AUTH_SOCK",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "WAYLAND_DISPLAY",
    "DISPLAY",
)
MOST_SOCKETS = 2000


@dataclass(frozen=True, slots=True)
class Scene:
    """What a process works on behind its walls.

    ``place`` is its working folder, ``apart`` whether that is another one than the project (a tree,
    a checkout), ``settings`` are names there that steer programs, beside those of any project;
    ``state`` is where its tool keeps its sessions, ``context`` what of ``work/`` it is to read.
    ``run_dir`` (empty: none) is its log folder, ``drop`` (empty: none) what it has for an inbox.
    All paths are absolute, and no link is in ``place`` and ``cwd``.
    """

    box: Sandbox
    place: str
    cwd: str
    apart: bool
    settings: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    run_dir: str = ""
    drop: str = ""


class Building:
    """Builds walls in a work directory."""

    def __init__(self, layout: Layout, configured: Configured) -> None:
        self.layout, self.configured = layout, configured

    def check(self, scene: Scene) -> None:
        """`CannotStart` if what could be changed contains what must not be: whoever can rename a
        folder above a wall can go round it."""
        box, trusted = scene.box, real(state_home())
        for path in (*box.write, *box.read, *scene.state):
            if link := self._planted(path):
                raise impossible(
                    box, f"{link} is a link where an attempt can write; name what it leads to"
                )
        writable = [real(path) for path in (*box.write, *scene.state)]
        for path in writable:
            if covered(scene.place, [path]) or covered(real(self.layout.root), [path]):
                raise impossible(box, f"{path} is writable, and contains the project")
        for path in (*writable, scene.place):
            if state_home() and covered(trusted, [path]):
                raise impossible(
                    box,
                    f"{path} is writable, and contains what this machine trusts ({trusted})",
                )

    def _planted(self, path: str) -> str:
        """The link in a path that an attempt may have put there, of this role or of another one;
        empty if there is none."""
        writable = self._writable()
        parts = os.path.abspath(os.path.expanduser(path)).split("/")
        for count in range(2, len(parts) + 1):
            link = "/".join(parts[:count])
            if os.path.islink(link) and covered(real(os.path.dirname(link)), writable):
                return link
        return ""

    def _writable(self) -> list[str]:
        """Where attempts may write, of whatever role."""
        agents = self.configured.config.agents.values()
        paths = (self.layout.root, *(path for agent in agents for path in agent.role.sandbox.write))
        return [real(path) for path in paths]

    def walls(self, scene: Scene) -> Walls:
        """Raises `CannotStart` if there can be no such walls."""
        mounts = [*self._ground(scene), *self._work(scene), *self._guarded(scene)]
        mounts += self._silenced(scene, mounts)
        return Walls(tuple(mounts), scene.cwd, scene.box.level == PROJECT, scene.box.network)

    def tried(self, scene: Scene, program: str, env: Mapping[str, str]) -> Walls:
        """The walls, in which the program can be started: they were built for nothing.

        Raises `CannotStart` if that cannot be done.
        """
        self.check(scene)
        for last in (False, True):  # a socket that was there may be gone by now: then once more
            walls = self.walls(scene)
            why = sandbox.refused(walls, program, env)
            if not why:
                break
            if last:
                raise impossible(scene.box, why)
        return walls

    @contextmanager
    def command(
        self, scene: Scene, argv: Sequence[str], env: Mapping[str, str]
    ) -> Iterator[Command]:
        """A command of ours behind these walls: its words, its environment, and the descriptors
        that it must be given. Raises `CannotStart` if that cannot be."""
        given = inner_environment(scene.box, env)
        first = argv[0]
        program = first if "/" in first else shutil.which(first, path=given.get("PATH")) or first
        walls = self.tried(scene, program, given)
        with sandbox.enclosed(walls, argv) as (words, fds):
            yield words, given, fds

    def _ground(self, scene: Scene) -> Iterator[Mount]:
        """What can be seen, and what can be changed."""
        box, root, home = scene.box, real(self.layout.root), real("~")
        if box.level == PROJECT:
            shown = [home, root, *(path for path in interpreter() if os.path.exists(path))]
            yield from (Mount(READ, path) for path in shown if covered(path, sandbox.HIDDEN))
        else:
            yield from (Mount(READ, path) for path in interpreter() if os.path.exists(path))
            yield from self._pinned(READ, box, box.read)
        if not scene.apart:
            yield Mount(WRITE, root)
        yield from self._pinned(WRITE, box, filter(os.path.exists, scene.state))
        yield from self._pinned(WRITE, box, box.write)

    def _pinned(self, kind: str, box: Sandbox, names: Iterable[str]) -> Iterator[Mount]:
        """Mounts of paths that are named; `CannotStart` if there is none, or if an attempt could
        put a link in place of one, and this bubblewrap would follow it."""
        writable = self._writable()
        for name in names:
            path = literal(name, writable)
            if not os.path.exists(path):
                raise impossible(box, f"it names {name}, which does not exist")
            reachable = covered(os.path.dirname(path), writable)
            if reachable and not sandbox.can_pin():
                raise impossible(
                    box, f"{path} lies where an attempt can write: that needs bubblewrap 0.10"
                )
            yield Mount(kind, path, pin=reachable)

    def _silenced(self, scene: Scene, mounts: list[Mount]) -> Iterator[Mount]:
        """Sockets on which somebody listens now, where an attempt would see them behind these
        ``mounts``; those that its role names stay."""
        box = scene.box
        named = [real(path) for path in box.write]
        found = [
            path
            for path in dict.fromkeys(map(real, sandbox.sockets()))
            if not covered(path, named) and sandbox.visible(path, mounts, box.level == PROJECT)
        ]
        if len(found) > MOST_SOCKETS:
            raise impossible(box, f"there are {len(found)} sockets to keep it from")
        yield from (Mount(READ, path, "/dev/null") for path in found)

    def _work(self, scene: Scene) -> Iterator[Mount]:
        """``work/``, of which it can change its artifacts, its tool's folder, its drop folder and
        its tree."""
        work, run_dir, strict = real(self.layout.work), scene.run_dir, scene.box.level == STRICT
        if strict:
            yield Mount(EMPTY, work)
            shown = [f"{work}/{name}" for name in SHOWN]
            yield from (Mount(READ, path) for path in shown if os.path.exists(path))
            yield from (Mount(READ, path) for path in self._context(scene, work))
        else:
            yield Mount(READ, work)
        unseen = [f"{work}/{name}" for name in UNSEEN if strict or os.path.isdir(f"{work}/{name}")]
        yield from (Mount(EMPTY, path) for path in unseen)
        if run_dir:
            yield from self._own(real(run_dir))
        if scene.drop:
            yield Mount(WRITE, f"{work}/inbox", real(scene.drop))
        else:
            yield Mount(EMPTY, f"{work}/inbox")
            unseen.append(f"{work}/inbox")
        if scene.apart:
            yield Mount(WRITE, scene.place)
        yield from (Mount(SEALED, path) for path in unseen)
        if strict:
            yield Mount(SEALED, work)

    @staticmethod
    def _own(run_dir: str) -> Iterator[Mount]:
        """What it has of its log folder."""
        for name in (ARTIFACTS, OWN, ASKED):
            if os.path.isdir(f"{run_dir}/{name}"):
                yield Mount(WRITE, f"{run_dir}/{name}")
        if os.path.isdir(f"{run_dir}/{ANSWERS}"):
            yield Mount(READ, f"{run_dir}/{ANSWERS}")
        if os.path.isfile(f"{run_dir}/prompt.md"):
            yield Mount(READ, f"{run_dir}/prompt.md")

    def _context(self, scene: Scene, work: str) -> Iterator[str]:
        """Files below ``work/`` that it is to read; over what is `UNSEEN` comes something else."""
        for path in scene.context:
            found = real(os.path.join(self.layout.root, path))
            if covered(found, [work]) and os.path.exists(found):
                yield found

    def _guarded(self, scene: Scene) -> Iterator[Mount]:
        """What steers git, tools and agents stays as it is, wherever it lies; what this machine
        trusts is not seen. An attempt beside this one could put a link in place of what is there,
        so it is opened before the walls are built."""
        place = scene.place
        for name in self.guards(scene):
            if link := link_below(place, name):
                raise CannotStart(
                    f"sandbox: {link} is a link, which could be replaced; put the real thing in its"
                    " place"
                )
            if os.path.exists(f"{place}/{name}"):
                yield Mount(READ, f"{place}/{name}", pin=sandbox.can_pin())
        try:
            repo = git.find(self.layout.root)
            folders = dict.fromkeys((real(repo.common), real(repo.git_dir)))
        except git.NoRepository:
            folders = {}
        yield from (Mount(READ, path) for path in folders)
        trusted = state_home()
        if trusted and os.path.isdir(trusted):
            yield Mount(EMPTY, real(trusted))
            yield Mount(SEALED, real(trusted))

    def guards(self, scene: Scene) -> list[str]:
        """What must stay as it is, relative to the working folder: what steers programs there and
        in the folders down to where the attempt begins, and the instructions of roles."""
        place, cwd = scene.place, scene.cwd
        inner = os.path.relpath(cwd, place) if covered(cwd, [place]) else "."
        parts = [] if inner == "." else inner.split("/")
        folders = ["".join(f"{part}/" for part in parts[:depth]) for depth in range(len(parts) + 1)]
        names = dict.fromkeys((*STEERING, *scene.settings))
        found = [f"{folder}{name}" for folder in folders for name in names]
        for agent in self.configured.config.agents.values():
            path = real(os.path.join(self.layout.root, agent.instructions))
            if agent.instructions and covered(path, [place]) and os.path.isfile(path):
                found.append(os.path.relpath(path, place))
        return list(dict.fromkeys(found))


def inner_environment(box: Sandbox, env: Mapping[str, str]) -> dict[str, str]:
    """What is given to a process behind walls, without what leads out: it has a /tmp of its own."""
    kept = {
        name: value
        for name, value in env.items()
        if name not in ELSEWHERE or covered(value, map(real, box.write))
    }
    return kept | {"TMPDIR": "/tmp"}


def link_below(place: str, name: str) -> str:
    """The first link in a relative path, its own name included; empty if there is none."""
    parts = name.split("/")
    steps = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next((step for step in steps if os.path.islink(f"{place}/{step}")), "")


def literal(name: str, writable: Iterable[str]) -> str:
    """A path with its links resolved, but for those where an attempt may write: it could have put
    them there, now or in a moment."""
    path, folders = "/", list(writable)
    for part in os.path.abspath(os.path.expanduser(name)).split("/")[1:]:
        step = os.path.join(path, part)
        path = step if covered(path, folders) else real(step)
    return path


def interpreter() -> list[str]:
    """What a tool of ours needs to run: Python and this package."""
    folders = {
        sys.prefix,
        sys.base_prefix,
        os.path.dirname(data_file("tools")),
        data_file("schemas"),
    }
    return sorted({real(path) for path in folders} - {"/"})


def real(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))


def impossible(box: Sandbox, why: str) -> CannotStart:
    hint = "orchestrator doctor"
    return CannotStart(f"sandbox: {box.level} is not possible here: {why}", hint)
