"""Waiting that has an end, and that forgets no cancel.

In Python 3.11 `asyncio.wait_for` answers as if nobody had cancelled it when the answer and the
cancel come at the same moment; a loop that was to be ended by that cancel then goes on for ever.
Libraries use it, too, so what they answer is asked for through `heeding`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
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


async def beside(work: Callable[[], Answer]) -> Answer:
    """The answer of a function that only reads, from a thread that nobody waits for at the end:
    `asyncio.to_thread` keeps a program from leaving until the last of its threads has ended."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Answer] = loop.create_future()

    def tell(answer: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(lambda: None if answered.done() else answer())

    def ask() -> None:
        try:
            answer = work()
        except Exception as error:
            tell(partial(answered.set_exception, error))
        else:
            tell(partial(answered.set_result, answer))

    try:
        threading.Thread(target=ask, name=f"beside {work.__name__}", daemon=True).start()
    except RuntimeError:  # the machine has no thread left: others wait
        ask()
    return await answered


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
