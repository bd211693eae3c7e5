"""What the watcher sends of one dispatch: its envelope, and beside it what is too large for one."""

from __future__ import annotations

import asyncio

from orchestrator.distributors import packing
from orchestrator.distributors.base import Order
from orchestrator.distributors.dispatches import (
    ENVELOPE_MOST,
    FILES_MOST,
    PROMPT_MOST,
    VERSION,
    blob,
    envelope,
)
from orchestrator.distributors.farm import Farm
from orchestrator.errors import OrchestratorError

# Of an order, what goes into its envelope as it is.
TRAVELS = (
    *("version", "dispatch", "task", "attempt", "agent", "tool", "model", "permissions", "labels"),
    *("cwd", "env", "timeout", "silence", "log_limit", "artifacts"),
)


class Outgoing:
    """``left`` is whether something lies in the repository for the worker, which is taken away
    when the dispatch is over."""

    def __init__(self, farm: Farm, order: Order, dispatch: str) -> None:
        self.left = True  # a former watcher may have left something
        self._farm, self._order, self._dispatch = farm, order, dispatch

    async def envelope(self) -> bytes:
        """What is offered; what is too large for it is at the broker when this returns. Raises
        `OrchestratorError` or ValueError if it cannot be made, and `Down`."""
        order, farm = self._order.portable, self._farm
        shared = farm.code == "shared"
        branch = (order.get("code") or {}).get("branch")
        if order.get("edits") and not branch and not shared:
            raise OrchestratorError(
                f"its changes could not come back from {farm.name}: isolation: worktree"
            )
        begin = farm.home.share if shared else farm.home.begin
        code = await asyncio.to_thread(begin, self._dispatch, order)
        self.left = code["kind"] != "none"
        document = {key: order[key] for key in TRAVELS if key in order} | {
            "v": VERSION,
            "project": farm.project,
            "prompt": await self._prompt(str(order.get("prompt", ""))),
            "interrupt_grace": self._order.interrupt_grace,
            "terminate_grace": self._order.terminate_grace,
            "lease": farm.lease,
            "leash": farm.leash,
            "code": code,
            "given": False,
        }
        if not shared:
            document["given"] = await self._give(code.get("commit", ""))
        return envelope(document)

    async def _prompt(self, prompt: str) -> str | None:
        """The prompt; None if it is large, and so sent beside the envelope."""
        data = prompt.encode("utf-8", "replace")
        if len(data) <= ENVELOPE_MOST // 2:
            return prompt
        if len(data) > PROMPT_MOST:
            raise OrchestratorError(f"the prompt has more than {PROMPT_MOST >> 20} MiB")
        await self._farm.engine.store(blob(self._dispatch, "prompt"), data)
        return None

    async def _give(self, commit: str) -> bool:
        def packed() -> bytes:
            files = self._farm.home.given(self._order.cwd, self._order.portable, commit)
            return packing.pack(files, FILES_MOST)

        data = await asyncio.to_thread(packed)
        if data:
            await self._farm.engine.store(blob(self._dispatch, "given"), data)
        return bool(data)

    async def code(self, has: tuple[str, ...]) -> None:
        """Send the commits that a worker lacks, which has these.  An empty answer: it cannot have
        them.  Raises `Down`."""
        try:
            data = await asyncio.to_thread(self._farm.home.bundle, self._dispatch, has)
        except OrchestratorError:
            data = b""
        await self._farm.engine.store(blob(self._dispatch, "code"), data)
