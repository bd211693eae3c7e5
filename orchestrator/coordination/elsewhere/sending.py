"""What a worker sends of an attempt: what it prints, while it prints it, and at its end all that it
did."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from typing import Any

from orchestrator.coordination.elsewhere.hub import Hub
from orchestrator.coordination.elsewhere.lease import Lease
from orchestrator.coordination.elsewhere.spool import Entry
from orchestrator.coordination.elsewhere.workplace import below
from orchestrator.distributors import packing
from orchestrator.distributors.dispatches import CODE_MOST, FILES_MOST, LOGS, PIECE, Piece, blob
from orchestrator.distributors.home import digest
from orchestrator.errors import OrchestratorError
from orchestrator.files import masked, opening
from orchestrator.files.layout import ARTIFACTS, OWN
from orchestrator.model.attempt import AttemptEnd


class Sending:
    """``told`` is the order; ``given`` the names of files that were lent to the attempt, which do
    not come back unless they changed. What was sent before the broker lost its data, or before the
    watcher asked for all of it, is sent again: `State.told` says how often we have begun."""

    def __init__(self, hub: Hub, entry: Entry, lease: Lease, told: Mapping[str, Any]) -> None:
        self.given: list[str] = []
        self._hub, self._entry, self._lease, self._told = hub, entry, lease, told
        self._beginning = -1
        self._sent: dict[str, int] = {}

    async def printed(self) -> bool:
        """Send what has been printed since, as far as it may be shown; whether there was any.
        Raises `Down`."""
        if self._beginning != self._lease.state.told:
            self._beginning = self._lease.state.told
            self._sent = dict.fromkeys(LOGS, 0)
        news = False
        for name in LOGS:
            path = f"{self._entry.run_dir}/{name}.log"
            try:
                size = masked.end(path)
            except OSError:
                continue
            if size < self._sent[name]:
                await self._send(Piece(name, size, cut=True), size)
                news = True
            while self._sent[name] < size and self._is_current():
                at = self._sent[name]
                data = _read(path, at, min(PIECE, size - at))
                if not data:
                    break
                await self._send(Piece(name, at, data=data), at + len(data))
                news = True
        return news

    async def _send(self, piece: Piece, sent: int) -> None:
        await self._hub.engine.append(self._entry.dispatch, piece.bytes())
        if self._is_current():  # else everything is said again
            self._sent[piece.log] = sent

    def _is_current(self) -> bool:
        return self._lease.state.told == self._beginning

    async def everything(self, end: AttemptEnd) -> dict[str, Any]:
        """Send what has not been sent yet; how it ended, with sizes and hashes, for the record."""
        document: dict[str, Any] = {
            "cause": end.cause,
            "code": end.code,
            "signal": end.signal,
            "duration_ms": end.duration_ms,
            "message": end.message[:2000],
            "leftovers": end.leftovers,
        }
        await self.printed()
        for name in LOGS:
            document[name] = await asyncio.to_thread(_sum, f"{self._entry.run_dir}/{name}.log")
        try:
            commit, bundle = await asyncio.to_thread(
                self._hub.workplace.work, self._entry, self._told, self.given
            )
            files = await asyncio.to_thread(self._made)
            if len(bundle) > CODE_MOST:
                raise packing.TooMuch(f"its work has more than {CODE_MOST >> 20} MiB")
        except (OrchestratorError, packing.TooMuch) as error:
            why = getattr(error, "message", None) or str(error)
            kept = f"its work stays on {self._hub.name} in {self._entry.folder}: {why}"
            message = f"{end.message}; {kept}" if end.message else kept
            return document | {"cause": end.cause or "not_home", "message": message[:2000]}
        for what, data in (("work", bundle), ("made", files)):
            if data:
                await self._hub.engine.store(blob(self._entry.dispatch, what), data)
                document[what] = {"size": len(data), "sha256": digest(data)}
        if commit:
            document["work"]["commit"] = commit
        return document

    def _made(self) -> bytes:
        """Files that come back beside the commit: what it left in its folders, and artifacts that
        git ignores or has not."""
        run_dir = self._entry.run_dir
        files = [
            (name, run_dir, name)
            for part in (ARTIFACTS, OWN)
            for name in packing.found_below(run_dir, part)
        ]
        if self._told["code"]["kind"] != "shared":
            for path in filter(packing.safe, self._told.get("artifacts", ())):
                files.append((f"code/{path}", self._entry.tree, below(self._told, path)))
        return packing.pack(files, FILES_MOST)


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
