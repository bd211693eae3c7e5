"""The watcher's side of its supervisors: a few warm processes, each running one attempt at a time.

A supervisor is a process of its own session, started ahead of need, used again and again.  Starting a tool then
costs one ``posix_spawn``, and killing the watcher or any one supervisor costs nobody else anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from orchestrator.execution import orphans, program
from orchestrator.model.attempt import AttemptEnd, end_from

IDLE_MAX = 4  # warm supervisors kept when nothing runs
LINGER = 5.0  # seconds after which those above it go: with many short tasks all of them are idle for a moment, again and again
DEATHS = 3  # different tasks in a row whose supervisor died before it executed the tool: then something is wrong


class Worker:
    """One supervisor process and the socket to it."""

    def __init__(self) -> None:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            argv = [sys.executable, "-I", "-S", "-c", program.BOOT]
            argv += [str(program.descriptor()), str(theirs.fileno())]
            self.process = orphans.own(
                lambda: subprocess.Popen(
                    argv,
                    pass_fds=(theirs.fileno(), program.descriptor()),
                    start_new_session=True,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        self.socket = mine
        self.buffer = b""

    def send(self, job: dict[str, Any], journal: int) -> None:
        """Hand over a job and the journal's descriptor.  OSError if the supervisor is gone."""
        body = json.dumps(job).encode()
        self.socket.setblocking(True)
        sent = socket.send_fds(self.socket, [len(body).to_bytes(4, "big")], [journal])
        self.socket.sendall(len(body).to_bytes(4, "big")[sent:] + body)
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

    def close(self) -> None:
        """Let it go: it ends by itself when its attempt is over."""
        self.socket.close()


class SupervisorPool:
    """Starts supervisors, keeps a few warm, and tells the end of every attempt."""

    def __init__(self) -> None:
        self._idle: list[Worker] = []
        self._gone: list[Worker] = []
        self.refused: dict[Worker, str] = {}  # supervisors that cannot record an end, and why
        self.dead: dict[str, None] = {}  # tasks in a row whose supervisor died before it began
        program.descriptor()
        self._trim_later: asyncio.TimerHandle | None = None
        orphans.adopt_all()

    def prewarm(self, count: int = 1) -> None:
        """Have so many idle supervisors ready: starting a process takes longer than starting a tool."""
        while len(self._idle) < min(count, IDLE_MAX):
            self._idle.append(Worker())

    def start(
        self,
        job: dict[str, Any],
        journal: int,
        on_started: Callable[[int], None],
        on_end: Callable[[AttemptEnd], None],
    ) -> Worker:
        """Begin an attempt.  ``journal`` is closed here; ``on_end`` is called once, from the event loop."""
        try:
            while True:
                worker = self._idle.pop() if self._idle else Worker()
                try:
                    worker.send(job, journal)
                    break
                except OSError:  # an idle supervisor was killed: nothing was lost with it
                    self._retire(worker)
        finally:
            os.close(journal)
        loop = asyncio.get_running_loop()

        started = False

        def readable() -> None:
            nonlocal started
            messages = worker.receive()
            for message in messages or ():
                if "started" in message:
                    started = True
                    self.dead.clear()
                    on_started(message["started"])
                elif "fault" in message:
                    self.refused[worker] = message["fault"]
                elif "ended" in message:
                    loop.remove_reader(worker.socket)
                    self.refused.pop(worker, None)
                    self._release(worker)
                    on_end(end_from(message["ended"]))
                    return
            if messages is None:
                loop.remove_reader(worker.socket)
                self.refused.pop(worker, None)
                self._retire(worker)
                if not started and job["task_id"]:
                    self.dead[job["task_id"]] = None
                on_end(AttemptEnd("lost"))

        loop.add_reader(worker.socket, readable)
        return worker

    def poke(self, worker: Worker) -> None:
        """Make a supervisor look at its cancel request."""
        try:
            worker.process.send_signal(signal.SIGTERM)
        except OSError:
            pass

    def _release(self, worker: Worker) -> None:
        self._idle.append(worker)
        if len(self._idle) > IDLE_MAX and self._trim_later is None:
            self._trim_later = asyncio.get_running_loop().call_later(LINGER, self._trim)

    def _trim(self) -> None:
        self._trim_later = None
        while len(self._idle) > IDLE_MAX:
            self._retire(self._idle.pop(0))  # the one that was used the longest ago

    def _retire(self, worker: Worker) -> None:
        worker.close()
        self._gone.append(worker)
        asyncio.get_running_loop().call_later(1.0, self._collect)  # it takes a moment to end

    def _collect(self) -> None:
        self._gone = [worker for worker in self._gone if worker.process.poll() is None]

    def close(self) -> None:
        """Let the idle supervisors go and wait for them; those with an attempt go on without us."""
        if self._trim_later is not None:
            self._trim_later.cancel()
        for worker in self._idle:
            worker.close()
        for worker in self._idle:
            worker.process.wait()
        self._idle.clear()
        self._collect()
