"""Modules of the standard library that are loaded when they are first used.

Some take longer than all that a verb does: ``ctypes``, ``difflib``, ``sqlite3`` and their like are
for a mistyped name, a question, a rare kind of file.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


class later:  # noqa: N801 (it stands in for a module)
    """The module of this name, once something of it is asked for."""

    def __init__(self, name: str) -> None:
        if name.partition(".")[0] not in sys.stdlib_module_names:
            raise ValueError(
                f"{name}: only of the standard library; ours are imported where all can see it"
            )
        self._name = name

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_module(self._name), name)
        setattr(self, name, found)
        return found
