"""The watcher's side of its supervisors: a few idle processes, each running one attempt at a time.

A supervisor is a process of its own session, made ahead of need (`execution.births`), used again
and again. Starting a tool then costs one ``posix_spawn``, and killing the watcher or any one
supervisor costs nobody else anything.

Attempts that wait for a supervisor and supervisors that wait for an attempt meet in one place,
`SupervisorPool._meet`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from typing import Any

from orchestrator.execution import orphans, program
from orchestrator.execution.births import Births, Child, Nursery
from orchestrator.model.attempt import AttemptEnd, end_from

IDLE_MAX = 4  # idle supervisors kept when nothing runs
# seconds after which those above it go: with many short tasks all of them are idle for a moment,
# again and again
LINGER = 5.0
# different tasks in a row whose supervisor died before it executed the tool: then something is
# wrong
DEATHS = 3
AT_ONCE = (
    64  # births at a time: each holds a descriptor more than an attempt that has its supervisor
)
OVERDUE = 10.0  # seconds within which a supervisor says that it is there
# so often a fresh one that is overdue is woken, in case somebody has stopped it; then it is killed
WAKES = 4


class Assignment:
    """An attempt for a supervisor, and who is told of it."""

    def __init__(
        self,
        job: dict[str, Any],
        journal: int,
        on_started: Callable[[int], None],
        on_end: Callable[[AttemptEnd | OSError], None],
    ) -> None:
        self.job, self.journal = job, journal
        self.on_started, self.on_end = on_started, on_end
        self.started = False
        self.worker: Worker | None = None  # once a supervisor has it

    @property
    def pid(self) -> int:
        """Of its supervisor; 0 as long as none has it."""
        return self.worker.process.pid if self.worker and self.worker.process else 0

    def send_signal(self, number: int) -> None:
        """To its supervisor, if that is alive."""
        if self.worker is not None and self.worker.process is not None:
            self.worker.process.send_signal(number)

    def close(self) -> None:
        """No supervisor needs our descriptor of the journal: it has it, or none ever will."""
        os.close(self.journal)
        self.journal = -1


class Worker:
    """One supervisor process and the socket to it."""

    def __init__(self, births: Births) -> None:
        self.loop = asyncio.get_running_loop()
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.buffer = b""
        self.assignment: Assignment | None = None
        self.overdue: asyncio.TimerHandle | None = None
        self.looks = 0
        self.process: subprocess.Popen[bytes] | Child | None = None  # None: a warm one, not born
        self.nursery: Nursery | None = None
        try:
            with theirs:
                made = births.make(theirs)
        except OSError:
            self.socket.close()
            raise
        if isinstance(made, Nursery):
            self.nursery = made
        else:
            self.process = made

    def send(self, job: dict[str, Any], journal: int) -> None:
        """Hand over a job and the journal's descriptor.  OSError if the supervisor is gone."""
        self.socket.setblocking(True)
        program.hand_over(self.socket, job, journal)
        self.socket.setblocking(False)

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that have come; None if the supervisor is gone."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def gone(self) -> bool:
        """Whether its process has ended, and is collected."""
        return self.process is None or self.process.poll() is not None


