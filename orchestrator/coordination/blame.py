"""Who is to blame for an exception that came up while one file was looked at: the machine, or the
file?

The machine: no room, no descriptors, no memory, a disk that fails. Then nothing is wrong with the
file and it is looked at again once the machine works. Anything else is the file's fault, or a
mistake of ours that this file brought to light: it stays where it is, with a note, and nothing else
waits for it.
"""

from __future__ import annotations

from orchestrator.errors import OrchestratorError
from orchestrator.errors import machine as machine
from orchestrator.files.text import one_line


def sentence(error: BaseException) -> tuple[str, str]:
    """What is wrong with the file and what to do, for its note."""
    if isinstance(error, OrchestratorError):
        return error.message, error.hint
    if isinstance(error, OSError):
        return f"it cannot be started: {one_line(error.strerror or str(error), 120)}", "rename it"
    what = one_line(f"{type(error).__name__}: {error}", 120)
    return f"internal error: {what}", "please report this file"
