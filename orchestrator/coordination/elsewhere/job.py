"""One dispatch on its worker: claimed, run under this machine's supervisors, told of, and kept
until its watcher has all of it.

The broker's record is held by beats, each a compare-and-set; only a beat that succeeded touches the
leash. So whoever has lost the record, or the broker, has its attempt ended by the supervisor,
whatever becomes of this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator import waiting
from orchestrator.coordination.elsewhere.hub import Hub
from orchestrator.coordination.elsewhere.spool import Entry, boottime
from orchestrator.coordination.elsewhere.workorder import order_of
from orchestrator.coordination.elsewhere.workplace import NoPlace
from orchestrator.distributors import packing
from orchestrator.distributors.base import ExecutionHandle
from orchestrator.distributors.dispatches import (
    CLAIMED,
    CODE_MOST,
    FILES_MOST,
    FINISHED,
    LOGS,
    LOST,
    OFFERED,
    OVER,
    PIECE,
    PROMPT_MOST,
    RUNNING,
    Nonsense,
    Piece,
    State,
    blob,
    opened,
    record_name,
    state_from,
    watcher_topic,
)
from orchestrator.distributors.engines.base import KEPT, Down, Record
from orchestrator.distributors.home import digest
from orchestrator.errors import OrchestratorError
from orchestrator.files import masked, opening
from orchestrator.files.layout import ARTIFACTS, OWN
from orchestrator.model.attempt import AttemptEnd, end_from
from orchestrator.tools.invocation import NotInstalled

LOOK = 0.2  # seconds between looks at what was printed
PATIENCE = 60.0  # seconds, or the leash if that is longer, for what was sent beside the order
ENDED_BY_US = ("cancelled", "start")  # how an attempt ends that is cancelled, whenever that is
AFTER = 5.0  # seconds between looks whether the watcher has all of it


class Gone(Exception):
    """The dispatch is not ours any more."""


class Job:
    """A dispatch. ``busy`` is whether it takes a slot; `run` ends when there is nothing more to do
    for it."""

    def __init__(self, hub: Hub, entry: Entry, adopted: bool) -> None:
        self.hub, self.entry, self.adopted = hub, entry, adopted
        self.told: dict[str, Any] = {}
        self.busy = True
        self.state = State("")
        self._revision: int | None = None
        self._name = record_name(entry.dispatch)
        self._sent = dict.fromkeys(LOGS, 0)
        self._given: list[str] = []
        self._handle: ExecutionHandle | None = None
        self._wake = asyncio.Event()
        self._gone = False
        self._start: dict[str, Any] = {}  # when it began, and its session, for the record
        self._end: AttemptEnd | None = None
        self._holding = asyncio.Lock()
        self.decided = asyncio.Event()  # whether it is ours

    def wake(self) -> None:
        """Look at the record, or for what was asked for, now."""
        self._wake.set()

    def depart(self) -> None:
        """Its machine is wanted for something else: the attempt is ended, and counts as lost."""
        self.entry.depart()
        self.entry.stop()
        if self._handle is not None:
            self._handle.cancel()

    async def run(self) -> None:
        """Everything, from the claim to the watcher's last word."""
        try:
            self.told = opened(self.entry.order())
        except OSError:  # a worker was killed before it was whole: nothing was claimed, and the offer comes again
            self.entry.remove()
            return
        except Nonsense as error:
            await self._refuse(error.message)
            return
        try:
            await self._own()
            self.decided.set()
            beating = asyncio.create_task(self._beat())
            try:
                end = await self._attempt()
                if self.entry.departed and not self.state.cancel and end.cause in ENDED_BY_US:
                    end = replace(end, cause="lost", message="its job was ended")
                await self._finish(end)
            finally:
                self.busy = False
                beating.cancel()
            self.hub.wake.set()  # a slot is free
            self.hub.tell(f"{self.told['task']}: {_words(end)}")
            await self._until_home()
        except Gone:
            self.busy = False
            self._leave()

    # -- having it ----------------------------------------------------------------------------------------------------

    async def _own(self) -> None:
        """Claim it; or, after a worker that was killed, have it still.  Raises `Gone`."""
        record = await self.hub.patient(lambda: self.hub.engine.read(self._name))
        state = _state(record)
        me = self.hub.spool.worker
        begun = self.entry.facts() is not None
        if (
            state is not None
            and record is not None
            and state.worker == me
            and state.state not in OVER
        ):
            self.state, self._revision = state, record.revision
        elif state is not None and record is not None and state.state == OFFERED and not begun:
            touched = boottime()
            claimed = State(CLAIMED, me, self.hub.name, beat=1)
            write = self.hub.engine.write
            self._revision = await self.hub.patient(
                lambda: write(self._name, claimed.bytes(), record.revision)
            )
            if (
                self._revision is None
            ):  # another worker was faster, or it was withdrawn; or we were, and the answer was lost
                return await self._own_again()
            self.state = claimed
            self.entry.touch(touched)
        elif state is None and begun:  # the broker lost its data: say it again
            self.state = State(RUNNING, me, self.hub.name, told=1)
            await self._say_again()
        elif (
            state is not None and state.worker == me and state.state == FINISHED and not state.done
        ):
            assert record is not None
            self.state, self._revision = state, record.revision
        else:
            raise Gone
        if not self.adopted:
            self.hub.tell(f"{self.told['task']}: taken")
        await self.hub.patient(self._hold)
        await self._notify()

    async def _own_again(self) -> None:
        record = await self.hub.patient(lambda: self.hub.engine.read(self._name))
        state = _state(record)
        if (
            record is None
            or state is None
            or state.worker != self.hub.spool.worker
            or state.state in OVER
        ):
            raise Gone
        self.state, self._revision = state, record.revision

    async def _beat(self) -> None:
        """Hold the record, four times a lease, until it is finished."""
        while self.busy:
            await asyncio.sleep(self.told["lease"] / 4)
            try:
                await self._hold()
            except (Down, OSError):
                continue  # the leash runs
            except Gone:
                return

    async def _hold(self, **changes: Any) -> None:
        """One beat, with what has changed.  Raises `Gone` once it is somebody else's, or over."""
        async with self._holding:
            if self._gone:
                raise Gone
            touched = boottime()
            wanted = self.state.but(beat=self.state.beat + 1, **changes)
            revision = await self.hub.engine.write(self._name, wanted.bytes(), self._revision)
            if revision is None:
                await self._read_again()
                touched = boottime()
                wanted = self.state.but(beat=self.state.beat + 1, **changes)
                revision = await self.hub.engine.write(self._name, wanted.bytes(), self._revision)
            if revision is None:
                raise Down("the record changes faster than it is read")
            self.state, self._revision = wanted, revision
            self.entry.touch(touched)

    async def _read_again(self) -> None:
        """Somebody else has written the record: the watcher, who asks for something, or nobody: it
        is lost."""
        record = await self.hub.engine.read(self._name)
        if record is None:
            await self._say_again()
            return
        state = _state(record)
        if state is None or state.worker != self.hub.spool.worker or state.state == LOST:
            self._lose()
            raise Gone
        if state.state == FINISHED and self.state.state != FINISHED:
            ours = self._end is not None  # our own write, whose answer was lost
            if not ours or state.done:
                self._lose()
                raise Gone
        self._revision = record.revision
        self.state = self.state.but(
            cancel=state.cancel,
            beat=max(state.beat, self.state.beat),
            again=state.again,
            done=state.done,
        )
        if state.cancel:
            self.entry.stop()
            if self._handle is not None:
                self._handle.cancel()

    async def _say_again(self) -> None:
        """The broker lost its data: record, logs and all else from the first."""
        fresh = self.state.but(told=self.state.told + 1)
        revision = await self.hub.patient(
            lambda: self.hub.engine.write(self._name, fresh.bytes(), None)
        )
        if revision is None:
            self._lose()
            raise Gone
        self.state, self._revision = fresh, revision
        self._sent = dict.fromkeys(LOGS, 0)

    def _lose(self) -> None:
        """It is not ours any more: no two attempts of a task are ever alive together."""
        self._gone = True
        self.entry.stop()
        if self._handle is not None:
            self._handle.cancel()
        self._wake.set()

    def _leave(self) -> None:
        """Nothing has run: nothing is kept.  Something has: it is kept, and told."""
        if self.entry.facts() is None:
            self.entry.remove()
            return
        self.entry.set_aside()
        task = self.told.get("task", self.entry.dispatch)
        self.hub.tell(
            f"{task}: its watcher had given up on it; its work is kept in {self.entry.folder}"
        )

    # -- doing it -----------------------------------------------------------------------------------------------------

    async def _attempt(self) -> AttemptEnd:
        facts = self.entry.facts()
        if facts is not None and not self.state.started:
            known = facts.started
            self._start = {"started": known.get("at", 0.0), "session": known.get("session", "")}
        if facts is not None and facts.ended is not None:
            return end_from(facts.ended)
        if facts is not None:
            self._handle = self.hub.direct.adopt(facts, self.entry.journal)
            self._given = packing_names(self.entry)
            return await self._followed(self._handle)
        try:
            await self._prepare()
            folder = await asyncio.to_thread(self.hub.workplace.ready, self.entry, self.told)
            await self._place_given(folder)
            order = await asyncio.to_thread(
                order_of,
                self.told,
                self.hub.config,
                self.hub.tools,
                self.entry,
                self.hub.root,
                folder,
            )
        except Gone:
            raise
        except (
            Exception
        ) as error:  # it concerns this dispatch only, and its watcher must hear of it
            cause = "not_installed" if isinstance(error, NotInstalled) else "start"
            why = getattr(error, "message", None) or str(error) or repr(error)
            hint = getattr(error, "hint", "")
            return AttemptEnd(
                cause, message=f"{self.hub.name}: {why}{f' - {hint}' if hint else ''}"
            )
        if self._gone:
            raise Gone
        journal = self.entry.locked(self.told["task"])
        from_start = asyncio.Event()
        session = str(order.facts.get("session", ""))

        def began(_: int) -> None:
            self._start = {"started": time.time(), "session": session}
            from_start.set()

        handle = self.hub.direct.dispatch(replace(order, journal=journal), began)
        self._handle = handle
        told = asyncio.create_task(self._tell_start(from_start))
        try:
            return await self._followed(handle)
        finally:
            told.cancel()

    async def _tell_start(self, started: asyncio.Event) -> None:
        """Soon; an attempt that ends sooner tells of both at once."""
        await started.wait()
        while True:
            try:
                await self._hold(state=RUNNING, **self._start)
                await self._notify()
                return
            except (Down, OSError):
                await asyncio.sleep(LOOK)
            except Gone:
                return

    async def _prepare(self) -> None:
        """Have what the order leaves out: a large prompt, and commits that are not here."""
        if self.told.get("prompt") is None:
            data = await self._load("prompt", PROMPT_MOST)
            self.told["prompt"] = data.decode("utf-8", "replace")
        if not await asyncio.to_thread(self.hub.workplace.lacks, self.told["code"]):
            return
        has = await asyncio.to_thread(self.hub.workplace.has)
        asking = Piece(has=tuple(has))
        await self.hub.patient(lambda: self.hub.engine.append(self.entry.dispatch, asking.bytes()))
        await self._notify()
        data = await self._load("code", CODE_MOST)
        if not data:
            raise NoPlace("the watcher cannot send the code: it is too large, or gone")
        await asyncio.to_thread(
            self.hub.workplace.take, self.entry, self.told["code"]["commit"], data
        )

    async def _load(self, what: str, most: int) -> bytes:
        """A blob, once it is there. Raises `NoPlace` after a while, or when it is to be
        cancelled."""
        end = time.monotonic() + max(PATIENCE, self.told["leash"])
        name = blob(self.entry.dispatch, what)
        while time.monotonic() < end:
            self._wake.clear()
            data = await self.hub.patient(lambda: self.hub.engine.load(name, most))
            if data is not None:
                return data
            if self._gone:
                raise Gone
            if os.path.exists(self.entry.cancel):
                raise NoPlace("cancelled before it began")
            await self._pause(LOOK)
        raise NoPlace(f"its {what} did not arrive")

    async def _place_given(self, folder: str) -> None:
        if not self.told.get("given"):
            return
        data = await self._load("given", FILES_MOST * 2)
        files = packing.unpack(data)
        for name, content, executable in files:
            packing.place(folder, name, content, executable)
        self._given = [name for name, _, _ in files]
        save_names(self.entry, self._given)

    async def _followed(self, handle: ExecutionHandle) -> AttemptEnd:
        """How it ends; what it prints is sent meanwhile."""
        ended = asyncio.ensure_future(handle.wait())
        if os.path.exists(self.entry.cancel):
            handle.cancel()
        while not ended.done():
            if not self._gone:
                try:
                    await self._pump()
                except (Down, OSError):
                    pass
            await asyncio.wait((ended,), timeout=LOOK)
            if self._wake.is_set() and not self._gone:
                self._wake.clear()
                try:
                    await self._hold()
                except (Down, OSError, Gone):
                    pass
        end = await ended
        if self._gone:
            raise Gone
        return end

    async def _pump(self) -> None:
        """Send what has been printed since, as far as it may be shown."""
        told = self.state.told
        news = False
        for name in LOGS:
            path = f"{self.entry.run_dir}/{name}.log"
            try:
                size = masked.end(path)
            except OSError:
                continue
            if size < self._sent[name]:
                await self._send(name, Piece(name, size, cut=True), size)
                news = True
            while self._sent[name] < size and self.state.told == told:
                data = _read(path, self._sent[name], min(PIECE, size - self._sent[name]))
                if not data:
                    break
                piece = Piece(name, self._sent[name], data=data)
                await self._send(name, piece, self._sent[name] + len(data))
                news = True
        if news:
            await self._notify()

    async def _send(self, name: str, piece: Piece, sent: int) -> None:
        told = self.state.told
        await self.hub.engine.append(self.entry.dispatch, piece.bytes())
        if self.state.told == told:  # else everything is said again
            self._sent[name] = sent

    # -- telling its end ----------------------------------------------------------------------------------------------

    async def _finish(self, end: AttemptEnd) -> None:
        """Everything is at the broker before the record says that it is finished."""
        self._end = end
        told = -1
        while told != self.state.told or self.state.state != FINISHED:
            told = self.state.told
            try:
                document = await self._all(end)
                if told == self.state.told:
                    await self._hold(state=FINISHED, end=document, **self._start)
            except (Down, OSError):
                await self._pause(min(1.0, self.told["lease"]))
        await self._notify()

    async def _all(self, end: AttemptEnd) -> dict[str, Any]:
        """Send what has not been sent yet; how it ended, with sizes and hashes."""
        document: dict[str, Any] = {
            "cause": end.cause,
            "code": end.code,
            "signal": end.signal,
            "duration_ms": end.duration_ms,
            "message": end.message[:2000],
            "leftovers": end.leftovers,
        }
        await self._pump()
        for name in LOGS:
            document[name] = await asyncio.to_thread(_sum, f"{self.entry.run_dir}/{name}.log")
        try:
            commit, bundle = await asyncio.to_thread(
                self.hub.workplace.work, self.entry, self.told, self._given
            )
            files = await asyncio.to_thread(self._made)
            if len(bundle) > CODE_MOST:
                raise packing.TooMuch(f"its work has more than {CODE_MOST >> 20} MiB")
        except (OrchestratorError, packing.TooMuch) as error:
            why = getattr(error, "message", None) or str(error)
            kept = f"its work stays on {self.hub.name} in {self.entry.folder}: {why}"
            return document | {"cause": end.cause or "not_home", "message": kept}
        for what, data in (("work", bundle), ("made", files)):
            if data:
                await self.hub.engine.store(blob(self.entry.dispatch, what), data)
                document[what] = {"size": len(data), "sha256": digest(data)}
        if commit:
            document["work"]["commit"] = commit
        return document

    def _made(self) -> bytes:
        """Files that come back beside the commit: what it left in its folders, and artifacts that
        git ignores or has not."""
        run_dir = self.entry.run_dir
        names = [
            (name, f"{run_dir}/{name}")
            for part in (ARTIFACTS, OWN)
            for name in packing.found_below(run_dir, part)
        ]
        code = self.told["code"]
        if code["kind"] != "shared":
            base = os.path.join(self.entry.tree, code.get("below", ""))
            for path in self.told.get("artifacts", ()):
                if packing.safe(path):
                    names += [(f"code/{path}", f"{base}/{path}")]
        return packing.pack(names, FILES_MOST)

    async def _until_home(self) -> None:
        """Until the watcher has all of it; what it asks for again is sent again. After a week
        nobody asks any more."""
        end = time.time() + KEPT
        again = self.state.again
        while time.time() < end:
            self._wake.clear()
            try:
                record = await self.hub.engine.read(self._name)
                state = _state(record)
                if record is None:
                    self.state = self.state.but(state=RUNNING)
                    await self._say_again()
                    assert self._end is not None
                    await self._finish(self._end)
                elif state is None or state.state == LOST or state.worker != self.hub.spool.worker:
                    raise Gone
                elif state.done:
                    break
                elif state.again != again:
                    again = state.again
                    self._revision = record.revision
                    self.state = state.but(state=RUNNING, told=state.told + 1)
                    self._sent = dict.fromkeys(LOGS, 0)
                    assert self._end is not None
                    await self._finish(self._end)
            except (Down, OSError):
                pass
            await self._pause(AFTER)
        await asyncio.to_thread(self.hub.workplace.forget, self.entry)
        self.entry.remove()

    # -- small things -------------------------------------------------------------------------------------------------

    async def _refuse(self, why: str) -> None:
        """An order that is not understood: its watcher hears why, if nobody else has it."""
        self.busy = False
        record = await self.hub.patient(lambda: self.hub.engine.read(self._name))
        state = _state(record)
        if record is not None and state is not None and state.state == OFFERED:
            end = {"cause": "start", "message": f"{self.hub.name}: {why}"}
            refused = State(FINISHED, self.hub.spool.worker, self.hub.name, end=end)
            await self.hub.patient(
                lambda: self.hub.engine.write(self._name, refused.bytes(), record.revision)
            )
        self.hub.tell(f"{self.entry.dispatch}: refused: {why}")
        self.entry.remove()

    async def _notify(self) -> None:
        try:
            await self.hub.engine.notify(watcher_topic(self.told["project"]), self.entry.dispatch)
        except Down:
            pass  # the watcher looks by itself

    async def _pause(self, seconds: float) -> None:
        await waiting.happened(self._wake, seconds)


