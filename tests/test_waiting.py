"""A cancel counts, also when it comes at the moment of the answer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable

import pytest

from orchestrator import waiting


async def deaf(answer: asyncio.Future[str]) -> str:
    """As a library that takes no notice of a cancel once it has its answer."""
    while True:
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if answer.done():
                return answer.result()


@pytest.mark.parametrize(
    "ask",
    [
        lambda answer: waiting.heeding(deaf(answer)),
        lambda answer: waiting.within(60, deaf(answer)),
        lambda answer: waiting.within(60, answer),
    ],
    ids=["heeding", "within, deaf", "within"],
)
def test_a_cancel_that_comes_with_the_answer_ends_a_loop(
    ask: Callable[[asyncio.Future[str]], Awaitable[str]],
):
    async def main() -> tuple[bool, int]:
        answer = asyncio.get_running_loop().create_future()
        rounds = 0

        async def beat() -> None:
            nonlocal rounds
            while True:
                await ask(answer)
                rounds += 1
                await asyncio.sleep(60)

        task = asyncio.create_task(beat())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        answer.set_result("yes")
        task.cancel()
        await asyncio.wait((task,), timeout=10)
        return task.cancelled(), rounds

    assert asyncio.run(main()) == (True, 0)


def test_what_takes_too_long():
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await waiting.within(0.01, asyncio.sleep(60))
        event = asyncio.Event()
        assert not await waiting.happened(event, 0.01)
        event.set()
        assert await waiting.happened(event, 60)

    asyncio.run(main())


def test_what_takes_no_notice_of_a_cancel_keeps_nobody_from_leaving():
    """As a subscription of nats-py: it hears the first cancel at a moment when it expects none, and goes on."""
    left = []

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    async def main() -> int:
        left.append(asyncio.create_task(deaf()))
        await asyncio.sleep(0)
        return 5

    assert waiting.run(main()) == 5
    assert left[0].cancelled()


def test_nobody_waits_for_a_thread_that_only_reads():
    """A watcher that was told to leave does not stay until the day's costs are read."""

    def broken() -> int:
        raise ValueError("no")

    async def main() -> int:
        never = asyncio.create_task(waiting.beside(threading.Event().wait))
        with pytest.raises(ValueError, match="no"):
            await waiting.beside(broken)
        answer = await waiting.beside(lambda: 7)
        assert not never.done()
        return answer

    assert waiting.run(main()) == 7
