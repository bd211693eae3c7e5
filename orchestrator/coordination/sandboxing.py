"""The sandbox of an attempt: from what its role says to the walls around its command, and what is
looked at when it has ended.

Read-only, also where the working folder contains them: ``work/``, what git obeys, the settings of
tools, the instructions of roles. Not visible: logs, journals and events, what this machine trusts,
the real inbox (a drop folder lies in its place), sockets and ``/run``. The walls are built once for
nothing before each attempt: what cannot be built does not start.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from orchestrator.coordination.settings import Settings
from orchestrator.coordination.tasktrees import DROP, Claimed, TaskTrees
from orchestrator.distributors.base import Order
from orchestrator.execution import sandbox, syscalls
from orchestrator.execution.sandbox import EMPTY, READ, SEALED, WRITE, Mount, Walls
from orchestrator.files import opening
from orchestrator.files.layout import ANSWERS, ARTIFACTS, ASKED, OWN, Layout, data_file
from orchestrator.files.statehome import state_home
from orchestrator.files.text import last_lines, one_line
from orchestrator.model.sandbox import PROJECT, STRICT, Sandbox, covered
from orchestrator.patterns import regex
from orchestrator.store import atomic, git
from orchestrator.tools.invocation import CannotStart
from orchestrator.tools.specs import ToolSpec

# in the log folder: the walls, for whoever wants to know, and what must not appear
RECORD = "sandbox.json"
TAKEN = "taken"  # in the log folder: what appeared all the same
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
REFUSAL = regex(
    r"[^\"\\]{0,100}(?:Read-only file system|\bEROFS\b)[^\"\\]{0,60}"
)  # as a line of JSON has it
MOST_SOCKETS = 2000
MOST = 5  # refusals that a result tells
LINES = 400  # of a log that are looked at for them
_VARIABLE = regex(r"\{(\w+)\}")


class Sandboxes:
    """Builds the sandboxes of a work directory's attempts."""

    def __init__(self, layout: Layout, settings: Settings, tasktrees: TaskTrees) -> None:
        self.layout, self.settings, self.tasktrees = layout, settings, tasktrees

    async def around(self, life: Claimed, order: Order, drops: bool = True) -> Order:
        """The order, behind the walls that its role and its task ask for. ``drops``: it may drop
        tasks.

        Raises `CannotStart` if there can be no such walls here.
        """
        box = life.route.sandbox
        if not box.on:
            return order
        if self.settings.config.distributor != "direct":
            raise _impossible(box, "it is for attempts on this machine (distributor: direct)")
        if not box.network and not plain(life.route.tool):
            raise _impossible(
                box, "network: none is for plain commands: an agent needs its provider"
            )
        return await asyncio.to_thread(self._enclosed, life, box, order, drops)

    def _enclosed(self, life: Claimed, box: Sandbox, order: Order, drops: bool) -> Order:
        self._check(life, box, order)
        if "=" in order.program:
            raise _impossible(box, f"there is a = in the path of {order.program}")
        env = self._environment(box, order)
        if drops:
            os.makedirs(f"{order.run_dir}/{DROP}", exist_ok=True)
        for last in (False, True):  # a socket that was there may be gone by now: then once more
            walls = self._walls(life, box, order, drops)
            why = sandbox.refused(walls, order.program, env)
            if not why:
                break
            if last:
                raise _impossible(box, why)
        prefix = sandbox.words(walls, pins=True)
        assert prefix is not None
        place = self._place(life)
        steering = {name: _inode(f"{place}/{name}") for name in self._guards(place, order.cwd)}
        record = {"argv": prefix, "place": place, "steering": steering}
        atomic.remove(f"{order.run_dir}/{RECORD}")
        data = json.dumps(record, indent=1).encode() + b"\n"
        atomic.write_temporary(f"{order.run_dir}/{RECORD}", data, mode=0o600, sync=False)
        atomic.remove(f"{order.run_dir}/{syscalls.FILE}")
        calls = syscalls.program(walls.network)
        atomic.write_temporary(f"{order.run_dir}/{syscalls.FILE}", calls, mode=0o600, sync=False)
        argv = (*prefix, order.program, *order.argv[1:])
        pins = sandbox.pinned(walls)
        return replace(order, program=argv[0], argv=argv, env=env, sandboxed=True, pins=pins)

    def _check(self, life: Claimed, box: Sandbox, order: Order) -> None:
        """`CannotStart` if what could be changed contains what must not be: whoever can rename a
        folder above a wall can go round it."""
        for name in life.task.env:
            if name.startswith(("LD_", "GLIBC_")):
                raise _impossible(
                    box, f"the task sets {name}, which would also take effect outside it"
                )
        for path in (*box.write, *box.read, *state_names(life.route.tool, order.env)):
            if link := self._planted(path):
                raise _impossible(
                    box, f"{link} is a link where an attempt can write; name what it leads to"
                )
        place, trusted = self._place(life), _real(state_home())
        writable = [_real(path) for path in (*box.write, *state_paths(life.route.tool, order.env))]
        for path in writable:
            if covered(place, [path]) or covered(_real(self.layout.root), [path]):
                raise _impossible(box, f"{path} is writable, and contains the project")
        for path in (*writable, place):
            if state_home() and covered(trusted, [path]):
                raise _impossible(
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
            if os.path.islink(link) and covered(_real(os.path.dirname(link)), writable):
                return link
        return ""

    def _writable(self) -> list[str]:
        """Where attempts may write, of whatever role."""
        agents = self.settings.config.agents.values()
        paths = (self.layout.root, *(path for agent in agents for path in agent.role.sandbox.write))
        return [_real(path) for path in paths]

    def _environment(self, box: Sandbox, order: Order) -> dict[str, str]:
        """What the attempt is given, without what leads out: it has a /tmp of its own, and the drop
        folder for an inbox."""
        env = {
            name: value
            for name, value in order.env.items()
            if name not in ELSEWHERE or covered(value, map(_real, box.write))
        }
        return env | {"TMPDIR": "/tmp", "ORCHESTRATOR_DROP": f"{_real(self.layout.work)}/inbox"}

    def _place(self, life: Claimed) -> str:
        """The working folder: the task's tree, or the project."""
        return _real(life.tree.path if life.tree is not None else self.layout.root)

    # -- the walls
    # ----------------------------------------------------------------------------------------------

    def _walls(self, life: Claimed, box: Sandbox, order: Order, drops: bool) -> Walls:
        place = self._place(life)
        mounts = [
            *self._ground(life, box, order),
            *self._work(life, box, order, drops),
            *self._guarded(place, order.cwd),
        ]
        mounts += self._silenced(box, mounts)
        return Walls(tuple(mounts), order.cwd, box.level == PROJECT, box.network)

    def _ground(self, life: Claimed, box: Sandbox, order: Order) -> Iterator[Mount]:
        """What can be seen, and what can be changed."""
        root, home = _real(self.layout.root), _real("~")
        if box.level == PROJECT:
            shown = [home, root, *(path for path in interpreter() if os.path.exists(path))]
            yield from (Mount(READ, path) for path in shown if covered(path, sandbox.HIDDEN))
        else:
            yield from (Mount(READ, path) for path in interpreter() if os.path.exists(path))
            yield from self._pinned(READ, box, box.read)
        if life.tree is None:
            yield Mount(WRITE, root)
        state_paths(life.route.tool, order.env)  # those that are missing are made
        state = state_names(life.route.tool, order.env)
        yield from self._pinned(WRITE, box, filter(os.path.exists, state))
        yield from self._pinned(WRITE, box, box.write)

    def _pinned(self, kind: str, box: Sandbox, names: Iterable[str]) -> Iterator[Mount]:
        """Mounts of paths that are named; `CannotStart` if there is none, or if an attempt could
        put a link in place of one, and this bubblewrap would follow it."""
        writable = self._writable()
        for name in names:
            path = literal(name, writable)
            if not os.path.exists(path):
                raise _impossible(box, f"it names {name}, which does not exist")
            reachable = covered(os.path.dirname(path), writable)
            if reachable and not sandbox.can_pin():
                raise _impossible(
                    box, f"{path} lies where an attempt can write: that needs bubblewrap 0.10"
                )
            yield Mount(kind, path, pin=reachable)

    def _silenced(self, box: Sandbox, mounts: list[Mount]) -> Iterator[Mount]:
        """Sockets on which somebody listens now, where an attempt would see them behind these
        ``mounts``; those that its role names stay."""
        named = [_real(path) for path in box.write]
        found = [
            path
            for path in dict.fromkeys(map(_real, sandbox.sockets()))
            if not covered(path, named) and sandbox.visible(path, mounts, box.level == PROJECT)
        ]
        if len(found) > MOST_SOCKETS:
            raise _impossible(box, f"there are {len(found)} sockets to keep it from")
        yield from (Mount(READ, path, "/dev/null") for path in found)

    def _work(self, life: Claimed, box: Sandbox, order: Order, drops: bool) -> Iterator[Mount]:
        """``work/``, of which an attempt can change its artifacts, its tool's folder, its drop
        folder and its tree."""
        work, run_dir = _real(self.layout.work), _real(order.run_dir)
        if box.level == STRICT:
            yield Mount(EMPTY, work)
            yield from (
                Mount(READ, f"{work}/{name}") for name in SHOWN if os.path.exists(f"{work}/{name}")
            )
            yield from (Mount(READ, path) for path in self._context(life, work))
        else:
            yield Mount(READ, work)
        unseen = [
            f"{work}/{name}"
            for name in UNSEEN
            if box.level == STRICT or os.path.isdir(f"{work}/{name}")
        ]
        yield from (Mount(EMPTY, path) for path in unseen)
        for name in (ARTIFACTS, OWN, ASKED):
            if os.path.isdir(f"{run_dir}/{name}"):
                yield Mount(WRITE, f"{run_dir}/{name}")
        if os.path.isdir(f"{run_dir}/{ANSWERS}"):
            yield Mount(READ, f"{run_dir}/{ANSWERS}")
        if order.stdin or os.path.isfile(f"{run_dir}/prompt.md"):
            yield Mount(READ, f"{run_dir}/prompt.md")
        if drops:
            yield Mount(WRITE, f"{work}/inbox", f"{run_dir}/{DROP}")
        else:
            yield Mount(EMPTY, f"{work}/inbox")
            unseen.append(f"{work}/inbox")
        if life.tree is not None:
            yield Mount(WRITE, _real(life.tree.path))
        yield from (Mount(SEALED, path) for path in unseen)
        if box.level == STRICT:
            yield Mount(SEALED, work)

    def _context(self, life: Claimed, work: str) -> Iterator[str]:
        """Files below ``work/`` that the task names to be read."""
        for path in life.task.context or life.route.agent.context:
            real = _real(os.path.join(self.layout.root, path))
            hidden = [f"{work}/{name}" for name in (*UNSEEN, "inbox")]
            if covered(real, [work]) and not covered(real, hidden) and os.path.exists(real):
                yield real

    def _guarded(self, place: str, cwd: str) -> Iterator[Mount]:
        """What steers git, tools and agents stays as it is, wherever it lies; what this machine
        trusts is not seen. An attempt beside this one could put a link in place of what is there,
        so it is opened before the walls are built."""
        for name in self._guards(place, cwd):
            if link := _link_below(place, name):
                raise CannotStart(
                    f"sandbox: {link} is a link, which could be replaced; put the real thing in its"
                    " place"
                )
            if os.path.exists(f"{place}/{name}"):
                yield Mount(READ, f"{place}/{name}", pin=sandbox.can_pin())
        try:
            repo = git.find(self.layout.root)
            folders = dict.fromkeys((_real(repo.common), _real(repo.git_dir)))
        except git.NoRepository:
            folders = {}
        yield from (Mount(READ, path) for path in folders)
        trusted = state_home()
        if trusted and os.path.isdir(trusted):
            yield Mount(EMPTY, _real(trusted))
            yield Mount(SEALED, _real(trusted))

    def _guards(self, place: str, cwd: str) -> list[str]:
        """What must stay as it is, relative to the working folder: what steers programs there and
        in the folders down to where the attempt begins, and the instructions of roles."""
        inner = os.path.relpath(cwd, place) if covered(cwd, [place]) else "."
        parts = [] if inner == "." else inner.split("/")
        folders = ["".join(f"{part}/" for part in parts[:depth]) for depth in range(len(parts) + 1)]
        found = [f"{folder}{name}" for folder in folders for name in self._steering()]
        for agent in self.settings.config.agents.values():
            path = _real(os.path.join(self.layout.root, agent.instructions))
            if agent.instructions and covered(path, [place]) and os.path.isfile(path):
                found.append(os.path.relpath(path, place))
        return list(dict.fromkeys(found))

    def _steering(self) -> list[str]:
        """Names in a working folder that decide what programs do there: of git, of editors, of
        every tool that we know."""
        tools = self.settings.toolbox.tools.values()
        return list(dict.fromkeys((*STEERING, *(name for tool in tools for name in tool.settings))))

    # -- afterwards
    # ----------------------------------------------------------------------------------------------

    async def after(self, run_dir: str) -> tuple[str, ...]:
        """Take away what must not have appeared, and tell that, and what the walls refused."""
        if not os.path.lexists(f"{run_dir}/{RECORD}"):
            return ()  # it was in none
        return await asyncio.to_thread(self._after, run_dir)

    def _after(self, run_dir: str) -> tuple[str, ...]:
        try:
            record: Any = json.loads(opening.read_bytes(f"{run_dir}/{RECORD}"))
        except (OSError, ValueError):
            return ()  # there was none
        told = []
        # Version 0.1.0 wrote down what was missing only.
        steering = record.get("steering") or dict.fromkeys(record.get("missing", ()), 0)
        place = str(record["place"])
        for name, before in steering.items():
            # A link above it is as good as a link in its place: what it leads to is not ours to
            # move.
            name, before = (link, 0) if (link := _link_below(place, name)) else (name, before)
            path = f"{place}/{name}"
            if not os.path.lexists(path) or _inode(path) == before:
                continue
            aside = f"{run_dir}/{TAKEN}/{name}"
            *above, own = name.split("/")
            try:
                os.makedirs(os.path.dirname(aside), exist_ok=True)
                with opening.folder_below(place, *above) as folder:
                    os.rename(f"{folder}/{own}", aside)
                told.append(
                    f"it made {name}, which steers programs here: moved to"
                    f" {self.layout.shown(aside)}"
                )
            except OSError as error:
                told.append(
                    f"it made {name}, which steers programs here; it is still there:"
                    f" {error.strerror}"
                )
        return (*told, *refusals(run_dir))


def _link_below(place: str, name: str) -> str:
    """The first link in a relative path, its own name included; empty if there is none."""
    parts = name.split("/")
    steps = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next((step for step in steps if os.path.islink(f"{place}/{step}")), "")


def _inode(path: str) -> int:
    """By which a file or folder is known; 0 if there is none."""
    try:
        return os.lstat(path).st_ino
    except OSError:
        return 0


def refusals(run_dir: str) -> list[str]:
    """What a tool says that it could not write, in the end of its logs."""
    found: dict[str, None] = {}
    for name in ("stderr.log", "stdout.log"):
        for line in last_lines(f"{run_dir}/{name}", LINES):
            if refusal := REFUSAL.search(line):
                found[f"the sandbox refused: {one_line(refusal[0].strip(), 160)}"] = None
    return list(found)[:MOST]


def state_paths(tool: ToolSpec, env: Any) -> list[str]:
    """Where a tool keeps its sessions: folders (their names end in ``/``) are made if they are
    missing, files are not."""
    found = []
    for text in state_names(tool, env):
        path = _real(text)
        if text.endswith("/"):
            os.makedirs(path, mode=0o700, exist_ok=True)
        if os.path.isabs(path) and os.path.exists(path):
            found.append(path)
    return found


def state_names(tool: ToolSpec, env: Any) -> list[str]:
    """The same as its spec names them, no link resolved."""
    return [
        _VARIABLE.sub(lambda match: env[match[1]], text)
        for text in tool.state
        if all(env.get(name) for name in _VARIABLE.findall(text))
    ]


def literal(name: str, writable: Iterable[str]) -> str:
    """A path with its links resolved, but for those where an attempt may write: it could have put
    them there, now or in a moment."""
    path, folders = "/", list(writable)
    for part in os.path.abspath(os.path.expanduser(name)).split("/")[1:]:
        step = os.path.join(path, part)
        path = step if covered(path, folders) else _real(step)
    return path


def interpreter() -> list[str]:
    """What a tool of ours needs to run: Python and this package."""
    folders = {
        sys.prefix,
        sys.base_prefix,
        os.path.dirname(data_file("tools")),
        data_file("schemas"),
    }
    return sorted({_real(path) for path in folders} - {"/"})


def plain(tool: ToolSpec) -> bool:
    """Whether a tool is a plain command, which needs no provider."""
    return tool.parse is None and not tool.edits


def _real(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))


def _impossible(box: Sandbox, why: str) -> CannotStart:
    hint = "orchestrator doctor"
    return CannotStart(f"sandbox: {box.level} is not possible here: {why}", hint)