class SupervisorPool:
    """Has supervisors made, keeps a few idle, and tells the end of every attempt.

    With a ``rehearsal``, a job that does nothing, they are forked from a warm process where that
    can be done.
    """

    def __init__(self, rehearsal: dict[str, Any] | None = None) -> None:
        self._waiting: deque[Assignment] = deque()
        self._coming: list[Worker] = []  # not there yet
        self._idle: list[Worker] = []
        self._gone: list[Worker] = []
        self.refused: dict[Worker, str] = {}  # supervisors that cannot record an end, and why
        self.dead: dict[str, None] = {}  # tasks in a row whose supervisor died before it began
        program.descriptor()
        self._trim_later: asyncio.TimerHandle | None = None
        # A forked supervisor is our child only if orphans are.
        self._births = Births(rehearsal if orphans.adopt_all() else None)

    def prewarm(self, count: int = 1) -> None:
        """Have so many idle supervisors ready: making one takes longer than starting a tool."""
        while len(self._idle) + len(self._coming) < min(count, IDLE_MAX):
            self._make()

    def start(
        self,
        job: dict[str, Any],
        journal: int,
        on_started: Callable[[int], None],
        on_end: Callable[[AttemptEnd | OSError], None],
    ) -> Assignment:
        """Begin an attempt. ``journal`` is closed here; ``on_end`` is called once: how it ended, or
        why none can begin."""
        assignment = Assignment(job, journal, on_started, on_end)
        self._waiting.append(assignment)
        self._meet()
        return assignment

    def poke(self, assignment: Assignment) -> None:
        """Make a supervisor look at its cancel request; one that has not begun looks by itself."""
        try:
            assignment.send_signal(signal.SIGTERM)
        except OSError:
            pass

    def close(self) -> None:
        """Let the idle supervisors go and wait for them; those with an attempt go on without us."""
        if self._trim_later is not None:
            self._trim_later.cancel()
        while self._waiting:
            self._waiting.popleft().close()
        leaving = [*self._idle, *self._coming]
        for worker in leaving:
            self._forget(worker)
        for worker in leaving:
            if worker.process is not None:
                worker.process.wait()
        self._births.close()
        self._collect()

    # -- who meets whom
    # ---------------------------------------------------------------------------------------------

    def _meet(self) -> None:
        """Give what waits to whoever is idle, and have as many supervisors made as are short."""
        while self._waiting and self._idle:
            assignment, worker = self._waiting[0], self._idle.pop()
            try:
                worker.send(assignment.job, assignment.journal)
            except OSError:  # an idle supervisor was killed: nothing was lost with it
                self._retire(worker)
                continue
            self._waiting.popleft()
            assignment.close()
            assignment.worker, worker.assignment = worker, assignment
        while len(self._coming) < min(len(self._waiting), AT_ONCE):
            try:
                self._make()
            except OSError as error:
                assignment = self._waiting.pop()
                assignment.close()
                assignment.on_end(error)

    def _make(self) -> None:
        worker = Worker(self._births)
        self._coming.append(worker)
        worker.loop.add_reader(worker.socket, self._readable, worker)
        worker.overdue = worker.loop.call_later(OVERDUE, self._late, worker)

    def _readable(self, worker: Worker) -> None:
        messages = worker.receive()
        for message in messages or ():
            self._heard(worker, message)
        if messages is None:
            self._lost(worker)

    def _heard(self, worker: Worker, message: dict[str, Any]) -> None:
        assignment = worker.assignment
        if "born" in message:
            self._born(worker, message["born"])
        elif assignment is None:
            return
        elif "started" in message:
            assignment.started = True
            self.dead.clear()
            assignment.on_started(message["started"])
        elif "fault" in message:
            self.refused[worker] = message["fault"]
        elif "ended" in message:
            self.refused.pop(worker, None)
            worker.assignment = None
            self._release(worker)
            assignment.on_end(end_from(message["ended"]))

    def _born(self, worker: Worker, pid: int) -> None:
        if worker.overdue is not None:
            worker.overdue.cancel()
        if worker.process is None:
            worker.process = self._births.born(pid)
        self._coming.remove(worker)
        self._release(worker)

    def _late(self, worker: Worker) -> None:
        """It has not said that it is there for so long: somebody may have stopped it, or who was to
        fork it."""
        if worker.process is None:
            self._lost(worker)
            return
        worker.looks += 1
        number = signal.SIGKILL if worker.looks > WAKES else signal.SIGCONT
        worker.process.send_signal(number)
        worker.overdue = worker.loop.call_later(OVERDUE, self._late, worker)

    def _lost(self, worker: Worker) -> None:
        """A supervisor is gone."""
        coming = worker in self._coming
        self._retire(worker)
        assignment = worker.assignment
        if coming and worker.nursery is not None:
            self._births.failed(worker.nursery)  # nothing was sent to it
        elif coming and self._waiting:
            assignment = self._waiting.popleft()
            assignment.close()
        if assignment is not None:
            if not assignment.started and assignment.job["task_id"]:
                self.dead[assignment.job["task_id"]] = None
            assignment.on_end(AttemptEnd("lost"))
        self._meet()

    def _release(self, worker: Worker) -> None:
        self._idle.append(worker)
        self._meet()
        if len(self._idle) > IDLE_MAX and self._trim_later is None:
            self._trim_later = worker.loop.call_later(LINGER, self._trim)

    def _trim(self) -> None:
        self._trim_later = None
        while len(self._idle) > IDLE_MAX:
            self._retire(self._idle[0])  # the one that was used the longest ago

    def _retire(self, worker: Worker) -> None:
        self._forget(worker)
        self._gone.append(worker)
        worker.loop.call_later(1.0, self._collect)  # it takes a moment to end

    def _forget(self, worker: Worker) -> None:
        """Let it go: it ends by itself when its attempt is over."""
        for group in (self._idle, self._coming):
            if worker in group:
                group.remove(worker)
        self.refused.pop(worker, None)
        if worker.overdue is not None:
            worker.overdue.cancel()
        worker.loop.remove_reader(worker.socket)
        worker.socket.close()

    def _collect(self) -> None:
        self._gone = [worker for worker in self._gone if not worker.gone()]
        self._births.collect()
