"""Attempts whose worker is started by an engine: Slurm, ``ssh``, Kubernetes, Dagu, Kestra.

An engine only finds a machine. What it says of a job is shown, and makes us start another worker
for the same dispatch if the first seems to have gone before it claimed: a dispatch is claimed at
most once, so a job that is started twice, or whose end was a lie, changes nothing. Everything else
(logs, end, cancel, lease, leash) goes through a broker or a folder that both sides see, as for a
queue.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping
from dataclasses import field, replace
from typing import Any

from orchestrator import waiting
from orchestrator.distributors.dispatches import once_pool
from orchestrator.distributors.engines.base import Engine
from orchestrator.distributors.launchers.base import Launcher, Refuses, Seen, Start
from orchestrator.files import journals, jsonlines, opening
from orchestrator.files.layout import Layout
from orchestrator.patterns import regex
from orchestrator.records import dataclass
from orchestrator.store import atomic, smallfiles

DISPATCH = regex(r"^[0-9a-f]{32}\Z")
LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between looks at a job that nobody has claimed
AGAIN = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)  # and before a start that was refused is tried again
UNKNOWN_MOST = 3  # looks in a row that find no such job, before it counts as gone
STARTS_MOST = 3  # jobs that end before anybody claimed
TOLD = 300  # characters of what an engine says


@dataclass(slots=True)
class Job:
    """One dispatch and the job that is to start its worker; ``says`` is for people, ``failed`` that
    it is given up."""

    start: Start
    job: str = ""
    says: str = "about to be submitted"
    failed: str = ""
    claimed: bool = False
    over: bool = False
    lost: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def needed(self) -> bool:
        """Whether its worker is still to come."""
        return not (self.claimed or self.over)


class Launching:
    """``words`` begin the command of a worker, to which its dispatch is added."""

    def __init__(
        self, layout: Layout, name: str, engine: Engine, launcher: Launcher, words: tuple[str, ...]
    ) -> None:
        self._layout, self._name = layout, name
        self._engine, self._launcher, self._words = engine, launcher, words
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        for dispatch in self._left():
            self._over(self._remembered(Job(Start(dispatch, ()))), lost=True)

    def _left(self) -> list[str]:
        """Dispatches that ended as their watcher left: their jobs are remembered, and no task has
        them any more."""
        known = [name for name in _names(self._folder()) if DISPATCH.match(name)]
        if not known:
            return []
        attempts = [journal.attempt for journal in journals.active(self._layout)]
        alive = {str(attempt.dispatched.get("dispatch")) for attempt in attempts if attempt}
        return [name for name in known if name not in alive]

    async def place(self, dispatch: str, order: Mapping[str, Any], data: bytes) -> None:
        await self._engine.push(once_pool(dispatch), dispatch, data)
        if dispatch in self._jobs:
            return
        labels = tuple(str(label) for label in order.get("labels", ()))
        start = Start(dispatch, (*self._words, dispatch), labels)
        job = self._jobs[dispatch] = self._remembered(Job(start))
        self._begin(self._follow(job))

    def where(self, dispatch: str) -> str:
        job = self._jobs.get(dispatch)
        return job.says if job is not None and not job.claimed else ""

    def failed(self, dispatch: str) -> str:
        job = self._jobs.get(dispatch)
        return job.failed if job is not None else ""

    def taken(self, dispatch: str) -> None:
        job = self._jobs.get(dispatch)
        if job is not None and not job.claimed:
            job.claimed = True
            job.wake.set()

    def over(self, dispatch: str, lost: bool) -> None:
        job = self._jobs.pop(dispatch, None)
        if job is not None:
            job.over, job.lost = True, lost
            job.wake.set()
        else:  # a watcher before us had it started
            self._over(self._remembered(Job(Start(dispatch, ()))), lost)

    def _over(self, job: Job, lost: bool) -> None:
        job.claimed, job.over, job.lost = True, True, lost
        if job.job:
            self._begin(self._leave(job))
        else:
            atomic.remove(self._path(job.start.dispatch))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def waiting(self) -> dict[str, str]:
        return {name: job.says for name, job in self._jobs.items() if not job.claimed}

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    # -- one job
    # ----------------------------------------------------------------------------------------------

    async def _follow(self, job: Job) -> None:
        """Until it has ended, whoever ended it."""
        while job.needed() and not job.failed:
            if not job.job and not await self._submit(job):
                continue
            await self._until_gone(job)
        while not job.over:
            await self._pause(job, 3600.0)
        await self._leave(job)

    async def _submit(self, job: Job) -> bool:
        """Have a worker started; a start that was refused is tried again until somebody cancels."""
        refused = 0
        while job.needed():
            try:
                # Whoever asked before us may not have heard the answer.
                seen = await self._launcher.status("", job.start)
                if seen.word and not seen.over:
                    job.job = job.start.name
                else:
                    job.job = await self._launcher.submit(job.start)
                job.says = f"job {job.job} was submitted"
                self._remember(job)
                return True
            except Refuses as error:
                job.says = f"it cannot be started: {error.message[:TOLD]}"
                await self._pause(job, AGAIN[min(refused, len(AGAIN) - 1)])
                refused += 1
        return False

    async def _until_gone(self, job: Job) -> None:
        """Look at a job until its worker has claimed, or it is gone: then the next one is to be
        started."""
        unknown = looks = 0
        seen = Seen("")
        while job.needed():
            await self._pause(job, LOOKS[min(looks, len(LOOKS) - 1)])
            looks += 1
            if not job.needed():
                return
            try:
                seen = await self._launcher.status(job.job, job.start)
            except Refuses as error:
                seen = Seen("", error.message)
            unknown = 0 if seen.word else unknown + 1
            if seen.word:
                job.says = f"job {job.job}: {seen.word}"
            if seen.over or unknown >= UNKNOWN_MOST:
                break
        await self._pause(job, LOOKS[0])  # what it has claimed we may hear of a moment later
        if not job.needed():
            return
        what = f"{seen.word or 'it is not known there any more'}{f': {seen.more}' if seen.more else ''}"
        if job.start.number >= STARTS_MOST:
            job.failed = (
                f"{job.start.number} jobs at {self._name} ended before their worker took it;"
                f" the last, {job.job}: {what[:TOLD]}"
            )
            return
        await self._also(self._launcher.clean(job.job, job.start))
        job.start, job.job = replace(job.start, number=job.start.number + 1), ""
        job.says = f"a job ended before its worker took it ({what[:TOLD]})"
        self._remember(job)

    async def _leave(self, job: Job) -> None:
        """It is over: whatever of it may still wait in the engine's queue is taken out."""
        if job.job:
            if job.lost or not job.claimed:
                await self._also(self._launcher.cancel(job.job, job.start))
            await self._also(self._launcher.clean(job.job, job.start))
        atomic.remove(self._path(job.start.dispatch))

    async def _also(self, asked: Any) -> None:
        try:
            await asked
        except Refuses:
            pass  # nothing depends on it

    async def _pause(self, job: Job, seconds: float) -> None:
        job.wake.clear()
        await waiting.happened(job.wake, seconds)

    # -- what is remembered
    # -------------------------------------------------------------------------------------------

    def _folder(self) -> str:
        return f"{self._layout.state}/queues/{self._name}.jobs"

    def _path(self, dispatch: str) -> str:
        return f"{self._folder()}/{dispatch}"

    def _remember(self, job: Job) -> None:
        known = {"job": job.job, "number": job.start.number}
        try:
            smallfiles.replace(self._layout, self._path(job.start.dispatch), known, "job")
        except OSError:
            pass  # the next watcher starts another worker, which finds that it is taken

    def _remembered(self, job: Job) -> Job:
        try:
            known = jsonlines.loads(opening.read_bytes(self._path(job.start.dispatch), 10_000))
            number = int(known["number"])
            job.job = str(known["job"])
        except (OSError, ValueError, KeyError, TypeError):
            return job
        job.start = replace(job.start, number=max(1, number))
        if job.job:
            job.says = f"job {job.job}"
        return job


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
