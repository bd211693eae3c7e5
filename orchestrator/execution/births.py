"""How supervisors come to be: forked from a warm process, or started afresh where that fails.

A fresh one takes 30 ms of processor time and 4.6 MB, a forked one a small part of that. The warm
process (`execution.nursery`) holds nothing that could be lost: whoever waits for a birth that it
owes sees its socket end, and a fresh start takes its place. Nothing is sent to a supervisor before
it has said that it is there, so nothing is started twice.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
from collections.abc import Mapping
from typing import Any

from orchestrator.execution import orphans, program
from orchestrator.store import owned

FAILURES = 3  # warm processes in a row that bore nothing: then supervisors are started afresh
PATIENCE = 1.0  # seconds for which the warm process may refuse to take an order
LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
FILES = ("/proc/self/cgroup", "/proc/self/oom_score_adj")


class Child:
    """A process that was forked for us and is our child; as much of Popen as is needed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None
        owned.know(pid)

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        return self._collect(os.WNOHANG)

    def wait(self) -> int | None:
        """How it ended, once it has."""
        return self._collect(0)

    def send_signal(self, number: int) -> None:
        """Unless it has ended: until it is collected, its pid is its own."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _collect(self, options: int) -> int | None:
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:
                pid, status = self.pid, 0
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status


class Nursery:
    """The warm process, and the socket to it."""

    def __init__(self, rehearsal: Mapping[str, Any], around: tuple[Any, ...]) -> None:
        self.around = around
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._control.settimeout(PATIENCE)
        try:
            with theirs:
                self._process = program.start(theirs, "nursery")
        except OSError:
            self._control.close()
            raise
        journal = os.memfd_create("rehearsal", os.MFD_CLOEXEC)
        try:
            program.hand_over(self._control, rehearsal, journal)
        except OSError:  # the first order finds that it is gone
            pass
        finally:
            os.close(journal)

    def order(self, theirs: socket.socket) -> None:
        """A supervisor at the other end of this socket. OSError if the warm process is gone, or
        takes nothing."""
        socket.send_fds(self._control, [b"+"], [theirs.fileno()])

    def end(self) -> None:
        """End it, whatever it does."""
        self._control.close()
        os.kill(self._process.pid, signal.SIGKILL)  # Popen's would collect one that has ended

    def collected(self, wait: bool = False) -> bool:
        """Whether it has ended; then it is collected, and what it had forked and nobody knows with
        it."""
        options = os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG)
        if os.waitid(os.P_PID, self._process.pid, options) is None:
            return False
        orphans.bury(self._process.pid)  # before its number, which is their session's, is free
        self._process.wait()
        return True


class Births:
    """Makes supervisors: with a ``rehearsal``, from a warm process, while that can be done."""

    def __init__(self, rehearsal: Mapping[str, Any] | None) -> None:
        self._rehearsal = rehearsal
        self._nursery: Nursery | None = None
        self._gone: list[Nursery] = []
        self._owed = 0  # births that failed: each is made up for by a fresh start
        self._failed = 0  # warm processes in a row that bore nothing

    def warm_up(self) -> None:
        """Have the warm process ready.  OSError if no process can be started."""
        if self._rehearsal is not None and self._nursery is None:
            self._nursery = Nursery(self._rehearsal, surroundings())

    def make(self, theirs: socket.socket) -> subprocess.Popen[bytes] | Nursery:
        """A supervisor at the other end of this socket: the process, or who has been asked to fork
        it.

        Raises `OSError` if no process can be started.
        """
        if self._owed:
            self._owed -= 1
        elif (asked := self._ask(theirs)) is not None:
            return asked
        return program.start(theirs)

    def born(self, pid: int) -> Child:
        """A warm one says that it is there."""
        self._failed = 0
        return Child(pid)

    def failed(self, asked: Nursery) -> None:
        """A supervisor did not come from there: whatever it does, nobody waits for it again."""
        self._owed += 1
        if asked is self._nursery:
            self._drop(failed=True)

    def collect(self) -> None:
        """Collect warm processes that are gone."""
        self._gone = [nursery for nursery in self._gone if not nursery.collected()]

    def close(self) -> None:
        """End the warm process."""
        self._drop(failed=False)
        self._rehearsal = None
        for nursery in self._gone:
            nursery.collected(wait=True)
        self._gone.clear()

    def _ask(self, theirs: socket.socket) -> Nursery | None:
        """The warm process, which has taken the order; one that is gone is replaced. None if there
        is none."""
        if self._nursery is not None and self._nursery.around != surroundings():
            self._drop(failed=False)
        for _ in range(2):
            try:
                self.warm_up()
                if self._nursery is not None:
                    self._nursery.order(theirs)
                return self._nursery
            except OSError:
                self._drop(failed=True)
        return None

    def _drop(self, failed: bool) -> None:
        if self._nursery is None:
            return
        self._nursery.end()
        self._gone.append(self._nursery)
        self._nursery = None
        self._failed += failed
        if self._failed >= FAILURES:
            self._rehearsal = None


def surroundings() -> tuple[Any, ...]:
    """What a process gets from the one that starts it, and that people change while it runs."""
    texts = []
    for path in FILES:
        try:
            with open(path, "rb") as file:
                texts.append(file.read())
        except OSError:
            texts.append(b"")
    limits = [resource.getrlimit(limit) for limit in LIMITS]
    return (
        os.getpriority(os.PRIO_PROCESS, 0),
        os.sched_getscheduler(0),
        frozenset(os.sched_getaffinity(0)),
        *limits,
        *texts,
    )
