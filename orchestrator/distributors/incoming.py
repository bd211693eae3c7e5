"""What comes home of one dispatch: what its tool prints, and at its end its work and its files.

All of it is a worker's word and not trusted: sizes and hashes decide whether it is whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from typing import Any

from orchestrator.distributors.base import Order
from orchestrator.distributors.dispatches import CODE_MOST, FILES_MOST, LOGS, Piece, blob
from orchestrator.distributors.farm import Farm
from orchestrator.distributors.home import NotHome, digest
from orchestrator.errors import MACHINE
from orchestrator.files import opening


class Incoming:
    """Writes into the logs of this attempt, and takes in its work."""

    def __init__(self, farm: Farm, order: Order, dispatch: str) -> None:
        self._farm, self._order, self._dispatch = farm, order, dispatch
        self._logs: dict[str, int] = {}

    def close(self) -> None:
        """Let go of the logs."""
        for fd in self._logs.values():
            os.close(fd)
        self._logs = {}

    def write(self, piece: Piece) -> None:
        """Put what was printed where it belongs."""
        fd = self._log(piece.log)
        limit = self._order.log_limit
        if piece.cut:
            os.ftruncate(fd, min(piece.at, limit))
        room = max(0, limit - piece.at)
        if piece.at <= os.fstat(fd).st_size:  # a hole is never written around: it is asked for
            os.pwrite(fd, piece.data[:room], piece.at)

    def _log(self, name: str) -> int:
        if name not in self._logs:
            self._logs[name] = opening.descriptor(
                f"{self._order.run_dir}/{name}.log", os.O_RDWR | os.O_CREAT
            )
        return self._logs[name]

    async def missing(self, end: Mapping[str, Any]) -> list[str]:
        """Have logs, work and files of this end here; what of them is not, in words. Raises
        `NotHome` if they may not be taken in, OSError if this machine cannot now, and `Down`."""
        missing = []
        for name in LOGS:
            wanted = end.get(name)
            if wanted and not await asyncio.to_thread(self._whole, name, wanted):
                missing.append(f"{name}.log")
        for what, most in (("work", CODE_MOST), ("made", FILES_MOST * 2)):
            wanted = end.get(what)
            if not wanted:
                continue
            data = await self._farm.engine.load(blob(self._dispatch, what), most)
            if data is None or len(data) != wanted["size"] or digest(data) != wanted["sha256"]:
                missing.append("its work" if what == "work" else "its files")
                continue
            try:
                await asyncio.to_thread(self._settle, what, wanted, data)
            except OSError as error:
                if error.errno in MACHINE:  # it waits until there is room, say
                    raise
                raise NotHome(str(error)) from None
            except ValueError as error:
                raise NotHome(str(error)) from None
        return missing

    def _settle(self, what: str, wanted: Mapping[str, Any], data: bytes) -> None:
        told, home = self._order.portable, self._farm.home
        code = told.get("code") or {}
        if what == "made":
            home.place(self._order.run_dir, self._order.cwd, data, tuple(told.get("artifacts", ())))
        elif code.get("branch"):
            home.take(self._dispatch, self._order.task_id, code["commit"], wanted["commit"], data)

    def _whole(self, name: str, wanted: Mapping[str, Any]) -> bool:
        """Whether a log is what the worker says that it is."""
        fd, size = self._log(name), min(wanted["size"], self._order.log_limit)
        if os.fstat(fd).st_size < size:
            return False
        os.ftruncate(fd, size)
        found, at = hashlib.sha256(), 0
        while at < size and (data := os.pread(fd, 1 << 20, at)):
            found.update(data)
            at += len(data)
        if size:
            os.fdatasync(fd)
        return bool(size != wanted["size"] or found.hexdigest() == wanted["sha256"])
