"""Questions that may take long (of git, about a repository that others can write), asked beside the
loop.

Nearly every answer is there within milliseconds, and is waited for. Whoever makes git slow (a pipe
where it expects a file, an index of 50 GB) keeps the loop waiting once, for `PATIENCE`; the other
questions wait their turn in the thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from queue import SimpleQueue
from typing import Any, TypeVar

PATIENCE = 1.0  # seconds for which an answer is waited for
FRESH = 5.0  # seconds for which an answer counts that came later
Answer = TypeVar("Answer")


class Busy(Exception):
    """There is no answer yet (a git command is at work at this moment); ask again."""


class _Job:
    """One question; ``done`` when there is an answer, or what was raised."""

    def __init__(self, question: Callable[[], Any]) -> None:
        self.question, self.done, self.ended = question, threading.Event(), 0.0
        self.answer: Any = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.answer = self.question()
        except Exception as error:
            self.error = error
        self.ended = time.monotonic()
        self.done.set()


class Aside:
    """Asks one question after the other in a thread of its own."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._pending: dict[Hashable, _Job] = {}
        self._thread: threading.Thread | None = None
        self._cleared = 0.0

    def ask(self, key: Hashable, question: Callable[[], Answer]) -> Answer:
        """The answer, or what it raised; `Busy` if there is none yet: ask again with the same
        ``key``."""
        self._forget()
        job = self._pending.get(key)
        if job is None:
            in_time = not self._pending  # another one is late: that was waited for already
            job = self._pending[key] = self._begin(question)
            if in_time:
                job.done.wait(self._patience)
        if not job.done.is_set():
            raise Busy
        del self._pending[key]
        if job.error is not None:
            raise job.error
        return job.answer  # type: ignore[no-any-return]

    def _forget(self) -> None:
        """Answers that nobody came for: looked for now and then, as very many may be waited for."""
        now = time.monotonic()
        if now < self._cleared + FRESH / 5:
            return
        self._cleared, oldest = now, now - FRESH
        for key, job in list(self._pending.items()):
            if job.done.is_set() and job.ended < oldest:
                del self._pending[key]

    def _begin(self, question: Callable[[], Any]) -> _Job:
        if self._thread is None:
            thread = threading.Thread(target=self._serve, daemon=True, name="git")
            thread.start()  # RuntimeError where the machine has none left
            self._thread = thread
        job = _Job(question)
        self._jobs.put(job)
        return job

    def _serve(self) -> None:
        while True:
            self._jobs.get().run()
