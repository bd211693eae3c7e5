"""The warm process: it has the supervisors' program loaded, and forks one for every socket that the
watcher hands it.

Code of the supervisor (`execution.program`): standard library only, no import of ours. It has one
thread, opens nothing, listens nowhere, knows no task, and ends with its watcher, whose socket it
holds.

A supervisor is forked twice, so that it is nobody's child here: the watcher is a child subreaper
and becomes its parent, as it is of one that it has started itself. Killing the warm process, or the
watcher, costs no supervisor anything.
"""

from __future__ import annotations

import _socket as socket  # as in the supervisor
import array
import gc
import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a millisecond
    from typing import Any


def main(supervisor: Any, fd: int) -> None:
    """Rehearse with the first job, which does nothing, then fork supervisors until the socket ends.

    ``supervisor`` is the module of that name.
    """
    supervisor.ignore_signals()
    supervisor.call_oneself("orch-nursery")
    control = socket.socket(fileno=fd)
    os.set_inheritable(fd, False)
    job, journal = supervisor.receive(control)
    if job is None:
        return
    # What is done once before the fork needs no page of its own in any supervisor: half of their
    # memory and time.
    supervisor.Attempt(job, journal).run(lambda _: None)
    os.close(journal)
    gc.collect()
    gc.freeze()  # a collection in a supervisor would copy every page that it looks at
    while (theirs := order(control)) >= 0:
        try:
            if os.fork() == 0:
                _bear(supervisor, control, theirs)
        except OSError:  # no room for another process: the watcher sees that its socket ends
            os.close(theirs)
            continue
        os.close(theirs)
        os.wait()


def order(control: socket.socket) -> int:
    """The next supervisor's end of its socket; -1 when the watcher is gone."""
    try:
        head, ancillary, _, _ = control.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return -1
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) // 4 * 4])
    return found[0] if head and found else -1


def _bear(supervisor: Any, control: socket.socket, theirs: int) -> None:
    """In the fork: fork again, leave, and let the second be the supervisor.  Never returns."""
    try:
        if os.fork() == 0:
            control.close()  # or the watcher could not tell that the warm process is gone
            supervisor.serve(theirs)
    finally:
        os._exit(0)
