"""Code of the supervisor that only a few attempts need, loaded when it is needed.

Standard library only.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs every supervisor a millisecond
    from typing import Any

CODE: dict[str, Any] = {}  # by name, as it was when the watcher began (`execution.program`)
_loaded: dict[str, Any] = {}


def neighbour(name: str) -> Any:
    """A module beside this one."""
    if name not in _loaded:
        module = type(sys)(name)
        exec(CODE[name], module.__dict__)
        _loaded[name] = module
    return _loaded[name]
