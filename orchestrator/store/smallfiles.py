"""Small files in which something is remembered: each is replaced whole. What else lies in its place,
or in that of its folder, gives way (`store.places`).

A test forbids any other way to replace a file below ``work/`` (tests/test_architecture.py).
"""

from __future__ import annotations

import json
import os

from orchestrator.files import owners
from orchestrator.files.layout import Layout
from orchestrator.store import atomic, places


def scratch(layout: Layout, name: str) -> str:
    """A path for something that goes again: nothing lies there, and its folder is there."""
    folder = f"{layout.state}/tmp"
    # A link below .state is none of ours; one in place of .state stays, and people are told.
    places.make_folder(layout, folder, 0o700)
    return f"{folder}/{owners.fresh()}.{name}"


def replace(layout: Layout, path: str, document: object, what: str) -> None:
    """Have this in the file from now on, as JSON; it survives a power cut. The rest as `put`."""
    put(layout, path, json.dumps(document, sort_keys=True).encode(), what)


def put(
    layout: Layout,
    path: str,
    data: bytes,
    what: str,
    *,
    sync: bool = True,
    keep: bool = False,
    anew: bool = False,
) -> int:
    """Have these bytes in the file from now on; ``what`` names the temporary file. OSError if the
    disk refuses.

    Without ``sync`` a power cut may take it back. With ``anew`` a file that is there stays:
    FileExistsError. Returns the descriptor if it is to be ``keep``-ed open, else -1.
    """
    temporary, folder = scratch(layout, what), os.path.dirname(path)
    if not os.path.isdir(folder) or folder.startswith(f"{layout.state}/"):
        places.make_folder(layout, folder, 0o700)
    places.clear(layout, path)
    return atomic.publish(path, data, temporary, replace=not anew, sync=sync, keep=keep)
