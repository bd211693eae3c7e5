"""The supervisor: a small process that runs one tool at a time and outlives the watcher that asked
for it.

It imports nothing but the standard library and the few modules beside it that say so
(`execution.program`), and has one thread. It is a fresh process, or forked from a warm one
(``execution.nursery``); ``execution.pool`` has the watcher's side. Over a socket it says that it is
there and receives jobs, each with the descriptor of the task's journal, on which the liveness lock
is held. `execution.attempt` runs each of them and records its end; then the journal is closed,
which frees the lock, and the watcher is told.

When the watcher is gone the socket ends, and the supervisor leaves once its attempt is over. A
cancel request is a file; SIGTERM only says "look now".
"""

from __future__ import annotations

# the public one makes names for hundreds of constants: 300 KiB in every supervisor
import _socket as socket
import array
import json
import os
import signal

from orchestrator.execution.attempt import WAKE, Attempt
from orchestrator.execution.descendants import become_subreaper, call_oneself, signal_all
from orchestrator.execution.neighbours import neighbour

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs every supervisor a millisecond
    from typing import Any


def main(fd: int) -> None:
    """Serve jobs until the socket ends."""
    ignore_signals()
    serve(fd)


def ignore_signals() -> None:
    """Ctrl-C, a closed terminal and the like are the watcher's; what wakes us is taken with
    sigtimedwait."""
    for number in (
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGPIPE,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGXFSZ,
    ):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Blocked as it is below, it is still taken; but what builds the walls of a sandbox inherits
    # that it is ignored.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, WAKE)  # no handler, no race


def serve(fd: int) -> None:
    """Say that we are there, and run one job after the other until the socket ends."""
    become_subreaper()
    call_oneself("orch-supervisor")
    control = socket.socket(fileno=fd)
    os.set_inheritable(fd, False)
    tell(control, {"born": os.getpid()})
    while True:
        job, lock = receive(control)
        if job is None:
            return
        if os.getsid(0) != os.getpid():
            # Only now: a forked one is of the warm process's session until the watcher knows it, or
            # it would be taken for something that an attempt has left behind.
            os.setsid()
        try:
            record = Attempt(job, lock).run(lambda message: tell(control, message))
        except BaseException:
            neighbour("lastwords").keep(job)
            signal_all(signal.SIGKILL)  # nobody looks at its limits any more
            raise
        os.close(lock)  # the last descriptor of the journal: the liveness lock is free now
        tell(control, {"ended": record})


def receive(control: socket.socket) -> tuple[dict[str, Any] | None, int]:
    """The next job and the journal's descriptor; (None, -1) when the watcher is gone."""
    descriptors = array.array("i")
    try:
        head, ancillary, _, _ = control.recvmsg(4, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return None, -1
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) // 4 * 4])
    if not head or not descriptors:
        return None, -1
    while len(head) < 4:
        head += control.recv(4 - len(head))
    size = int.from_bytes(head, "big")
    body = bytearray()
    while len(body) < size:
        piece = control.recv(size - len(body))
        if not piece:  # cut off in the middle: nothing has started
            os.close(descriptors[0])
            return None, -1
        body += piece
    return json.loads(body), descriptors[0]


def tell(control: socket.socket, message: dict[str, Any]) -> None:
    """A line to the watcher, if there still is one; the journal has it in any case."""
    try:
        control.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        pass
