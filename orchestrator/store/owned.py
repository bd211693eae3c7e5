"""Processes in a session of their own that we begin ourselves: supervisors, hooks, the setup of trees,
checks before a merge.

Every other child of ours in another session is what an attempt has left (`execution.orphans`), and
is ended. So whoever starts a process in a session of its own does it here: else an agent that kills
its supervisor would end it, and its end would count as a good one.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, BinaryIO, cast

_lock = threading.Lock()
_sessions: set[int] = set()


def begin(start: Callable[[], Any]) -> Any:
    """Start a process (``start`` returns its Popen) whose session is not an attempt's."""
    with _lock:
        process = start()
        _sessions.add(process.pid)
    return process


def command(
    argv: Sequence[str], cwd: str, env: Mapping[str, str], fds: Sequence[int], out: BinaryIO
) -> subprocess.Popen[bytes]:
    """Begin a command that reads nothing, is given these descriptors, and prints into ``out``."""
    start = partial(
        subprocess.Popen,
        argv,
        cwd=cwd,
        env=env,
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out,
        start_new_session=True,
    )
    return cast("subprocess.Popen[bytes]", begin(start))


def know(pid: int) -> None:
    """A process that is not started by `begin`: a supervisor that was forked for us."""
    with _lock:
        _sessions.add(pid)


def sessions() -> set[int]:
    """Those that we began, by the pids of their first processes."""
    with _lock:
        return set(_sessions)
