"""The sandbox of an attempt: from what its role says to the walls around its command, and what is
looked at when it has ended.

The walls are those of `coordination.walls`, with a drop folder in place of the real inbox. They are
built once for nothing before each attempt: what cannot be built does not start.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from typing import Any

from orchestrator.coordination.settings import Settings
from orchestrator.coordination.tasktrees import DROP, Claimed
from orchestrator.coordination.walls import (
    Building,
    Scene,
    impossible,
    inner_environment,
    link_below,
    real,
)
from orchestrator.distributors.base import Order
from orchestrator.execution import sandbox, syscalls
from orchestrator.files import jsonlines, opening
from orchestrator.files.layout import Layout
from orchestrator.files.text import last_lines, one_line
from orchestrator.model.sandbox import Sandbox
from orchestrator.patterns import regex
from orchestrator.store import atomic
from orchestrator.tools.specs import ToolSpec

# in the log folder: the walls, for whoever wants to know, and what must not appear
RECORD = "sandbox.json"
TAKEN = "taken"  # in the log folder: what appeared all the same
REFUSAL = regex(
    r"[^\"\\]{0,100}(?:Read-only file system|\bEROFS\b)[^\"\\]{0,60}"
)  # as a line of JSON has it
MOST = 5  # refusals that a result tells
LINES = 400  # of a log that are looked at for them
_VARIABLE = regex(r"\{(\w+)\}")


class Sandboxes:
    """Builds the sandboxes of a work directory's attempts."""

    def __init__(self, layout: Layout, settings: Settings) -> None:
        self.layout, self.settings = layout, settings
        self.building = Building(layout, settings)

    async def around(self, life: Claimed, order: Order, drops: bool = True) -> Order:
        """The order, behind the walls that its role and its task ask for. ``drops``: it may drop
        tasks.

        Raises `CannotStart` if there can be no such walls here.
        """
        box = life.route.sandbox
        if not box.on:
            return order
        if self.settings.config.distributor != "direct":
            raise impossible(box, "it is for attempts on this machine (distributor: direct)")
        if not box.network and not plain(life.route.tool):
            raise impossible(
                box, "network: none is for plain commands: an agent needs its provider"
            )
        return await asyncio.to_thread(self._enclosed, life, box, order, drops)

    def _enclosed(self, life: Claimed, box: Sandbox, order: Order, drops: bool) -> Order:
        for name in life.task.env:
            if name.startswith(("LD_", "GLIBC_")):
                why = f"the task sets {name}, which would also take effect outside it"
                raise impossible(box, why)
        if "=" in order.program:
            raise impossible(box, f"there is a = in the path of {order.program}")
        env = inner_environment(box, order.env)
        env["ORCHESTRATOR_DROP"] = f"{real(self.layout.work)}/inbox"
        drop = f"{order.run_dir}/{DROP}" if drops else ""
        if drops:
            os.makedirs(drop, exist_ok=True)
        scene = self._scene(life, order, drop)
        walls = self.building.tried(scene, order.program, env)
        pins = sandbox.pinned(walls)
        prefix = sandbox.words(walls, pins=sandbox.given(len(pins)))
        place = scene.place
        steering = {name: _inode(f"{place}/{name}") for name in self.building.guards(scene)}
        record = {"argv": prefix, "place": place, "steering": steering}
        atomic.remove(f"{order.run_dir}/{RECORD}")
        data = json.dumps(record, indent=1).encode() + b"\n"
        atomic.write_temporary(f"{order.run_dir}/{RECORD}", data, mode=0o600, sync=False)
        atomic.remove(f"{order.run_dir}/{syscalls.FILE}")
        calls = syscalls.program(walls.network)
        atomic.write_temporary(f"{order.run_dir}/{syscalls.FILE}", calls, mode=0o600, sync=False)
        argv = (*prefix, order.program, *order.argv[1:])
        return replace(order, program=argv[0], argv=argv, env=env, sandboxed=True, pins=pins)

    def _scene(self, life: Claimed, order: Order, drop: str) -> Scene:
        tool, tree = life.route.tool, life.tree
        state_paths(tool, order.env)  # those that are missing are made
        return Scene(
            life.route.sandbox,
            real(tree.path if tree is not None else self.layout.root),
            order.cwd,
            apart=tree is not None,
            settings=self._steering(),
            state=tuple(state_names(tool, order.env)),
            context=tuple(life.task.context or life.route.agent.context),
            run_dir=order.run_dir,
            drop=drop,
        )

    def _steering(self) -> tuple[str, ...]:
        """Names in a working folder that decide what every tool that we know does there."""
        tools = self.settings.toolbox.tools.values()
        return tuple(dict.fromkeys(name for tool in tools for name in tool.settings))

    # -- afterwards
    # ----------------------------------------------------------------------------------------------

    async def after(self, run_dir: str) -> tuple[str, ...]:
        """Take away what must not have appeared, and tell that, and what the walls refused."""
        if not os.path.lexists(f"{run_dir}/{RECORD}"):
            return ()  # it was in none
        return await asyncio.to_thread(self._after, run_dir)

    def _after(self, run_dir: str) -> tuple[str, ...]:
        try:
            record: Any = jsonlines.loads(opening.read_bytes(f"{run_dir}/{RECORD}"))
        except (OSError, ValueError):
            return ()  # there was none
        told = []
        # Version 0.1.0 wrote down what was missing only.
        steering = record.get("steering") or dict.fromkeys(record.get("missing", ()), 0)
        place = str(record["place"])
        for name, before in steering.items():
            # A link above it is as good as a link in its place: what it leads to is not ours to
            # move.
            name, before = (link, 0) if (link := link_below(place, name)) else (name, before)
            path = f"{place}/{name}"
            if not os.path.lexists(path) or _inode(path) == before:
                continue
            aside = f"{run_dir}/{TAKEN}/{name}"
            *above, own = name.split("/")
            try:
                os.makedirs(os.path.dirname(aside), exist_ok=True)
                with opening.folder_below(place, *above) as folder:
                    atomic.let_in(f"{folder}/.")
                    atomic.move_whole(f"{folder}/{own}", aside)
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
        path = real(text)
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


def plain(tool: ToolSpec) -> bool:
    """Whether a tool is a plain command, which needs no provider."""
    return tool.parse is None and not tool.edits
