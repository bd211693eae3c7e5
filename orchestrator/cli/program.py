"""This program, for who runs a verb of it as a process of its own."""

from __future__ import annotations

import sys


def itself(root: str, *words: str) -> list[str]:
    """The command that runs these words in the project at ``root``, with this very interpreter and
    package, whatever the environment names as the project.

    ``-P``: no file of the current folder is taken for a module, for that folder may be a project
    that was just pulled.
    """
    return [sys.executable, "-P", "-m", "orchestrator", "-C", root, *words]
