"""What every distributor promises (`distributors.base`), as tests: subclass this, and say how one
is made.

class TestMine(DistributorContract):
    def make(self): return MyDistributor()
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
    """The tests.  ``make`` is the subclass's, and ``order`` if its attempts do not run here."""

    def make(self) -> Distributor:
        """A distributor, ready."""
        raise NotImplementedError

    def order(self, run_dir: str, journal: int, script: str) -> Order:
        """An attempt, numbered 1, whose tool runs this shell script; its logs go to ``run_dir``.
        For a distributor that is portable it has no command, and `Order.portable`."""
        return Order(
            task_id="a",
            attempt=1,
            program="/bin/sh",
            argv=("sh", "-c", script),
            env={"PATH": os.environ["PATH"]},
            cwd="/",
            run_dir=run_dir,
            stdin=None,
            tag=os.urandom(8).hex(),
            journal=journal,
            cancel=f"{run_dir}/cancel",
            timeout=30.0,
            interrupt_grace=0.2,
            terminate_grace=0.2,
            log_limit=1 << 20,
            on_log_limit="end",
        )

    def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run what waits for a distributor."""
        try:
            return asyncio.run(waiting.within(PATIENCE, work()))
        except TimeoutError:
            raise AssertionError(
                f"{PATIENCE:.0f} s passed: on_started was not called, or wait does not return"
            ) from None

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
        assert os.waitpid(pid, 0)[1] == 0, "the watcher before failed: its error is above"

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
        assert facts is not None, "the journal has no record of the attempt: started is missing"
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
            assert not handle.is_running(), "wait has returned, and is_running says that it runs"
            distributor.close()
            return end

        self.assert_ended(self.run(work), 3)
        assert "started" in kinds, f"started is recorded before on_started is called; found {kinds}"
        self.assert_recorded(path, "code", 3)
        self.assert_free(path)

    def test_a_cancelled_attempt_ends(self, tmp_path: Path) -> None:
        """The request is a file; `cancel` only says: look."""
        path, order = self.begin(tmp_path, ENDLESS)

        async def work() -> AttemptEnd:
            distributor = self.make()
            started = asyncio.Event()
            handle = distributor.dispatch(order, lambda _: started.set())
            await started.wait()
            assert handle.is_running(), "its tool runs, and is_running says that it has ended"
            Path(order.cancel).write_text("{}")
            handle.cancel()
            end = await handle.wait()
            distributor.close()
            return end

        self.assert_cancelled(self.run(work))
        self.assert_recorded(path, "cause", "cancelled")
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

        codes = [end.code for end in self.run(work)]
        assert codes == [5, 0], f"their tools ended with 5 and 0, their handles say {codes}"

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
            assert handle.is_running(), "its tool runs, and who took it over says that it has ended"
            Path(order.cancel).write_text("{}")
            handle.cancel()
            end = await handle.wait()
            assert not handle.is_running(), "wait has returned, and is_running says that it runs"
            distributor.close()
            return end

        self.run_and_go(one_watcher, order)
        self.assert_cancelled(self.run(the_next))
        for kind in ("started", "exit"):
            self.assert_once(path, kind)
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
        self.assert_ended(self.run(the_next), 4)
        self.assert_once(path, "exit")

    def assert_ended(self, end: AttemptEnd, code: int) -> None:
        """Its tool ended by itself, with this exit code."""
        fine = end.cause == "" and end.code == code
        assert fine, f"nobody stopped its tool, which ended with {code}; the handle says {end}"

    def assert_cancelled(self, end: AttemptEnd) -> None:
        """It ended because somebody asked for that."""
        assert end.cause == "cancelled", f"its cancel file was there; the handle says {end}"

    def assert_recorded(self, path: str, key: str, value: object) -> None:
        """Its end is in the journal, and says so."""
        facts = journals.read(path).attempt
        ended = facts.ended if facts is not None else None
        assert ended is not None, f"exit is recorded before wait returns; found {self.kinds(path)}"
        assert ended[key] == value, f"exit says {key} {ended[key]!r}, not {value!r}"

    def assert_once(self, path: str, kind: str) -> None:
        """A record is there, and no second time."""
        kinds = self.kinds(path)
        assert kinds.count(kind) == 1, f"{kind} is recorded once; found {kinds}"

    def assert_free(self, path: str) -> None:
        """Nobody holds the journal's lock."""
        fd = opening.descriptor(path, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AssertionError(
                "the journal is still locked: close Order.journal once its end is recorded"
            ) from None
        finally:
            os.close(fd)
