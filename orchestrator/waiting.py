"""Waiting that has an end, and that forgets no cancel.

In Python 3.11 `asyncio.wait_for` answers as if nobody had cancelled it when the answer and the
cancel come at the same moment; a loop that was to be ended by that cancel then goes on for ever.
Libraries use it, too, so what they answer is asked for through `heeding`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")
ROUNDS, PAUSE = 50, 0.1  # how often what is left at the end is cancelled, and seconds between


async def heeding(work: Awaitable[Answer]) -> Answer:
    """The answer. Raises `CancelledError` if the task was cancelled meanwhile, even where ``work``
    took no notice."""
    answer = await work
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return answer


async def within(seconds: float, work: Awaitable[Answer]) -> Answer:
    """The answer.  Raises `TimeoutError` if it takes longer than this."""
    async with asyncio.timeout(seconds):
        return await heeding(work)


async def happened(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, for so many seconds; whether it came."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def run(work: Coroutine[Any, Any, Answer]) -> Answer:
    """`asyncio.run`, which cancels once what is left at the end, and then waits for it for ever: a
    task of a library that has just swallowed a cancel kept a watcher from leaving."""
    return asyncio.run(_alone(work))


async def _alone(work: Coroutine[Any, Any, Answer]) -> Answer:
    try:
        return await work
    finally:
        for _ in range(ROUNDS):
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if not others:
                break
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=PAUSE)
