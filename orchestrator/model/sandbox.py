"""The sandbox of a role: what the processes of an attempt can see and change.

``off``: what the user can. ``project``: everything is visible, and only the working folder can be
changed. ``strict``: only what is named is visible. A task file can only tighten it; so can the
attempt that a task was dropped by. Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.records import dataclass, replace

OFF, PROJECT, STRICT = LEVELS = ("off", "project", "strict")
# Of permissions each allows more than the one before; where "default" stands is what the programs
# that know more levels do.
NEVER, CHANGED, ALWAYS = REVIEWS = ("never", "changed", "always")  # each asks for more
PERMISSIONS = ("read", "edit", "default", "shell", "full")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """``read`` are further paths that ``strict`` shows, ``write`` those that can be changed, too:
    absolute, or from ``~/``.

    ``network`` is False for a plain command that is to have none.
    """

    level: str = OFF
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    network: bool = True

    @property
    def on(self) -> bool:
        return self.level != OFF


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a task that an attempt in a sandbox has dropped may have at most: its ``parent``'s
    sandbox, permissions and secrets.

    ``tree``: it works in a tree of its own, as its parent did, and ``review`` is the look at its
    work that it has at least: else it could change by another role what its parent could not.
    """

    parent: str
    sandbox: Sandbox
    permissions: str = "default"
    secrets: tuple[str, ...] = ()
    tree: bool = False
    review: str = NEVER

    def as_record(self) -> dict[str, Any]:
        """The bounds as they are kept, in JSON."""
        box = self.sandbox
        return {
            "parent": self.parent,
            "level": box.level,
            "read": list(box.read),
            "write": list(box.write),
            "network": box.network,
            "permissions": self.permissions,
            "secrets": list(self.secrets),
            "tree": self.tree,
            "review": self.review,
        }


def sandbox_from(value: str | Mapping[str, Any] | None) -> Sandbox:
    """The ``sandbox`` of a role: a level, or a mapping that has more to say."""
    if value is None:
        return Sandbox()
    if isinstance(value, str):
        return Sandbox(value)
    return Sandbox(
        value.get("level", PROJECT),
        tuple(value.get("read", ())),
        tuple(value.get("write", ())),
        value.get("network", "host") != "none",
    )


def bounds_from(record: Mapping[str, Any]) -> Bounds:
    """The bounds in a record; what it does not say is bounded most."""
    level = record.get("level")
    box = Sandbox(
        level if level in LEVELS else STRICT,
        tuple(record.get("read", ())),
        tuple(record.get("write", ())),
        record.get("network") is True,
    )
    permissions = str(record.get("permissions"))
    permissions = permissions if permissions in PERMISSIONS else "default"
    review = record.get("review", NEVER if "parent" in record else ALWAYS)
    return Bounds(
        str(record.get("parent", "")),
        box,
        permissions,
        tuple(record.get("secrets", ())),
        record.get("tree") is True,
        review if review in REVIEWS else ALWAYS,
    )


def at_least(box: Sandbox, level: str) -> Sandbox:
    """The sandbox, or a stricter one if ``level`` (empty: none) asks for it."""
    wanted = level if level in LEVELS else OFF
    return replace(box, level=max(box.level, wanted, key=LEVELS.index))


def within(box: Sandbox, outer: Sandbox) -> Sandbox:
    """The sandbox, never looser than ``outer``: as strict, no path that could not be changed or
    seen there, no other network."""
    if not outer.on:
        return box
    read = box.read
    if outer.level == STRICT:
        read = _inside(box.read, (*outer.read, *outer.write))
    return Sandbox(
        max(box.level, outer.level, key=LEVELS.index),
        read,
        _inside(box.write, outer.write),
        box.network and outer.network,
    )


def _inside(paths: Iterable[str], outer: Sequence[str]) -> tuple[str, ...]:
    return tuple(path for path in paths if covered(path, outer))


def covered(path: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of these or below one."""
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def tighter_bounds(first: Bounds, second: Bounds) -> Bounds:
    """Both hold."""
    return Bounds(
        first.parent,
        within(first.sandbox, second.sandbox) if first.sandbox.on else second.sandbox,
        min(first.permissions, second.permissions, key=PERMISSIONS.index),
        tuple(name for name in first.secrets if name in second.secrets),
        first.tree or second.tree,
        max(first.review, second.review, key=REVIEWS.index),
    )
