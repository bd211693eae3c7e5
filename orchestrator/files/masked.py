"""How far a log that is being written may be shown.

A supervisor overwrites secrets in a log a moment after its tool has printed them. Until then a
reader must not see them; so, while there are secrets, a file beside the log says up to where it has
been looked through. Without that file all of it may be shown.
"""

from __future__ import annotations

import os

from orchestrator.files import opening

SUFFIX = ".masked"


def end(path: str) -> int:
    """The size of a log as far as it may be shown; OSError if there is no log."""
    size = os.stat(path, follow_symlinks=False).st_size
    try:
        return min(size, int(opening.read_bytes(path + SUFFIX, 100)))
    except FileNotFoundError:
        return size
    except (OSError, ValueError):
        return 0
