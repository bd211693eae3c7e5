"""Whose ``work/`` this is. That of another user is not looked at without a word, as git does it
with repositories.

What lies there says which programs run, and reading it writes an index. A person who trusts it says
so in their own settings, ``$XDG_CONFIG_HOME/orchestrator/config.yaml`` (else ``~/.config``), which
nothing in a project can bring::

    safe_directories: [/srv/shared/acme, /work/*]
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from orchestrator.errors import Unusable
from orchestrator.files import documents, opening, statehome
from orchestrator.files.layout import Layout, find_layout
from orchestrator.libraries import later

if TYPE_CHECKING:
    import shlex
else:
    shlex = later("shlex")

KEY = "safe_directories"


def find_own_layout(start: str | None = None) -> Layout:
    """`layout.find_layout`, if it is ours; else `Unusable`, before anything in it was read."""
    layout = find_layout(start)
    refuse_foreign(layout)
    return layout


def refuse_foreign(layout: Layout) -> None:
    """`Unusable` if it is not ours to look at, or to write into."""
    if why := foreign(layout):
        raise Unusable(
            why,
            f"if you trust it, say so in {settings_path()}:  {KEY}:"
            f" [{os.path.realpath(layout.root)}]",
        )


def foreign(layout: Layout) -> str:
    """Why this work directory is not ours to look at; empty if it is, or if a person said that it
    is safe."""
    for path in (layout.work, layout.config, layout.state):
        try:
            owner = os.stat(path).st_uid
        except OSError:
            continue
        if owner not in ours():
            if is_safe(layout.root):
                return ""
            return (
                f"{shlex.quote(path)} belongs to another user (uid {owner}), so nothing in it is"
                " read or run"
            )
    return ""


def ours() -> set[int]:
    """Users whose files count as ours: ourselves, root, and whoever became root by sudo."""
    found = {os.geteuid(), 0}
    caller = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and caller.isascii() and caller.isdecimal():
        found.add(int(caller))
    return found


def settings_path() -> str:
    """The user's own settings file, which need not exist; empty without a home."""
    home = statehome.config_home()
    return f"{home}/config.yaml" if home else ""


def is_safe(root: str) -> bool:
    """Whether the user's own settings name this project: its path, a folder with ``/*`` behind it,
    or ``*``."""
    real = os.path.realpath(root)
    return any(_means(entry, real) for entry in _listed())


def allows(path: str) -> bool:
    """Whether a file lies in a project that the user's own settings name."""
    listed, folder = _listed(), os.path.dirname(os.path.realpath(path))
    while listed and folder != os.path.dirname(folder):
        if any(_means(entry, folder) for entry in listed):
            return True
        folder = os.path.dirname(folder)
    return False


def _means(entry: str, real: str) -> bool:
    if entry == "*":
        return True
    path = os.path.expanduser(entry)
    if not os.path.isabs(path):
        return False
    if path.endswith("/*"):
        return real.startswith(os.path.realpath(path[:-1]).rstrip("/") + "/")
    return os.path.realpath(path) == real


def _listed() -> list[str]:
    """The entries; none if the file is missing, is not our own, can be written by others, or says
    something else."""
    path = settings_path()
    if not path:
        return []
    try:
        info = os.stat(path)
        raw = opening.read_bytes(os.path.realpath(path), documents.MAX_BYTES)
    except OSError:
        return []
    if info.st_uid not in (os.geteuid(), 0) or info.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        return []
    data = documents.parse(raw).data
    listed = data.get(KEY) if isinstance(data, dict) else None
    return [entry for entry in listed if isinstance(entry, str)] if isinstance(listed, list) else []
