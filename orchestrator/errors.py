"""The one family of errors that people see: what happened, what to do, and an exit code.

Anything else that reaches the top is a bug of ours and is reported as one (see ``cli.main``).
"""

from __future__ import annotations

import errno
import sys

# No room, no descriptors, no memory, a disk that fails or is full: whatever was looked at is not to
# blame.
MACHINE = frozenset(
    (
        *(errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EMFILE, errno.ENFILE),
        *(errno.ENOMEM, errno.EAGAIN),
    )
)

# The stable exit codes of every verb (docs/reference/exit-codes.md is checked against this table).
EXIT_CODES: dict[int, tuple[str, str]] = {
    0: ("ok", "The command did what was asked."),
    1: ("failed", "A task failed, or problems were found."),
    2: ("usage", "The command line was not understood."),
    3: ("not-found", "There is no such task, run or file, or the name is ambiguous."),
    4: ("invalid", "A file is not valid YAML or does not fit its schema."),
    5: ("busy", "Another watcher is already running here."),
    6: (
        "missing",
        "The work directory, the configuration or an agent program is missing or unusable.",
    ),
    7: ("needs-you", "Nothing failed, but something needs a person: see orchestrator review."),
    124: ("timed-out", "A task, or the waiting itself, ran out of time."),
    130: ("interrupted", "Stopped by Ctrl-C."),
}
FAILED, USAGE, NOT_FOUND, INVALID, BUSY, MISSING, NEEDS_YOU, TIMED_OUT, INTERRUPTED = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    124,
    130,
)


class OrchestratorError(Exception):
    """Something a person can act on.

    ``hint`` is one line that says what to do; ``exit_code`` is one of `EXIT_CODES`.
    """

    exit_code = FAILED

    def __init__(self, message: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class NotFound(OrchestratorError):
    """No task, run or file answers to this name, or several do."""

    exit_code = NOT_FOUND


class Refused(OrchestratorError):
    """The state of the work directory does not allow this step; nothing was changed."""


class Taken(Refused):
    """The id already belongs to another task."""


class Busy(OrchestratorError):
    """Another watcher holds the work directory."""

    exit_code = BUSY


class Unusable(OrchestratorError):
    """The work directory, its configuration or a program is missing or not fit for use."""

    exit_code = MISSING


class StoreFault(OrchestratorError):
    """The disk refused a write; what it concerned did not happen and may be tried again."""


class InTheWay(StoreFault):
    """Something lies where we write that only a person takes away: no trial mends it."""


NO_THREAD = "can't start new thread"  # as Python says it


def machine(error: BaseException) -> bool:
    """Whether the machine is to blame, or the file system as a whole, and never the file."""
    if isinstance(error, MemoryError | StoreFault):
        return True
    if isinstance(error, RuntimeError):
        return str(error) == NO_THREAD
    return isinstance(error, OSError) and error.errno in MACHINE


# What an extra of this package adds. Told by these names: on a package index, "orchestrator" is
# another project.
EXTRAS = {"mcp": "'mcp>=2'", "nats": "nats-py", "redis": "redis", "sdk": "anthropic openai"}


def adding(extra: str) -> str:
    """The command that adds an extra to where this program is installed."""
    return f"{sys.executable} -m pip install {EXTRAS[extra]}"
