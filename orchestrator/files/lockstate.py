"""Whether a lock is held: the truth across containers, where another's pid means nothing."""

from __future__ import annotations

import fcntl
import os

from orchestrator.files import opening


def locked(path: str) -> bool:
    """Whether a process holds the lock (flock) on this file now. A share of it is taken for the
    moment of the question, so that whoever wants the lock without waiting has to ask twice."""
    try:
        fd = opening.descriptor(path)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False
