"""A worker that sends what no worker of ours would, and a broker that has what nobody of ours put there.

Over a folder that both sides see, so nothing has to be installed.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from brokers import SharedFolder
from conftest import wait_until
from farms import Farm, WorkerProcess, at_broker

from orchestrator.distributors.dispatches import RUNNING, State, record_name
from orchestrator.distributors.engines.base import Engine

W = "b" * 32  # the id of the worker
HUGE = int("9" * 4300)  # one more has more digits than Python reads


@pytest.fixture
def farm(tmp_path) -> Iterator[Farm]:
    broker = SharedFolder("folder", tmp_path / "broker")
    made = Farm(tmp_path, broker)
    made.set_leash(1.2)
    yield made
    made.close()


def taken(farm: Farm, task: str = "a") -> str:
    """The dispatch of this task, whose offer nobody else gets now."""
    farm.drop(task, "true")
    found = []

    def pulled() -> bool:
        offer = at_broker(farm, lambda third: third.pull("shell"))
        if offer is not None:
            found.append(offer.dispatch)
        return bool(found)

    wait_until(pulled, "it is offered")
    return found[0]


def says(farm: Farm, dispatch: str, state: State | bytes) -> bool:
    """Write this into the record, whatever it says; whether nobody else wrote it at that moment."""
    data = state if isinstance(state, bytes) else state.bytes()

    async def write(third: Engine) -> bool:
        known = await third.read(record_name(dispatch))
        return bool(await third.write(record_name(dispatch), data, known and known.revision))

    return bool(at_broker(farm, write))


def told(state: State, **more: Any) -> bytes:
    """A record with this in it that no `State` would have."""
    return json.dumps({**json.loads(state.bytes()), **more}).encode()


def test_a_worker_that_waits_for_its_broker_leaves_when_it_is_told_to(farm):
    farm.broker.kill()
    worker = WorkerProcess(farm.far, farm.broker.url, "w1")
    farm.workers.append(worker)
    worker.says("waiting for the broker")
    worker.send(signal.SIGINT)
    assert worker.process.wait(20) == 0, worker.text()
    assert os.listdir(worker.spool) and "serving" not in worker.text()


NONSENSE = {
    "garbage": b"\xff{", "null": b"null", "long": b" " * (2 << 20), "worker": told(State(RUNNING, "../x")),
    "end": told(State("finished", W), end={"cause": "", "code": 999}), "beat": told(State(RUNNING, W), beat=HUGE),
    "infinite": told(State(RUNNING, W), started="1e999").replace(b'"1e999"', b"1e999"),
    "again": told(State("finished", W, end={"cause": "", "stdout": {"size": 1, "sha256": W * 2}}), again=HUGE),
}  # fmt: skip


def test_nonsense_in_a_record_is_as_good_as_none(farm):
    """It keeps nobody from cancelling, and once nobody can have what was offered it is offered again."""
    farm.watch()
    for name, nonsense in NONSENSE.items():
        assert says(farm, taken(farm, name), nonsense)
    for name in NONSENSE:
        if name != "null":
            farm.near.run("cancel", name)
            assert farm.near.where(name) == "cancelled"
    farm.worker()
    farm.near.settled("null", "done")


PART = {"size": 1, "sha256": W * 2}
MISSING = ({"cause": "", "stdout": PART}, {"cause": "", "made": PART})


@pytest.mark.parametrize("end, status", [({}, "cancelled"), *((end, "failed") for end in MISSING)])
def test_a_worker_that_is_about_to_end_for_ever_is_given_up(farm, end, status):
    """It beats, and neither ends when it is told to nor sends what it says that it has, and the
    broker fails at that."""
    farm.watch()
    dispatch = taken(farm)
    blobs = farm.broker.folder / "mounted" / "orchestrator" / "blob"
    blobs.rmdir()
    blobs.touch()
    now = State("finished" if end else RUNNING, W, "w1", end=end)
    beats = count(1)

    def over() -> bool:
        says(farm, dispatch, now.but(beat=next(beats), cancel=not end))
        return farm.near.where("a") != "running"

    assert not over()
    asking = threading.Thread(target=farm.near.run, args=("cancel", "a"))
    if not end:
        asking.start()
    wait_until(over, "it is given up")
    assert farm.near.where("a") == status
    if not end:
        asking.join()


def test_an_attempt_that_its_leash_ended_is_lost_whoever_says_that_all_of_it_is_home(farm):
    farm.watch()
    end = {"cause": "leash", "code": 0}
    assert says(farm, taken(farm), State("finished", W, "w1", end=end, done=True))
    farm.near.settled("a", "review")
    reason = farm.near.result("a")["reason"]
    assert "lost: its worker w1 (farm) ended it after 1.2s (the leash)" in reason
    assert "supervisor" not in reason
