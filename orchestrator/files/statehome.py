"""Where this program keeps what must not lie in a project: ``$XDG_STATE_HOME/orchestrator``, else ``~/.local/state/orchestrator``."""

from __future__ import annotations

import os


def state_home() -> str:
    """The folder, which need not exist; empty if there is no absolute path for it (no home)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):  # as the XDG specification says: a relative one is ignored
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return ""
        base = f"{home}/.local/state"
    return f"{base.rstrip('/')}/orchestrator"


def config_home() -> str:
    """Where a person's own settings are: ``$XDG_CONFIG_HOME/orchestrator``, else below ``~/.config``; empty without a home."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return ""
        base = f"{home}/.config"
    return f"{base.rstrip('/')}/orchestrator"
