"""What every distributor promises (`distributors.base`), as tests: subclass this, and say how one
is made.

class TestMine(DistributorContract):
    def make(self): return MyDistributor()
    def order(self, run_dir, journal, script): ...   # an attempt whose tool runs this shell script
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator import waiting
from orchestrator.distributors.base import Distributor, ExecutionHandle, Order
from orchestrator.files import journals, jsonlines, opening
from orchestrator.model.attempt import AttemptEnd
from orchestrator.store.ledger import append_record

PATIENCE = 60.0  # seconds for anything to happen
ENDLESS = "while :; do sleep 0.1; done"


class DistributorContract:
    """The tests.  ``make`` and ``order`` are the subclass's."""

    def make(self) -> Distributor:
        """A distributor, ready."""
        raise NotImplementedError

    def order(self, run_dir: str, journal: int, script: str) -> Order:
        """An attempt, numbered 1, whose tool runs this shell script; its logs go to ``run_dir``.
        For a distributor that is portable it has no command, and `Order.portable`."""
        raise NotImplementedError

    def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run what waits for a distributor."""
        return asyncio.run(waiting.within(PATIENCE, work()))

    def run_and_go(self, work: Callable[[], Coroutine[Any, Any, Any]], order: Order) -> None:
        """Run it in a watcher that is gone afterwards: a process of its own."""
        pid = os.fork()
        if not pid:
            try:
                self.run(work)
                os._exit(0)
            finally:
                os._exit(1)
        os.close(order.journal)  # the other process has it
        assert os.waitpid(pid, 0)[1] == 0

    def journal(self, folder: Path) -> tuple[str, int]:
        """A journal with a claim and with its lock: its path and its descriptor."""
        path = f"{folder}/journal.jsonl"
        Path(path).touch(0o600)
        fd = opening.descriptor(path, os.O_RDWR | os.O_APPEND)
        append_record(fd, {"record": "claim", "id": "a", "file": "a.yaml", "text": ""}, sync=False)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return path, fd

    def begin(self, folder: Path, script: str) -> tuple[str, Order]:
        """The journal's path and an order for it."""
        run_dir = folder / "run"
        run_dir.mkdir(exist_ok=True)
        path, fd = self.journal(folder)
        order = self.order(str(run_dir), fd, script)
        if order.portable:  # as the coordination does, before anything is offered
            append_record(fd, {"record": "dispatched", **order.portable, "attempt": 1}, sync=False)
        return path, order

    def take_over(self, distributor: Distributor, order: Order, path: str) -> ExecutionHandle:
        """What the next watcher does with an attempt that goes on, or may have been offered."""
        facts = journals.read(path).attempt
        assert facts is not None
        if not distributor.portable:
            return distributor.adopt(facts, path)
        fd = opening.descriptor(path, os.O_RDWR | os.O_APPEND)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it went with the watcher before
        return distributor.reattach(replace(order, journal=fd), facts, lambda _: None)

    def kinds(self, path: str) -> list[str]:
        """The kinds of the records in a journal."""
        return [str(item["record"]) for item in jsonlines.read(path)[0]]

    def test_start_and_end_are_recorded_before_they_are_told(self, tmp_path: Path) -> None:
        """``started`` before the call, ``exit`` before `wait` returns, and then the lock is
        free."""
        path, order = self.begin(tmp_path, "exit 3")
        kinds: list[str] = []

        async def work() -> AttemptEnd:
            distributor = self.make()
            handle = distributor.dispatch(
                order,
                lambda _: kinds.extend(self.kinds(path)),
            )
            end = await handle.wait()
            assert not handle.is_running()
            distributor.close()
            return end

        end = self.run(work)
        assert end.cause == "" and end.code == 3
        assert kinds[:1] == ["claim"] and "started" in kinds
        facts = journals.read(path).attempt
        assert facts is not None and facts.ended is not None and facts.ended["code"] == 3
        self.assert_free(path)

    def test_a_cancelled_attempt_ends(self, tmp_path: Path) -> None:
        """The request is a file; `cancel` only says: look."""
        path, order = self.begin(tmp_path, ENDLESS)

        async def work() -> AttemptEnd:
            distributor = self.make()
            started = asyncio.Event()
            handle = distributor.dispatch(order, lambda _: started.set())
            await started.wait()
            assert handle.is_running()
            Path(order.cancel).write_text("{}")
            handle.cancel()
            end = await handle.wait()
            distributor.close()
            return end

        assert self.run(work).cause == "cancelled"
        facts = journals.read(path).attempt
        assert facts is not None and facts.ended is not None
        assert facts.ended["cause"] == "cancelled"
        self.assert_free(path)

    def test_two_attempts_at_once_are_told_apart(self, tmp_path: Path) -> None:
        """Each has its own end."""
        found = {}
        for name, code in (("one", 5), ("two", 0)):
            (tmp_path / name).mkdir()
            found[name] = (*self.begin(tmp_path / name, f"exit {code}"), code)

        async def work() -> list[AttemptEnd]:
            distributor = self.make()
            handles = [
                distributor.dispatch(order, lambda _: None) for _, order, _ in found.values()
            ]
            ends = [await handle.wait() for handle in handles]
            distributor.close()
            return ends

        assert [end.code for end in self.run(work)] == [5, 0]

    def test_the_next_watcher_goes_on_with_an_attempt(self, tmp_path: Path) -> None:
        """`close` ends nothing. What runs is taken over, begins no second time, and can be
        cancelled."""
        path, order = self.begin(tmp_path, ENDLESS)

        async def one_watcher() -> None:
            distributor = self.make()
            started = asyncio.Event()
            distributor.dispatch(order, lambda _: started.set())
            await started.wait()
            distributor.close()

        async def the_next() -> AttemptEnd:
            distributor = self.make()
            handle = self.take_over(distributor, order, path)
            assert handle.is_running()
            Path(order.cancel).write_text("{}")
            handle.cancel()
            end = await handle.wait()
            assert not handle.is_running()
            distributor.close()
            return end

        self.run_and_go(one_watcher, order)
        assert self.run(the_next).cause == "cancelled"
        kinds = self.kinds(path)
        assert kinds.count("started") == kinds.count("exit") == 1
        self.assert_free(path)

    def test_an_end_that_no_watcher_saw_is_found(self, tmp_path: Path) -> None:
        """An attempt of this machine records its end by itself, and one elsewhere is asked: whoever
        takes it over later hears of the same end."""
        path, order = self.begin(tmp_path, "exit 4")

        async def one_watcher() -> None:
            distributor = self.make()
            distributor.dispatch(order, lambda _: None)
            while not distributor.portable and "exit" not in self.kinds(path):
                await asyncio.sleep(0.02)
            distributor.close()

        async def the_next() -> AttemptEnd:
            distributor = self.make()
            end = await self.take_over(distributor, order, path).wait()
            distributor.close()
            return end

        self.run_and_go(one_watcher, order)
        end = self.run(the_next)
        assert end.cause == "" and end.code == 4
        assert self.kinds(path).count("exit") == 1

    def assert_free(self, path: str) -> None:
        """Nobody holds the journal's lock."""
        fd = opening.descriptor(path, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(fd)