def _state(record: Record | None) -> State | None:
    if record is None:
        return None
    try:
        return state_from(record.value)
    except Nonsense:
        return None


def _read(path: str, at: int, size: int) -> bytes:
    fd = opening.descriptor(path)
    try:
        return os.pread(fd, size, at)
    finally:
        os.close(fd)


def _sum(path: str) -> Mapping[str, Any]:
    """Size and hash of a log."""
    found, size = hashlib.sha256(), 0
    try:
        with opening.open_file(path) as file:
            while data := file.read(1 << 20):
                found.update(data)
                size += len(data)
    except OSError:
        pass
    return {"size": size, "sha256": found.hexdigest()}


def save_names(entry: Entry, names: list[str]) -> None:
    """Remember what was lent, for a worker that takes over."""
    packing.place(entry.folder, "given", "\0".join(names).encode())


def packing_names(entry: Entry) -> list[str]:
    """What `save_names` remembered."""
    try:
        data = _read(f"{entry.folder}/given", 0, 1 << 24)
    except OSError:
        return []
    return [name for name in data.decode("utf-8", "replace").split("\0") if name]


def _words(end: AttemptEnd) -> str:
    if end.cause:
        return f"{end.cause}{f': {end.message}' if end.message else ''}"
    return f"ended with {end.code}" if end.signal is None else f"ended by signal {end.signal}"
