"""What a supervisor raised that nothing expected: kept beside the logs of its attempt, whose end
nobody can record any more.

Code of the supervisor, loaded when it fails: standard library only.
"""

from __future__ import annotations

import os
import traceback

from orchestrator.execution.logs import new_log

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs every supervisor a millisecond
    from typing import Any

NAME = "supervisor.log"
MOST = 16 << 10  # bytes


def keep(job: dict[str, Any]) -> None:
    """Write down the exception that is being handled, with its secrets masked."""
    text = traceback.format_exc()
    for secret in job["secrets"]:
        text = text.replace(secret, "*" * len(secret))
    try:
        log = new_log(f"{job['run_dir']}/{NAME}")
        os.write(log, text.encode("utf-8", "backslashreplace")[-MOST:])
        os.close(log)
    except OSError:  # a disk that refuses it
        pass
