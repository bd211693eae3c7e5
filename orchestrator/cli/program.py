"""This program, for who runs a verb of it as a process of its own."""

from __future__ import annotations

import sys


def itself(root: str, *words: str) -> list[str]:
    """The command that runs these words in the project at ``root``, with this very interpreter and package."""
    return [sys.executable, "-m", "orchestrator", "-C", root, *words]
