"""Where this program keeps what must not lie in a project: ``$XDG_STATE_HOME/orchestrator``, else
``~/.local/state/orchestrator``."""

from __future__ import annotations

import os
from contextlib import suppress

NAME = "orchestrator"


def state_home() -> str:
    """The folder, which need not exist; empty if there is no absolute path for it (no home)."""
    return _ours("XDG_STATE_HOME", ".local/state")


def config_home() -> str:
    """Where a person's own settings are: ``$XDG_CONFIG_HOME/orchestrator``, else below
    ``~/.config``; empty without a home."""
    return _ours("XDG_CONFIG_HOME", ".config")


def make(folder: str) -> None:
    """Make a folder that lies in one of these homes, or is one.

    Nobody else may write into any of ours, whatever the umask is: many systems let a person's group
    write into new folders, and `os.makedirs` gives its mode to the last one only.
    """
    parent, name = os.path.split(folder)
    if name == NAME:
        os.makedirs(parent, exist_ok=True)
    else:
        make(parent)
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)


def _ours(variable: str, below: str) -> str:
    base = os.environ.get(variable, "")
    if not os.path.isabs(base):  # as the XDG specification says: a relative one is ignored
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return ""
        base = f"{home}/{below}"
    return f"{base.rstrip('/')}/{NAME}"
