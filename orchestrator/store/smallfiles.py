"""Small files below ``.state`` in which something is remembered as JSON: each is replaced whole,
and survives a power cut."""

from __future__ import annotations

import json
import os

from orchestrator.files import owners
from orchestrator.files.layout import Layout
from orchestrator.store import atomic


def replace(layout: Layout, path: str, document: object, what: str) -> None:
    """Have this in the file from now on; ``what`` names the temporary file. OSError if the disk
    refuses."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{layout.state}/tmp/{owners.own()}.{what}"
    atomic.remove(temporary)
    os.makedirs(os.path.dirname(temporary), mode=0o700, exist_ok=True)
    text = json.dumps(document, sort_keys=True).encode()
    atomic.publish(path, text, temporary, replace=True)
