"""The seam between deciding and executing: every distributor keeps one contract, and several are there at once."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.distributors.base import Distributor, Order
from orchestrator.distributors.direct import DirectDistributor
from orchestrator.files import journals, jsonlines
from orchestrator.model.journal import Phase
from orchestrator.model.status import Status
from orchestrator.queries.tasks import running
from orchestrator.queries.why import reasons
from orchestrator.testing import DistributorContract, End, FakeClock, FakeDistributor, Tube
from orchestrator.testing.tube import NOON, _Loop


@pytest.mark.process
class TestDirect(DistributorContract):
    def make(self) -> Distributor:
        return DirectDistributor()


@pytest.mark.process
class TestDirectWithFreshSupervisors(TestDirect):
    def make(self) -> Distributor:
        return DirectDistributor(warm=False)


class TestFake(DistributorContract):
    """Its attempts end as planned, in no time."""

    portable = False

    def make(self) -> Distributor:
        if not hasattr(self, "made"):  # it outlives the watchers
            self.made = FakeDistributor(self.clock, self.portable)
            self.made.plan("a", *self.ends)
        return self.made

    def run_and_go(self, work: Callable[[], Awaitable[Any]], order: Order) -> None:
        self.run(work)

    def order(self, run_dir: str, journal: int, script: str) -> Order:
        if not hasattr(self, "ends"):
            self.clock, self.ends = FakeClock(NOON), []
        endless = script.startswith("while")
        self.ends.append(
            End(after=None) if endless else End(code=int(script.rsplit(maxsplit=1)[-1]))
        )
        return super().order(run_dir, journal, script)

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        loop = _Loop(self.clock, 60.0)
        try:
            return loop.run_until_complete(work())
        finally:
            loop.close()


class TestPortableFake(TestFake):
    """Another machine that is a fake: there is no command, and who goes on asks it."""

    portable = True

    def order(self, run_dir: str, journal: int, script: str) -> Order:
        made = super().order(run_dir, journal, script)
        return replace(made, program="", argv=(), env={}, portable={"where": "farm"})


FARM = "distributors:\n  farm: {kind: fake, in_flight: 2}\n"


def farm_tube(tmp_path: Path, config: str = "") -> Tube:
    """A tube whose configuration has a distributor on another machine, which is a fake."""
    tube = Tube(tmp_path, FARM + config)
    tube.elsewhere["farm"] = FakeDistributor(tube.clock, portable=True)
    return tube


def farm_of(tube: Tube) -> FakeDistributor:
    found = tube.elsewhere["farm"]
    assert isinstance(found, FakeDistributor)
    return found


def records(tube: Tube, task_id: str) -> list[dict]:
    for closed in (False, True):
        found = jsonlines.read(tube.layout.journal(task_id, closed))[0]
        if found:
            return found
    return []


def test_a_task_chooses_where_it_is_executed(tmp_path):
    tube = farm_tube(tmp_path)
    tube.drop("far", "agent: ok\nprompt: x\non: farm\n")
    tube.drop("near", "agent: ok\nprompt: x\n")
    tube.run()
    assert tube.where("far") == tube.where("near") == "done"
    assert [order.task_id for order in farm_of(tube).dispatched] == ["far"]
    assert [order.task_id for order in tube.fake.dispatched] == ["near"]
    kinds = [item["record"] for item in records(tube, "far")]
    assert kinds[:4] == ["claim", "dispatched", "started", "exit"]
    assert "dispatched" not in [item["record"] for item in records(tube, "near")]


@pytest.mark.parametrize(
    "config, task, at",
    [
        ("  far: {tool: shell, command: [/bin/true], on: farm}\n", "agent: far\n", "farm"),
        ("tools: {shell: {on: farm}}\n", "agent: ok\n", "farm"),
        ("tools: {shell: {on: farm}}\n", "agent: ok\non: direct\n", "direct"),
        ("distributor: farm\n", "agent: ok\n", "farm"),
    ],
)
def test_the_nearest_word_on_where_counts(tmp_path, config, task, at):
    tube = Tube(tmp_path, config + FARM)
    tube.elsewhere["farm"] = FakeDistributor(tube.clock, portable=True)
    tube.drop("a", task + "prompt: x\n")
    tube.run()
    assert tube.where("a") == "done"
    assert bool(farm_of(tube).dispatched) is (at == "farm")


def test_a_task_chooses_only_what_is_configured(tmp_path):
    tube = farm_tube(tmp_path)
    tube.drop("a", "agent: ok\nprompt: x\non: nowhere\n")
    tube.drop("b", "agent: ok\nprompt: x\non: farm; rm\n")
    tube.run()
    assert tube.where("a") == tube.where("b") == "inbox"
    note = Path(tube.layout.note("a")).read_text()
    assert "no distributor 'nowhere'" in note and "direct, farm" in note
    assert not farm_of(tube).dispatched and not tube.fake.dispatched


def test_what_is_elsewhere_takes_no_slot_and_has_its_own_limit(tmp_path):
    tube = farm_tube(tmp_path, "limits: {running: 1}\n")
    for name in ("a", "b", "c"):
        farm_of(tube).plan(name, End(after=10.0))
        tube.drop(name, "agent: ok\nprompt: x\non: farm\n")
    tube.drop("d")
    tube.run()
    moments = {name: moment for moment, name, _ in tube.started}
    assert moments["d"] < 1 and moments["a"] < 1 and moments["b"] < 1 and moments["c"] >= 10


def test_the_order_has_no_command_no_path_no_environment(tmp_path):
    tube = farm_tube(tmp_path)
    tube.drop("a", "agent: ok\nprompt: do it\non: farm+gpu\nenv: {ORCHESTRATOR_VAR_X: '1'}\n")
    tube.run()
    (order,) = farm_of(tube).dispatched
    assert (order.program, order.argv, dict(order.env)) == ("", (), {})
    sent = order.portable
    assert sent["pool"] == "shell+gpu" and sent["labels"] == ["gpu"]
    assert sent["env"] == {"ORCHESTRATOR_VAR_X": "1"} and sent["prompt"] == "do it"
    assert str(tmp_path) not in repr(sent) and os.environ["PATH"] not in repr(sent)


def interrupted(tube: Tube, at: float) -> None:
    """The watcher leaves; what it has offered elsewhere goes on."""
    import signal

    tube.at(at, lambda: tube.watcher and tube.watcher.signalled(signal.SIGTERM))
    tube.run()


def test_the_next_watcher_asks_who_has_it(tmp_path):
    tube = farm_tube(tmp_path)
    farm_of(tube).plan("a", End(after=60.0, code=0))
    tube.drop("a", "agent: ok\nprompt: x\non: farm\n")
    interrupted(tube, 5.0)
    assert tube.where("a") == "running"
    tube.run()
    assert tube.where("a") == "done"
    assert len(farm_of(tube).dispatched) == 1
    assert [item["record"] for item in records(tube, "a")].count("started") == 1


def test_an_offer_that_nobody_knows_of_is_made_again_under_its_name(tmp_path):
    """The watcher is killed between the record and the offer."""
    tube = farm_tube(tmp_path)
    farm_of(tube).plan("a", End(after=60.0))
    tube.drop("a", "agent: ok\nprompt: x\non: farm\n")
    interrupted(tube, 5.0)
    path = tube.layout.journal("a")
    lines = Path(path).read_text().splitlines()
    Path(path).write_text("\n".join(line for line in lines if '"started"' not in line) + "\n")
    farm_of(tube).alive.clear()
    assert journals.read(path).phase is Phase.DISPATCHED
    (row,) = running(tube.layout, tube.clock.wall())
    assert row.detail == "waiting at farm: pool shell" and row.where == "farm"
    found = reasons(tube.layout, "a", Status.RUNNING, "a.yaml", tube.clock.wall())
    assert "waited at farm" in found.summary and "shell" in found.gates[0].why
    tube.run()
    assert tube.where("a") == "done"
    first, second = farm_of(tube).dispatched
    assert first.portable["dispatch"] == second.portable["dispatch"]


def test_what_runs_at_a_distributor_that_is_gone_is_neither_lost_nor_started_again(tmp_path):
    tube = farm_tube(tmp_path, "on_lost: retry\n")
    farm_of(tube).plan("a", End(after=None))
    tube.drop("a", "agent: ok\nprompt: x\non: farm\n")
    interrupted(tube, 5.0)
    kept = farm_of(tube)
    del tube.elsewhere["farm"]
    tube.configure("on_lost: retry\n")
    interrupted(tube, tube.clock.elapsed + 3600.0)
    assert tube.where("a") == "running" and len(kept.dispatched) == 1
    tube.store.request_cancel("a", "a person")
    tube.run()
    assert tube.where("a") == "cancelled" and not tube.fake.dispatched


def test_an_attempt_elsewhere_is_cancelled_from_here(tmp_path):
    tube = farm_tube(tmp_path)
    farm_of(tube).plan("a", End(after=None))
    tube.drop("a", "agent: ok\nprompt: x\non: farm\n")
    tube.at(5.0, lambda: Path(f"{tube.layout.work}/running/a.cancel").write_text(""))
    tube.run()
    assert tube.where("a") == "cancelled"


def test_an_interactive_task_is_refused_elsewhere(tmp_path):
    tube = farm_tube(tmp_path)
    tube.drop("a", "agent: claude\nprompt: x\nmode: interactive\non: farm\n")
    tube.run()
    assert tube.where("a") == "inbox"
    assert "terminal" in Path(tube.layout.note("a")).read_text()


def test_a_missing_package_is_told_by_the_task(tmp_path):
    tube = Tube(tmp_path, "distributors:\n  farm: {kind: nothing-of-the-kind}\n")
    tube.drop("a", "agent: ok\nprompt: x\non: farm\n")
    tube.run()
    assert tube.where("a") == "failed"
    assert "nothing-of-the-kind" in tube.result("a")["reason"]


def test_a_sandbox_is_not_left_at_home(tmp_path):
    """What is to run between walls runs nowhere else than where they are built."""
    tube = farm_tube(tmp_path)
    tube.drop("a", "agent: ok\nprompt: x\non: farm\nsandbox: project\n")
    tube.run()
    assert tube.where("a") == "failed" and "sandbox" in tube.result("a")["reason"]
    assert not farm_of(tube).dispatched
